//! The event loop of a run.

mod alone;
mod churn;
mod clients;
mod damage;
mod ending;
mod faults;
mod machines;
mod passive;
mod starts;
mod stories;
mod watched;

use crate::checker::{Agreement, History};
use crate::client::Client;
use crate::network::Network;
use crate::node::{Node, index_of};
use crate::plan::Plan;
use crate::trace::Trace;
use api::{Call, Request, Value};
use bytes::Bytes;
use fastrand::Rng;
use paxos::{NodeId, Slot};
use replica::{Input, Output, RequestId, decode_peer_message};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;

/// How long after the faults end everything must be done, in simulated time.
const HEAL_US_MAX: u64 = 60_000_000;

/// A run without a fault found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Two runs with the same hash had the same events.
    pub trace_hash: u64,
    /// How long the world lived.
    pub simulated_us: u64,
    /// Events played.
    pub events: u64,
    /// Slots decided.
    pub slots: u64,
    /// Client operations answered.
    pub answers: u64,
    /// Starts of nodes after the first.
    pub restarts: u64,
    /// Cuts of a log.
    pub cuts: u64,
    /// Snapshots that became a node's store.
    pub snapshots: u64,
    /// Memberships decided.
    pub memberships: u64,
    /// Voters set down as away.
    pub evictions: u64,
    /// Nodes that stopped because they were removed, or their place was taken.
    pub removals: u64,
    /// Machines that came back as another node.
    pub replacements: u64,
    /// Damaged logs that were noticed at the start.
    pub damages: u64,
    /// Nodes that found that they had parted from their group (passive policy).
    pub divergences: u64,
}

impl Report {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Report) {
        self.trace_hash ^= other.trace_hash;
        self.simulated_us += other.simulated_us;
        self.events += other.events;
        self.slots += other.slots;
        self.answers += other.answers;
        self.restarts += other.restarts;
        self.cuts += other.cuts;
        self.snapshots += other.snapshots;
        self.memberships += other.memberships;
        self.evictions += other.evictions;
        self.removals += other.removals;
        self.replacements += other.replacements;
        self.damages += other.damages;
        self.divergences += other.divergences;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { events, slots, answers, restarts, cuts, snapshots, .. } = self;
        let hours = self.simulated_us as f64 / 3.6e9;
        write!(
            f,
            "{hours:.1} simulated hours, {events} events, {slots} slots decided, {answers} "
        )?;
        write!(f, "answers, {restarts} restarts, {cuts} cuts of logs, {snapshots} snapshots ")?;
        let Report { memberships, evictions, removals, replacements, .. } = self;
        write!(f, "installed, {memberships} memberships, {evictions} evictions, {removals} ")?;
        let Report { damages, divergences, trace_hash, .. } = self;
        write!(f, "removals, {replacements} replacements, {damages} damaged logs noticed, ")?;
        write!(f, "{divergences} divergences, trace {trace_hash:016x}")
    }
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
// Most events are ticks and messages: what is larger is boxed.
enum Event {
    Tick(usize, u64),
    Deliver { to: NodeId, from: NodeId, bytes: Bytes },
    Request { node: usize, client: usize, number: u64, call: Box<Call> },
    Answer { client: usize, number: u64, answer: Box<Result<Value, api::Error>> },
    Patience { client: usize, number: u64, attempt: u64 },
    Repeat { client: usize, number: u64, call: Box<Call> },
    Synced(usize, u64),
    Stored(usize, u64),
    Fetch { node: usize, life: u64, to: NodeId, from: Slot, upto: Slot, bytes_max: usize },
    Query { node: usize, life: u64, id: RequestId, request: Box<Request> },
    NetworkFault,
    LinkHeld,
    LinkFlicker,
    Crash,
    CrashAgain(usize, u64),
    Start(usize),
    Seek(usize, u64),
    Wish,
    StopAsked,
    StopNow(usize, u64),
    DiskFull,
    DiskRoom(usize, u64),
    DiskLost,
    DiskDamaged,
    DiskFailing,
    DiskStalled,
    Sweep,
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
    /// Time and number (see [`moment`]), place in `events`.
    queue: BinaryHeap<Reverse<(u128, u32)>>,
    events: Vec<Option<Event>>,
    /// Places in `events` that are free.
    free: Vec<u32>,
    event_next: u64,
    nodes: Vec<Node>,
    network: Network,
    clients: Vec<Client>,
    histories: Vec<History>,
    inserted: BTreeSet<String>,
    /// Every value that some client has tried to write.
    written: BTreeSet<String>,
    /// Every value of a key whose write was answered in a group that may part (passive policy).
    acknowledged: BTreeSet<String>,
    /// A node that parted from its group had cut from its log what the group may not have (passive policy).
    has_cut_what_parted: bool,
    /// The one node that operators tell to go on alone.
    alone: Option<usize>,
    /// The answers of writes, for repeats: client and operation to answer.
    answered: BTreeMap<(usize, u64), Value>,
    agreement: Agreement,
    phase: Phase,
    final_reads: BTreeMap<u64, (usize, u64, Request)>,
    /// Documents that nodes that had parted from their group kept for somebody to look at (passive policy).
    kept: BTreeSet<String>,
    /// Nodes whose removal an operator has wished for.
    to_be_removed: BTreeSet<NodeId>,
    report: Report,
    /// Where messages are written, one after the other.
    message_buffer: Vec<u8>,
    /// Who plays the leader and who the follower in the plan's story.
    cast: (usize, usize),
    /// A later leader in the story.
    second: usize,
    /// How far somebody was when an act of the story began.
    mark: u64,
    /// Which act of the story is played, where its scenes only wait for something.
    act: u64,
}

/// The client number under which final reads are made.
const AUDITOR: usize = usize::MAX;

/// The client number under which operators make their wishes.
const OPERATOR: usize = usize::MAX - 1;

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
            clients: (0..plan.clients).map(|index| Client::new(index, &plan)).collect(),
            histories: vec![History::default(); plan.keys],
            rng,
            trace: Trace::new(is_printed),
            now_us: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            event_next: 0,
            nodes,
            inserted: BTreeSet::new(),
            written: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            has_cut_what_parted: false,
            alone: None,
            answered: BTreeMap::new(),
            agreement: Agreement::new(plan.may_part),
            phase: Phase::Chaos,
            final_reads: BTreeMap::new(),
            kept: BTreeSet::new(),
            to_be_removed: BTreeSet::new(),
            report: Report::default(),
            message_buffer: Vec::new(),
            cast: (0, 0),
            second: 0,
            mark: 0,
            act: 0,
            plan,
        }
    }

    fn play(&mut self) -> Result<Report, String> {
        self.begin();
        while let Some(Reverse((moment, place))) = self.queue.pop() {
            let Some(event) = self.events[place as usize].take() else { continue };
            self.free.push(place);
            self.now_us = (moment >> 64) as u64;
            self.report.events += 1;
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
        self.later_fault(self.plan.wish_every_us, Event::Wish);
        self.later_fault(self.plan.stop_every_us, Event::StopAsked);
        self.later_fault(self.plan.disk_full_every_us, Event::DiskFull);
        self.later_fault(self.plan.lose_every_us, Event::DiskLost);
        self.later_fault(self.plan.damage_every_us, Event::DiskDamaged);
        self.later_fault(self.plan.fail_every_us, Event::DiskFailing);
        self.later_fault(self.plan.stall_every_us, Event::DiskStalled);
        if self.plan.story.is_some() {
            self.at(400_000, Event::Story(0));
        }
        self.at(self.plan.chaos_us, Event::Heal);
    }

    fn at(&mut self, time_us: u64, event: Event) {
        let number = self.event_next;
        self.event_next += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            u32::try_from(self.events.len() - 1).expect("far fewer events wait")
        });
        self.events[place as usize] = Some(event);
        self.queue.push(Reverse((moment(time_us, number), place)));
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
                let node = index_of(to);
                if self.nodes[node].id == to && self.nodes[node].up.is_some() {
                    let link = (index_of(from), node);
                    self.trace.message(self.now_us, link, &bytes);
                    let message = decode_peer_message(bytes).map_err(|e| e.to_string())?;
                    self.trace.say(self.now_us, link, &message);
                    self.step(node, Input::Peer { from, message })?;
                }
            }
            Event::Request { node, client, number, call } => {
                self.on_request(node, client, number, *call)?;
            }
            Event::Answer { client, number, answer } => self.on_answer(client, number, *answer)?,
            Event::Patience { client, number, attempt } => {
                self.on_patience(client, number, attempt);
            }
            Event::Repeat { client, number, call } => self.send_request(client, number, &call),
            Event::Synced(node, life) => self.on_synced(node, life)?,
            Event::Stored(node, life) => self.on_stored(node, life)?,
            Event::Fetch { node, life, to, from, upto, bytes_max } => {
                if self.is_alive(node, life) {
                    self.on_fetch(node, to, (from, upto), bytes_max)?;
                }
            }
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
                if self.may_stop(node) {
                    self.crash(node);
                }
            }
            Event::Pause if chaos => self.on_pause(),
            Event::ClockStop if chaos => self.on_clock_stop(),
            Event::Story(scene) if chaos => self.on_story(scene),
            Event::Wish if chaos => self.on_wish()?,
            Event::StopAsked if chaos => self.on_stop_asked()?,
            Event::DiskFull if chaos => self.on_disk_full()?,
            Event::DiskLost if chaos => self.on_disk_lost(),
            Event::DiskDamaged if chaos => self.on_disk_damaged()?,
            Event::DiskFailing if chaos => self.on_disk_failing(),
            Event::DiskStalled if chaos => self.on_disk_stalled(),
            Event::StopNow(node, life) => self.on_stop_now(node, life),
            Event::DiskRoom(node, life) => {
                if self.is_alive(node, life) {
                    self.step(node, Input::DiskFull(false))?;
                }
            }
            Event::Sweep => self.on_sweep()?,
            Event::Seek(node, life) => self.on_seek(node, life)?,
            Event::NetworkFault
            | Event::LinkHeld
            | Event::LinkFlicker
            | Event::Crash
            | Event::CrashAgain(..)
            | Event::Pause
            | Event::ClockStop
            | Event::Wish
            | Event::StopAsked
            | Event::DiskFull
            | Event::DiskLost
            | Event::DiskDamaged
            | Event::DiskFailing
            | Event::DiskStalled
            | Event::Story(_) => {}
            Event::Start(node) => self.on_start(node)?,
            Event::Heal => self.on_heal()?,
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
        for output in &outputs {
            let Output::Apply { entries } = output else { continue };
            for (slot, effect) in entries {
                let observed = self.agreement.observe_applied(*slot, effect);
                observed.map_err(|what| format!("node {node}: {what}"))?;
            }
        }
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
        let decided = core.decided();
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
}

/// Time and number of an event as one number, which is quicker to compare than two.
fn moment(time_us: u64, number: u64) -> u128 {
    u128::from(time_us) << 64 | u128::from(number)
}

/// The node at which an event happens, if it is one that a paused process does not see.
fn node_of(event: &Event) -> Option<usize> {
    match event {
        Event::Tick(node, _)
        | Event::Synced(node, _)
        | Event::Stored(node, _)
        | Event::StopNow(node, _)
        | Event::Fetch { node, .. }
        | Event::Request { node, .. }
        | Event::Query { node, .. } => Some(*node),
        Event::Deliver { to, .. } => Some(index_of(*to)),
        _ => None,
    }
}
