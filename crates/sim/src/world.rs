//! The event loop of a run.

mod faults;

use crate::checker::{Action, Agreement, History, Operation};
use crate::client::{COLLECTION, Client, Meaning, unanswered};
use crate::network::Network;
use crate::node::{Node, id_of};
use crate::plan::Plan;
use crate::trace::Trace;
use api::{Call, Document, ErrorCode, Options, Request, SearchOptions, Value};
use bytes::Bytes;
use fastrand::Rng;
use paxos::{NodeId, PersistId, Slot};
use replica::{Input, Output, RequestId, decode_peer_message, encode_peer_message};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// How long after the faults end everything must be done, in simulated time.
const HEAL_US_MAX: u64 = 60_000_000;

/// A run without a fault found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Two runs with the same hash had the same events.
    pub trace_hash: u64,
    /// How long the world lived.
    pub simulated_us: u64,
    /// Events played.
    pub events: u64,
    /// Slots decided.
    pub slots: usize,
    /// Client operations answered.
    pub answers: u64,
    /// Starts of nodes after the first.
    pub restarts: u64,
    /// Nodes that take part at the end.
    pub members: usize,
}

/// A promise that was broken, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in simulated time.
    pub time_us: u64,
    /// What.
    pub what: String,
}

#[derive(Clone, Debug)]
enum Event {
    Tick(usize, u64),
    Deliver { to: usize, from: usize, bytes: Bytes },
    Request { node: usize, client: usize, number: u64, call: Call },
    Answer { client: usize, number: u64, answer: Result<Value, api::Error> },
    Patience { client: usize, number: u64, attempt: u64 },
    Repeat { client: usize, number: u64, call: Call },
    Synced(usize, u64),
    Applied(usize, u64),
    Query { node: usize, life: u64, id: RequestId, request: Request },
    NetworkFault,
    LinkHeld,
    LinkFlicker,
    Crash,
    CrashAgain(usize, u64),
    Start(usize),
    Pause,
    ClockStop,
    Story(u64),
    Heal,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Chaos,
    Healing,
    FinalReads,
}

struct World {
    plan: Plan,
    rng: Rng,
    trace: Trace,
    now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    event_next: u64,
    played: u64,
    nodes: Vec<Node>,
    network: Network,
    clients: Vec<Client>,
    histories: Vec<History>,
    inserted: BTreeSet<String>,
    /// The answers of writes, for repeats: client and operation to answer.
    answered: BTreeMap<(usize, u64), Value>,
    agreement: Agreement,
    applied: BTreeMap<Slot, Option<Bytes>>,
    phase: Phase,
    final_reads: BTreeMap<u64, (usize, u64, Request)>,
    answers: u64,
    restarts: u64,
    /// Who plays the leader and who the follower in the plan's story.
    cast: (usize, usize),
    /// A later leader in the story.
    second: usize,
}

/// The client number under which final reads are made.
const AUDITOR: usize = usize::MAX;

/// Plays `plan` to its end.
///
/// # Errors
/// The first broken promise. A broken assertion in the core panics.
pub fn run(plan: &Plan, is_printed: bool) -> Result<Report, Violation> {
    let mut world = World::new(plan.clone(), is_printed);
    let end = world.play();
    end.map_err(|what| Violation { time_us: world.now_us, what })
}

impl World {
    fn new(plan: Plan, is_printed: bool) -> World {
        let mut rng = Rng::with_seed(plan.seed);
        let nodes = (0..plan.nodes())
            .map(|index| Node::new(index, &plan, rng.u64(8_000..12_500)))
            .collect();
        World {
            network: Network::new(plan.nodes()),
            clients: (0..plan.clients).map(Client::new).collect(),
            histories: vec![History::default(); plan.keys],
            rng,
            trace: Trace::new(is_printed),
            now_us: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            event_next: 0,
            played: 0,
            nodes,
            inserted: BTreeSet::new(),
            answered: BTreeMap::new(),
            agreement: Agreement::default(),
            applied: BTreeMap::new(),
            phase: Phase::Chaos,
            final_reads: BTreeMap::new(),
            answers: 0,
            restarts: 0,
            cast: (0, 0),
            second: 0,
            plan,
        }
    }

    fn play(&mut self) -> Result<Report, String> {
        self.begin();
        while let Some(Reverse((time, number))) = self.queue.pop() {
            let Some(event) = self.events.remove(&number) else { continue };
            self.now_us = time;
            self.played += 1;
            self.on_event(event)?;
            if self.phase != Phase::Chaos && self.is_over()? {
                return self.end();
            }
            if self.now_us > self.plan.chaos_us + HEAL_US_MAX {
                return Err(self.stuck());
            }
        }
        Err("the world stood still".to_owned())
    }

    fn begin(&mut self) {
        for index in 0..self.plan.nodes() {
            let late = index >= self.plan.founders;
            let at = if late { self.rng.u64(100_000..self.plan.chaos_us) } else { 0 };
            self.at(at, Event::Start(index));
        }
        for client in 0..self.plan.clients {
            let at = self.rng.u64(0..500_000);
            self.at(at, Event::Patience { client, number: 0, attempt: 0 });
        }
        self.later_fault(self.plan.partition_every_us, Event::NetworkFault);
        self.later_fault(self.plan.hold_every_us, Event::LinkHeld);
        self.later_fault(self.plan.flicker_every_us, Event::LinkFlicker);
        self.later_fault(self.plan.crash_every_us, Event::Crash);
        self.later_fault(self.plan.pause_every_us, Event::Pause);
        self.later_fault(self.plan.clock_stop_every_us, Event::ClockStop);
        if self.plan.story.is_some() {
            self.at(400_000, Event::Story(0));
        }
        self.at(self.plan.chaos_us, Event::Heal);
    }

    fn at(&mut self, time_us: u64, event: Event) {
        let number = self.event_next;
        self.event_next += 1;
        self.queue.push(Reverse((time_us, number)));
        self.events.insert(number, event);
    }

    fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    fn later_fault(&mut self, every_us: u64, event: Event) {
        if every_us != u64::MAX {
            let delay = self.rng.u64(1..every_us * 2);
            self.after(delay, event);
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), String> {
        if let Some(node) = node_of(&event)
            && self.nodes[node].paused_until_us > self.now_us
        {
            let until = self.nodes[node].paused_until_us;
            self.at(until, event);
            return Ok(());
        }
        let chaos = self.phase == Phase::Chaos;
        match event {
            Event::Tick(node, life) => {
                if self.is_alive(node, life) {
                    let tick_us = self.nodes[node].tick_us;
                    self.after(tick_us, Event::Tick(node, life));
                    if self.nodes[node].clock_stopped_until_us <= self.now_us {
                        self.step(node, Input::Tick)?;
                    }
                }
            }
            Event::Deliver { to, from, bytes } => {
                let message = decode_peer_message(bytes.clone()).map_err(|e| e.to_string())?;
                self.trace.message(self.now_us, (from, to), &bytes, &message);
                self.step(to, Input::Peer { from: id_of(from), message })?;
            }
            Event::Request { node, client, number, call } => {
                self.on_request(node, client, number, call)?;
            }
            Event::Answer { client, number, answer } => self.on_answer(client, number, answer)?,
            Event::Patience { client, number, attempt } => {
                self.on_patience(client, number, attempt);
            }
            Event::Repeat { client, number, call } => self.send_request(client, number, &call),
            Event::Synced(node, life) => self.on_synced(node, life)?,
            Event::Applied(node, life) => self.on_applied(node, life)?,
            Event::Query { node, life, id, request } => {
                if self.is_alive(node, life) {
                    self.on_query(node, id, &request)?;
                }
            }
            Event::NetworkFault if chaos => self.on_network_fault(),
            Event::LinkHeld if chaos => self.on_link_held(),
            Event::LinkFlicker if chaos => {
                self.network.flicker(&mut self.rng);
                self.later_fault(self.plan.flicker_every_us, Event::LinkFlicker);
            }
            Event::Crash if chaos => self.on_crash(),
            Event::CrashAgain(node, life) if chaos && self.is_alive(node, life) => {
                self.crash(node);
            }
            Event::Pause if chaos => self.on_pause(),
            Event::ClockStop if chaos => self.on_clock_stop(),
            Event::Story(scene) if chaos => self.on_story(scene),
            Event::NetworkFault
            | Event::LinkHeld
            | Event::LinkFlicker
            | Event::Crash
            | Event::CrashAgain(..)
            | Event::Pause
            | Event::ClockStop
            | Event::Story(_) => {}
            Event::Start(node) => self.on_start(node)?,
            Event::Heal => self.on_heal(),
        }
        Ok(())
    }

    fn is_alive(&self, node: usize, life: u64) -> bool {
        self.nodes[node].up.is_some() && self.nodes[node].life == life
    }

    /// Hands an input to a node and carries out what it wants.
    fn step(&mut self, node: usize, input: Input) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        let mut outputs = up.step(input);
        self.observe(node)?;
        for output in outputs.drain(..) {
            self.carry_out(node, output)?;
        }
        if let Some(up) = &mut self.nodes[node].up {
            up.outputs = outputs;
        }
        Ok(())
    }

    /// Checks what the node now holds as decided.
    fn observe(&mut self, node: usize) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        let core = up.replica.core();
        let decided = core.status().decided;
        if decided < up.decided {
            return Err(format!("node {node}: decided went from {} to {decided}", up.decided));
        }
        let mut slot = up.decided.next();
        while slot <= decided {
            if let Some(entry) = core.entry(slot) {
                let observed = self.agreement.observe(slot, &entry.payload);
                observed.map_err(|what| format!("node {node}: {what}"))?;
            }
            slot = slot.next();
        }
        up.decided = decided;
        Ok(())
    }

    fn carry_out(&mut self, node: usize, output: Output) -> Result<(), String> {
        match output {
            Output::Persist { id, records } => self.persist(node, id, records),
            Output::Send { to, message } => {
                let mut bytes = Vec::new();
                encode_peer_message(&message, &mut bytes);
                self.send(node, to, message.kind(), &bytes.into());
            }
            Output::Apply { entries } => self.apply(node, entries)?,
            Output::Query { id, request } => {
                let life = self.nodes[node].life;
                let delay = self.rng.u64(0..500);
                self.after(delay, Event::Query { node, life, id, request });
            }
            Output::Reply { id, answer } => self.answer(node, id, &answer),
            Output::Fetch { to, from, upto, bytes_max } => {
                let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
                let entries = up.journal.entries(from, upto, bytes_max);
                let entries = entries.map_err(|e| format!("node {node}: {e}"))?;
                self.step(node, Input::Fetched { to, first: from, entries })?;
            }
            Output::Membership(membership) => {
                let members: Vec<_> =
                    membership.members.iter().map(|(id, m)| (id.0 - 1, m.voter)).collect();
                self.trace.event(self.now_us, format_args!("{node} members {members:?}"));
            }
        }
        Ok(())
    }

    fn send(&mut self, from: usize, to: NodeId, kind: &str, bytes: &Bytes) {
        let to = to.0 as usize - 1;
        let (plan, rng, link) = (&self.plan, &mut self.rng, (from, to));
        for at in self.network.arrivals_on(plan, rng, link, kind, self.now_us) {
            self.at(at, Event::Deliver { to, from, bytes: bytes.clone() });
        }
    }

    fn persist(&mut self, node: usize, id: PersistId, records: Vec<paxos::Record>) {
        let (min, max) = self.plan.sync_us;
        let life = self.nodes[node].life;
        let Some(up) = &mut self.nodes[node].up else { return };
        up.unsynced.push((id, records));
        if !up.is_syncing {
            up.is_syncing = true;
            let delay = self.rng.u64(min..=max);
            self.after(delay, Event::Synced(node, life));
        }
    }

    fn on_synced(&mut self, node: usize, life: u64) -> Result<(), String> {
        if !self.is_alive(node, life) {
            return Ok(());
        }
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        up.is_syncing = false;
        let Some((last, _)) = up.unsynced.last() else { return Ok(()) };
        let last = *last;
        for (_, records) in std::mem::take(&mut up.unsynced) {
            up.journal.append(&records).map_err(|e| format!("node {node}: {e}"))?;
        }
        up.journal.flush().map_err(|e| format!("node {node}: {e}"))?;
        self.trace.event(self.now_us, format_args!("{node} synced {}", last.0));
        self.step(node, Input::Persisted(last))
    }

    fn apply(&mut self, node: usize, entries: Vec<(Slot, Option<Bytes>)>) -> Result<(), String> {
        for (slot, command) in &entries {
            let known = self.applied.entry(*slot).or_insert_with(|| command.clone());
            if known != command {
                return Err(format!("node {node} applies another value in slot {slot}"));
            }
        }
        let (min, max) = self.plan.apply_us;
        let life = self.nodes[node].life;
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        up.unapplied.extend(entries);
        if !up.is_applying {
            up.is_applying = true;
            let delay = self.rng.u64(min..=max);
            self.after(delay, Event::Applied(node, life));
        }
        Ok(())
    }

    fn on_applied(&mut self, node: usize, life: u64) -> Result<(), String> {
        if !self.is_alive(node, life) {
            return Ok(());
        }
        let persist = self.rng.f64() < self.plan.persist_store;
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        up.is_applying = false;
        let entries = std::mem::take(&mut up.unapplied);
        let Some((through, _)) = entries.last() else { return Ok(()) };
        let through = *through;
        let batch: Vec<store::Entry<'_>> = (entries.iter())
            .map(|(slot, command)| store::Entry {
                slot: slot.0,
                effect: store::Effect::from(command.as_deref()),
            })
            .collect();
        let outcomes = up.store.apply(&batch).map_err(|e| format!("node {node}: store: {e}"))?;
        if persist {
            up.store.persist().map_err(|e| format!("node {node}: store: {e}"))?;
        }
        self.trace.event(self.now_us, format_args!("{node} applied {through}"));
        self.step(node, Input::Applied { through, outcomes })
    }

    fn on_query(&mut self, node: usize, id: RequestId, request: &Request) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        let answer = up.store.reader().query(request);
        let answer = answer.map_err(|e| format!("node {node}: store: {e}"))?;
        self.answer(node, id, &answer);
        Ok(())
    }
}

/// Starts, and the end of the faults.
impl World {
    fn on_start(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].up.is_some() {
            return Ok(());
        }
        if self.nodes[node].life > 0 && self.rng.f64() < self.plan.move_chance {
            self.nodes[node].moves += 1;
        }
        let plan = self.plan.clone();
        self.nodes[node].start(node, &plan)?;
        self.trace.event(self.now_us, format_args!("{node} starts"));
        let life = self.nodes[node].life;
        self.restarts += u64::from(life > 1);
        let tick_us = self.nodes[node].tick_us;
        self.after(tick_us, Event::Tick(node, life));
        if self.nodes[node].crashes_to_come > 0 {
            self.nodes[node].crashes_to_come -= 1;
            let up = self.rng.u64(1_000..100_000);
            self.after(up, Event::CrashAgain(node, life));
        }
        if node >= self.plan.founders || self.nodes[node].moves > 0 {
            let anybody = self.rng.usize(..self.plan.founders);
            // In a story newcomers ask its leader as often as anybody else.
            let asks_leader = self.plan.story.is_some() && self.rng.bool();
            let seed = id_of(if asks_leader { self.cast.0 } else { anybody });
            self.step(node, Input::Seed(seed))?;
        }
        Ok(())
    }

    fn on_heal(&mut self) {
        self.trace.event(self.now_us, format_args!("heal"));
        self.phase = Phase::Healing;
        self.network.heal();
        for index in 0..self.nodes.len() {
            self.nodes[index].paused_until_us = 0;
            self.nodes[index].clock_stopped_until_us = 0;
            if self.nodes[index].up.is_none() {
                self.after(0, Event::Start(index));
            }
        }
    }
}

/// Clients.
impl World {
    /// The client begins, or loses patience and tries again elsewhere.
    fn on_patience(&mut self, client: usize, number: u64, attempt: u64) {
        if client == AUDITOR {
            self.audit_again(number);
            return;
        }
        let begun = self.clients[client].current.is_some();
        if !begun {
            if self.clients[client].is_done(&self.plan) {
                return;
            }
            self.clients[client].begin(&self.plan, &mut self.rng, self.now_us);
        }
        let Some(current) = &mut self.clients[client].current else { return };
        if begun && (current.number, current.attempt) != (number, attempt) {
            return;
        }
        current.attempt += 1;
        let (number, attempt, call) = (current.number, current.attempt, current.call.clone());
        self.send_request(client, number, &call);
        if call.request.is_write() && self.rng.f64() < self.plan.double_send {
            self.send_request(client, number, &call);
        }
        let patience = self.rng.u64(100_000..2_000_000);
        self.after(patience, Event::Patience { client, number, attempt });
    }

    fn send_request(&mut self, client: usize, number: u64, call: &Call) {
        let mut node = self.rng.usize(..self.nodes.len());
        if let Some(home) = self.clients[client].home
            && self.rng.f64() < self.plan.loyalty
        {
            node = home;
        }
        self.clients[client].home = Some(node);
        for at in self.network.arrivals(&self.plan, &mut self.rng, self.now_us) {
            self.at(at, Event::Request { node, client, number, call: call.clone() });
        }
    }

    fn on_request(
        &mut self,
        node: usize,
        client: usize,
        number: u64,
        call: Call,
    ) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        self.trace.event(self.now_us, format_args!("{node} asked {client}/{number} {call:?}"));
        up.request_next += 1;
        let id = RequestId(up.request_next);
        up.requests.insert(id, (client, number));
        let now_ms = self.now_us / 1000;
        self.step(node, Input::Request { id, call, now_ms })
    }

    fn answer(&mut self, node: usize, id: RequestId, answer: &Result<Value, api::Error>) {
        let Some(up) = &mut self.nodes[node].up else { return };
        let Some((client, number)) = up.requests.remove(&id) else { return };
        self.trace.event(self.now_us, format_args!("{node} tells {client}/{number} {answer:?}"));
        for at in self.network.arrivals(&self.plan, &mut self.rng, self.now_us) {
            self.at(at, Event::Answer { client, number, answer: answer.clone() });
        }
    }

    fn on_answer(
        &mut self,
        client: usize,
        number: u64,
        answer: Result<Value, api::Error>,
    ) -> Result<(), String> {
        if client == AUDITOR {
            return self.on_audit(number, answer);
        }
        let current = self.clients[client].current.as_ref().filter(|c| c.number == number);
        let Some(current) = current.cloned() else {
            return self.check_repeat(client, number, answer);
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.on_refusal(client, &current.call, current.attempt, &error),
        };
        self.answers += 1;
        if current.call.request.is_write() {
            self.answered.insert((client, number), answer.clone());
            if self.rng.f64() < self.plan.repeat_answered {
                let delay = self.rng.u64(0..500_000);
                self.after(delay, Event::Repeat { client, number, call: current.call });
            }
        }
        match self.clients[client].finish(&answer, self.now_us)? {
            Meaning::Key(key, operation) => self.histories[key].add(*operation),
            Meaning::Inserted(id) => {
                self.inserted.insert(id);
            }
            Meaning::Nothing => {}
        }
        let pause = self.rng.u64(0..=self.plan.think_us);
        self.after(pause, Event::Patience { client, number: 0, attempt: 0 });
        Ok(())
    }

    /// A write that was sent again after its answer must get the same answer, or none.
    fn check_repeat(
        &mut self,
        client: usize,
        number: u64,
        answer: Result<Value, api::Error>,
    ) -> Result<(), String> {
        match (self.answered.get(&(client, number)), answer) {
            (Some(first), Ok(second)) if *first != second => Err(format!(
                "client {client} got {first:?} for its operation {number}, and later {second:?}"
            )),
            _ => Ok(()),
        }
    }

    fn on_refusal(
        &mut self,
        client: usize,
        call: &Call,
        attempt: u64,
        error: &api::Error,
    ) -> Result<(), String> {
        match error.code {
            ErrorCode::Down | ErrorCode::Busy | ErrorCode::Timeout => {
                let Some(current) = &self.clients[client].current else { return Ok(()) };
                let number = current.number;
                let wait = self.rng.u64(1_000..100_000);
                self.after(wait, Event::Patience { client, number, attempt });
                Ok(())
            }
            // The collection is made by client 0, perhaps later; this operation had no effect.
            ErrorCode::UnknownCollection if matches!(call.request, Request::Insert { .. }) => {
                self.clients[client].current = None;
                self.after(1_000, Event::Patience { client, number: 0, attempt: 0 });
                Ok(())
            }
            _ => Err(format!("client {client} was refused: {error} ({call:?})")),
        }
    }
}

/// The end of a run.
impl World {
    fn is_over(&mut self) -> Result<bool, String> {
        if self.phase == Phase::Healing && self.clients.iter().all(|c| c.is_done(&self.plan)) {
            self.phase = Phase::FinalReads;
            self.begin_audit();
        }
        if self.phase != Phase::FinalReads || !self.final_reads.is_empty() {
            return Ok(false);
        }
        self.has_converged()
    }

    /// Every key, and the collection, is read at every node.
    fn begin_audit(&mut self) {
        self.trace.event(self.now_us, format_args!("final reads"));
        let mut number = 0;
        for node in 0..self.nodes.len() {
            let keys = (0..self.plan.keys)
                .map(|key| Request::Read { key: format!("key-{key}"), empty_if_absent: false });
            let search = Request::Search {
                collection: COLLECTION.to_owned(),
                filter: Document::new(),
                search: SearchOptions::default(),
            };
            for request in keys.chain([search]) {
                number += 1;
                self.final_reads.insert(number, (node, self.now_us, request));
                self.after(0, Event::Patience { client: AUDITOR, number, attempt: 0 });
            }
        }
    }

    fn audit_again(&mut self, number: u64) {
        let Some((node, _, request)) = self.final_reads.get(&number) else { return };
        let (node, request) = (*node, request.clone());
        let call = Call { request, options: Options::default() };
        self.after(100, Event::Request { node, client: AUDITOR, number, call });
        self.after(500_000, Event::Patience { client: AUDITOR, number, attempt: 0 });
    }

    fn on_audit(&mut self, number: u64, answer: Result<Value, api::Error>) -> Result<(), String> {
        let Ok(answer) = answer else { return Ok(()) };
        let Some((node, start_us, request)) = self.final_reads.remove(&number) else {
            return Ok(());
        };
        match request {
            Request::Read { key, .. } => {
                let key: usize = key.trim_start_matches("key-").parse().unwrap_or(0);
                let action = Action::Read(answer);
                let end_us = self.now_us;
                self.histories[key].add(Operation { client: AUDITOR, start_us, end_us, action });
            }
            _ => self.check_inserted(node, &answer)?,
        }
        Ok(())
    }

    fn check_inserted(&self, node: usize, answer: &Value) -> Result<(), String> {
        let list = answer.as_array().ok_or_else(|| format!("search answered {answer:?}"))?;
        let found: BTreeSet<&str> = (list.iter())
            .filter_map(|document| document.as_document()?.get_str("_id").ok())
            .collect();
        if found.len() != list.len() {
            return Err(format!("node {node} holds a document twice: {list:?}"));
        }
        match self.inserted.iter().find(|id| !found.contains(id.as_str())) {
            Some(id) => Err(format!("node {node} has lost the document {id}")),
            None => Ok(()),
        }
    }

    /// All nodes stand at the same slot with the same content.
    fn has_converged(&mut self) -> Result<bool, String> {
        let mut slots = BTreeSet::new();
        for node in &self.nodes {
            let Some(up) = &node.up else { return Ok(false) };
            let (_, membership) = up.replica.core().membership();
            let lives_there = |other: &Node| {
                let member = membership.members.get(&other.id);
                member.is_some_and(|m| m.voter && m.address == other.address())
            };
            if !self.nodes.iter().all(lives_there) {
                return Ok(false);
            }
            slots.insert(up.store.applied_slot());
        }
        if slots.len() != 1 {
            return Ok(false);
        }
        let mut hashes = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(up) = &node.up else { return Ok(false) };
            let hash = up.store.content_hash().map_err(|e| format!("node {index}: {e}"))?;
            hashes.insert(hash);
        }
        if hashes.len() != 1 {
            return Err(format!("nodes differ at one slot: {hashes:?}"));
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<Report, String> {
        for client in &mut self.clients {
            if let Some(current) = client.current.take()
                && let Some((key, operation)) = unanswered(client.index, current)
            {
                self.histories[key].add(operation);
            }
        }
        for (key, history) in self.histories.iter().enumerate() {
            history.check().map_err(|what| format!("key {key} is not linearizable: {what}"))?;
        }
        Ok(Report {
            trace_hash: self.trace.hash(),
            simulated_us: self.now_us,
            events: self.played,
            slots: self.agreement.slots(),
            answers: self.answers,
            restarts: self.restarts,
            members: self.plan.nodes(),
        })
    }

    fn stuck(&self) -> String {
        use std::fmt::Write;
        let mut what = format!("no progress after the faults ended, in phase {:?}", self.phase);
        for (index, node) in self.nodes.iter().enumerate() {
            let status =
                node.up.as_ref().map(|up| (up.replica.core().status(), up.replica.applied()));
            // Writing to a string cannot fail.
            let _ = write!(what, "\n  node {index}: {status:?}");
        }
        for client in &self.clients {
            if let Some(current) = &client.current {
                let _ = write!(what, "\n  client {}: {current:?}", client.index);
            }
        }
        what
    }
}

/// The node at which an event happens, if it is one that a paused process does not see.
fn node_of(event: &Event) -> Option<usize> {
    match event {
        Event::Tick(node, _)
        | Event::Synced(node, _)
        | Event::Applied(node, _)
        | Event::Deliver { to: node, .. }
        | Event::Request { node, .. }
        | Event::Query { node, .. } => Some(*node),
        _ => None,
    }
}
