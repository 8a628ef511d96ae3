//! [`Replica`]: what goes in, what comes out, and who waits for what.

use crate::message::PeerMessage;
use crate::writes::{Answer, Writes, error_down};
use api::limits::{TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX};
use api::{Call, Error, ErrorCode, Level, Reference, Request, Value};
use bytes::Bytes;
use paxos::{
    Ballot, Change, Durable, Entry, Membership, NodeId, Paxos, Payload, PersistId, ProposalId,
    ReadId, Record, Slot,
};
use std::collections::BTreeMap;
use store::{Command, Outcome};

/// The driver's name for one client request; unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Settings of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Those of the core, with the node's identity.
    pub paxos: paxos::Config,
    /// Decides the core's waits and the names of questions: another at each start.
    pub seed: u64,
    /// What a tick is worth, in milliseconds.
    pub tick_ms: u64,
    /// The client part of the references that this node gives to calls without one: unique to this
    /// start of this node.
    pub session: String,
    /// Where this node listens, as others reach it.
    pub address: String,
    /// The group's name, for `status`.
    pub cluster: String,
    /// Most requests under way here; more are refused as busy.
    pub requests_max: usize,
    /// Most slots the store may be behind before new requests are refused as busy.
    pub apply_lag_slots_max: u64,
    /// Ticks without a leader after which requests are answered "down" (spec P8).
    pub down_ticks: u64,
}

impl Config {
    /// The usual settings, for ticks of 10 ms.
    pub fn new(paxos: paxos::Config, seed: u64, session: String, address: String) -> Config {
        Config {
            paxos,
            seed,
            tick_ms: 10,
            session,
            address,
            cluster: String::new(),
            requests_max: 65_536,
            apply_lag_slots_max: 100_000,
            down_ticks: 100,
        }
    }
}

/// What can happen to a node.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "inputs pass by value, one at a time")]
pub enum Input {
    /// A client asks. Complete: every document to insert has its `_id`.
    Request {
        /// The driver's name for it.
        id: RequestId,
        /// What is asked.
        call: Call,
        /// This node's wall clock, in milliseconds since 1970; goes into the log as a hint.
        now_ms: u64,
    },
    /// A message of another node of the group.
    Peer {
        /// From whom.
        from: NodeId,
        /// What it says.
        message: PeerMessage,
    },
    /// A tick passed.
    Tick,
    /// As [`paxos::Input::Persisted`].
    Persisted(PersistId),
    /// The store has applied everything up to `through`.
    Applied {
        /// The store's applied slot.
        through: Slot,
        /// What the entries answered.
        outcomes: Vec<Outcome>,
    },
    /// As [`paxos::Input::Fetched`].
    Fetched {
        /// For whom.
        to: NodeId,
        /// The slot of the first entry.
        first: Slot,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// A member of the group to join was reached.
    Seed(NodeId),
}

/// What a node wants done, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// As [`paxos::Output::Persist`].
    Persist {
        /// The batch's name.
        id: PersistId,
        /// Its records.
        records: Vec<Record>,
    },
    /// Send this message; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: PeerMessage,
    },
    /// Apply these entries to the store, then say [`Input::Applied`]. In slot order, without gaps.
    Apply {
        /// Slots with their commands; none for an entry without effect on the store.
        entries: Vec<(Slot, Option<Bytes>)>,
    },
    /// Look this up in the store, now or later, and give the answer to the client: this node's part is
    /// done. For a [`Request::Status`] the answer is [`Replica::status_document`] with the store's
    /// content hash added.
    Query {
        /// Whose.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// Answer a client.
    Reply {
        /// Whom.
        id: RequestId,
        /// With what.
        answer: Answer,
    },
    /// As [`paxos::Output::Fetch`].
    Fetch {
        /// For whom.
        to: NodeId,
        /// The first slot wanted.
        from: Slot,
        /// The last slot wanted.
        upto: Slot,
        /// Most bytes of entries; at least one.
        bytes_max: usize,
    },
    /// Who takes part has changed: keep connections to these.
    Membership(Membership),
}

/// A linearizable read that waits.
#[derive(Debug)]
struct Read {
    request: Request,
    deadline: u64,
}

/// One node. See the [crate documentation](crate).
///
/// Contract: hand in any number of inputs with [`Replica::step`], then carry out in order all outputs of
/// one [`Replica::flush`]. The same state and the same inputs give the same outputs.
#[derive(Debug)]
pub struct Replica {
    pub(crate) config: Config,
    pub(crate) paxos: Paxos,
    now: u64,
    applied: Slot,
    delivered: Slot,
    writes: Writes,
    sequence: u64,
    reads: BTreeMap<RequestId, Read>,
    /// Reads that may be served once the slot is applied.
    ready: BTreeMap<(Slot, RequestId), Request>,
    /// The leader known, and its ballot.
    leader: Option<(Ballot, NodeId)>,
    leaderless_since: u64,
    seed: Option<NodeId>,
    membership_told: Option<Slot>,
    outputs: Vec<Output>,
    core_outputs: Vec<paxos::Output>,
}

/// Ticks between two scans of what waits.
const SCAN_TICKS: u64 = 5;
/// Ticks between two wishes to join.
const JOIN_TICKS: u64 = 50;

impl Replica {
    /// A node that starts, or starts again; its store has applied everything up to `durable.decided`.
    pub fn new(config: Config, durable: Durable) -> Replica {
        let applied = durable.decided;
        let paxos = Paxos::recover(config.paxos.clone(), config.seed, durable);
        Replica {
            config,
            paxos,
            now: 0,
            applied,
            delivered: applied,
            writes: Writes::default(),
            sequence: 0,
            reads: BTreeMap::new(),
            ready: BTreeMap::new(),
            leader: None,
            leaderless_since: 0,
            seed: None,
            membership_told: None,
            outputs: Vec::new(),
            core_outputs: Vec::new(),
        }
    }

    /// Takes one input in.
    pub fn step(&mut self, input: Input) {
        match input {
            Input::Request { id, call, now_ms } => self.on_request(id, call, now_ms),
            Input::Peer { from, message } => self.on_peer(from, message),
            Input::Tick => self.on_tick(),
            Input::Persisted(id) => self.paxos.step(paxos::Input::Persisted(id)),
            Input::Applied { through, outcomes } => self.on_applied(through, outcomes),
            Input::Fetched { to, first, entries } => {
                self.paxos.step(paxos::Input::Fetched { to, first, entries });
            }
            Input::Seed(node) => self.seed = Some(node),
        }
    }

    /// Appends to `outputs` all that is to be done after the inputs so far.
    pub fn flush(&mut self, outputs: &mut Vec<Output>) {
        self.note_leader();
        self.hand_over_writes();
        let mut core_outputs = std::mem::take(&mut self.core_outputs);
        self.paxos.flush(&mut core_outputs);
        let mut entries = Vec::new();
        for output in core_outputs.drain(..) {
            self.on_core_output(output, &mut entries);
        }
        self.core_outputs = core_outputs;
        if !entries.is_empty() {
            self.outputs.push(Output::Apply { entries });
        }
        self.tell_membership();
        outputs.append(&mut self.outputs);
    }

    /// The last slot that the store has applied.
    pub fn applied(&self) -> Slot {
        self.applied
    }

    /// The consensus core, to look at.
    pub fn core(&self) -> &Paxos {
        &self.paxos
    }

    /// Writes under way that this node took.
    pub fn pending_writes(&self) -> usize {
        self.writes.len()
    }

    /// Reads under way that this node took.
    pub fn pending_reads(&self) -> usize {
        self.reads.len() + self.ready.len()
    }

    fn on_request(&mut self, id: RequestId, call: Call, now_ms: u64) {
        match call.request {
            Request::Status { hash: true } => {
                self.outputs.push(Output::Query { id, request: call.request });
            }
            Request::Status { hash: false } => {
                let status = self.status_document();
                self.reply(id, Ok(Value::Document(status)));
            }
            Request::Members => {
                let members = self.members_list();
                self.reply(id, Ok(Value::Array(members)));
            }
            _ => match self.admit(&call) {
                Err(error) => self.reply(id, Err(error)),
                Ok(()) if call.request.is_write() => self.begin_write(id, call, now_ms),
                Ok(()) => self.begin_read(id, call),
            },
        }
    }

    /// Refuses what can be refused at once.
    fn admit(&self, call: &Call) -> Result<(), Error> {
        store::validate(&call.request)?;
        if self.pending_writes() + self.pending_reads() >= self.config.requests_max {
            let message =
                format!("{} requests are under way at this node", self.config.requests_max);
            return Err(Error::new(ErrorCode::Busy, message));
        }
        if self.delivered.0 - self.applied.0 > self.config.apply_lag_slots_max {
            let message = "the store of this node is behind the log; try again or another member";
            return Err(Error::new(ErrorCode::Busy, message));
        }
        let local = call.options.level == Level::Local && !call.request.is_write();
        if self.is_down() && !local {
            return Err(error_down());
        }
        Ok(())
    }

    /// No leader has been known for a while.
    fn is_down(&self) -> bool {
        self.leader.is_none() && self.now >= self.leaderless_since + self.config.down_ticks
    }

    fn deadline(&self, timeout_ms: Option<u64>) -> u64 {
        let ms = timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT).min(TIMEOUT_MS_MAX);
        self.now + ms.div_ceil(self.config.tick_ms).max(1)
    }

    fn begin_write(&mut self, id: RequestId, call: Call, now_ms: u64) {
        let deadline = self.deadline(call.options.timeout_ms);
        let (reference, acked) = match call.options.reference {
            Some(reference) => (reference, call.options.acked.unwrap_or(0)),
            None => {
                self.sequence += 1;
                let reference = Reference::new(self.config.session.clone(), self.sequence);
                let lowest = self.writes.lowest_under_way(&self.config.session);
                (reference, lowest.unwrap_or(self.sequence))
            }
        };
        let request = call.request;
        let command_reference = reference.clone();
        let encode = move || {
            let command = Command { reference: command_reference, acked, time_ms: now_ms, request };
            Bytes::from(command.encode())
        };
        self.writes.begin(reference, encode, id, deadline);
    }

    fn begin_read(&mut self, id: RequestId, call: Call) {
        if call.options.level == Level::Local {
            self.outputs.push(Output::Query { id, request: call.request });
            return;
        }
        let deadline = self.deadline(call.options.timeout_ms);
        self.reads.insert(id, Read { request: call.request, deadline });
        self.paxos.step(paxos::Input::Read(ReadId(id.0)));
    }

    fn on_peer(&mut self, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::Paxos(message) => {
                self.paxos.step(paxos::Input::Message { from, message });
            }
            PeerMessage::Forward { command } => self.on_forward(command),
            PeerMessage::Join { node, address } => self.on_join(node, address),
        }
    }

    /// What cannot be proposed here is dropped; the node that took it sends it again.
    fn on_forward(&mut self, command: Bytes) {
        // A command that cannot be read would be refused by every store alike; it costs no slot.
        if self.paxos.leader() == Some(self.paxos.node()) && Command::decode(&command).is_ok() {
            self.paxos.step(paxos::Input::Propose { id: ProposalId(FORWARDED), command });
        }
    }

    fn on_refused(&mut self, token: u64, busy: bool) {
        for id in self.writes.refused(token, busy) {
            let message = "the leader has too many writes under way; the request had no effect";
            self.reply(id, Err(Error::new(ErrorCode::Busy, message)));
        }
    }

    fn on_join(&mut self, node: NodeId, address: String) {
        match self.paxos.leader() {
            Some(leader) if leader == self.paxos.node() => {
                self.paxos.step(paxos::Input::Change(Change::Join { node, address }));
            }
            Some(leader) if leader != node => {
                let message = PeerMessage::Join { node, address };
                self.outputs.push(Output::Send { to: leader, message });
            }
            _ => {}
        }
    }

    fn on_applied(&mut self, through: Slot, outcomes: Vec<Outcome>) {
        assert!(through >= self.applied, "the applied slot never goes back");
        assert!(through <= self.delivered, "only what was handed out is applied");
        self.applied = through;
        for outcome in outcomes {
            let (Some(reference), Some(answer)) = (outcome.reference, outcome.answer) else {
                continue;
            };
            for id in self.writes.finish(&reference) {
                self.reply(id, answer.clone());
            }
        }
        while let Some(entry) = self.ready.first_entry()
            && entry.key().0 <= self.applied
        {
            let ((_, id), request) = entry.remove_entry();
            self.outputs.push(Output::Query { id, request });
        }
    }

    fn on_core_output(&mut self, output: paxos::Output, entries: &mut Vec<(Slot, Option<Bytes>)>) {
        match output {
            paxos::Output::Persist { id, records } => {
                self.outputs.push(Output::Persist { id, records });
            }
            paxos::Output::Send { to, message } => {
                self.outputs.push(Output::Send { to, message: PeerMessage::Paxos(message) });
            }
            paxos::Output::Decided { slot, payload } => {
                assert!(slot == self.delivered.next(), "slots come in order");
                self.delivered = slot;
                entries.push((
                    slot,
                    match payload {
                        Payload::Command(bytes) => Some(bytes),
                        Payload::Blank | Payload::Membership(_) => None,
                    },
                ));
            }
            paxos::Output::Refused { id, leader } => {
                let busy = leader == Some(self.paxos.node());
                if id.0 != FORWARDED {
                    self.on_refused(id.0, busy);
                }
            }
            paxos::Output::ReadReady { id, slot } => self.on_read_ready(RequestId(id.0), slot),
            paxos::Output::Fetch { to, from, upto, bytes_max } => {
                self.outputs.push(Output::Fetch { to, from, upto, bytes_max });
            }
        }
    }

    fn on_read_ready(&mut self, id: RequestId, slot: Slot) {
        let Some(read) = self.reads.remove(&id) else { return };
        if slot <= self.applied {
            self.outputs.push(Output::Query { id, request: read.request });
        } else {
            self.ready.insert((slot, id), read.request);
        }
    }

    fn on_tick(&mut self) {
        self.now += 1;
        self.paxos.step(paxos::Input::Tick);
        if self.now.is_multiple_of(SCAN_TICKS) {
            self.expire();
            if let Some((ballot, _)) = self.leader {
                self.writes.renew(ballot, self.now);
            }
        }
        if self.now % JOIN_TICKS == 1 {
            self.wish_to_join();
        }
    }

    fn expire(&mut self) {
        let is_down = self.is_down();
        for (id, error) in self.writes.expire(self.now, is_down) {
            self.reply(id, Err(error));
        }
        let now = self.now;
        let late: Vec<RequestId> = (self.reads.iter())
            .filter(|(_, read)| is_down || now >= read.deadline)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.reads.remove(&id);
            self.reply(id, Err(error_down()));
        }
    }

    /// Asks to take part, or tells a new address, until the membership says so.
    fn wish_to_join(&mut self) {
        let me = self.paxos.node();
        let (_, membership) = self.paxos.membership();
        if membership.members.get(&me).is_some_and(|m| m.address == self.config.address) {
            return;
        }
        let address = self.config.address.clone();
        match self.paxos.leader().or(self.seed) {
            Some(leader) if leader == me => {
                self.paxos.step(paxos::Input::Change(Change::Join { node: me, address }));
            }
            Some(to) => {
                let message = PeerMessage::Join { node: me, address };
                self.outputs.push(Output::Send { to, message });
            }
            None => {}
        }
    }

    /// Notices a new leader: what was handed to another is handed to it.
    fn note_leader(&mut self) {
        let leader = self.paxos.leader().map(|node| (self.paxos.status().ballot, node));
        if leader == self.leader {
            return;
        }
        if leader.is_none() {
            self.leaderless_since = self.now;
        }
        self.leader = leader;
        if let Some((ballot, _)) = leader {
            self.writes.renew(ballot, self.now);
        }
    }

    fn hand_over_writes(&mut self) {
        let Some((ballot, leader)) = self.leader else { return };
        for (token, command) in self.writes.take_due(ballot, self.now) {
            if leader == self.paxos.node() {
                self.paxos.step(paxos::Input::Propose { id: ProposalId(token), command });
            } else {
                let message = PeerMessage::Forward { command };
                self.outputs.push(Output::Send { to: leader, message });
            }
        }
    }

    fn tell_membership(&mut self) {
        let (slot, membership) = self.paxos.membership();
        if self.membership_told != Some(slot) {
            self.membership_told = Some(slot);
            self.outputs.push(Output::Membership(membership.clone()));
        }
    }

    fn reply(&mut self, id: RequestId, answer: Answer) {
        self.outputs.push(Output::Reply { id, answer });
    }
}

/// Marks a proposal that came from another node: it is that node's business to send it again.
const FORWARDED: u64 = 0;
