//! [`Replica`]: what goes in, what comes out, and who waits for what.

use crate::builds::Builds;
use crate::changes::{Changes, JOIN_TICKS};
use crate::message::PeerMessage;
use crate::snapshots::{Imported, Retention, Snapshots};
use crate::writes::{Answer, Writes};
use api::{Call, Error, ErrorCode, Request};
use bytes::Bytes;
use paxos::codec::encode_membership;
use paxos::{
    Ballot, Change, ChangeId, Durable, Entry, Membership, Message, NodeId, Paxos, Payload,
    PersistId, Policy, ProposalId, Record, Slot,
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
    /// About how many bytes of entries the log keeps for followers that were away, behind what the store
    /// holds durably.
    pub log_retain_bytes: u64,
    /// About how many bytes one chunk of a snapshot takes.
    pub snapshot_chunk_bytes: usize,
    /// Documents that one step of an index build looks at; between two steps other entries are applied.
    pub build_step_documents: u32,
    /// A safety line switched off, so that a test can show that it is needed. `None` in every node that holds
    /// data.
    pub planted: Option<PlantedBug>,
}

/// A safety line of this crate that tests can switch off, to show that a test notices.
/// `docs/design/planted-bugs.md` names the test for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// The log is cut as soon as entries are handed out, not once the store holds them durably.
    CutBeforeStored,
    /// A cut log does not say again what was promised.
    BaseWithoutPromise,
    /// A snapshot becomes the store before the log says that it stands for the slots before.
    StoreBeforeLog,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [PlantedBug; 3] =
        [PlantedBug::CutBeforeStored, PlantedBug::BaseWithoutPromise, PlantedBug::StoreBeforeLog];
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
            log_retain_bytes: 256 << 20,
            snapshot_chunk_bytes: 1 << 20,
            build_step_documents: 500,
            planted: None,
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
    /// Everything up to this slot is durable in the store, so that the log need not hold it.
    Stored(Slot),
    /// A chunk that [`Output::ReadSnapshot`] asked for.
    SnapshotRead {
        /// For whom.
        to: NodeId,
        /// The applied slot of the snapshot.
        slot: Slot,
        /// The chunk.
        chunk: Bytes,
    },
    /// What came of [`Output::Import`].
    Imported(Imported),
    /// [`Output::FinishImport`] is done: the snapshot is durable beside the store.
    ImportFinished {
        /// Its applied slot.
        slot: Slot,
        /// The group facts in it: the slot and bytes of its last [`Effect::Group`].
        group: Option<(Slot, Bytes)>,
    },
    /// [`Output::SwitchStore`] is done.
    Switched(Slot),
    /// The node is to stop: whoever is best prepared should lead.
    HandOver,
    /// Whether the disk has no room for writes.
    DiskFull(bool),
}

/// What a node wants done, in this order.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "outputs pass by value, one at a time")]
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
        /// Slots with what they do.
        entries: Vec<(Slot, Effect)>,
    },
    /// Forget what was imported, and get ready for the first chunk of a snapshot.
    BeginImport,
    /// Take this chunk in, beside the store, and say [`Input::Imported`].
    Import {
        /// The chunk.
        chunk: Bytes,
    },
    /// The last chunk is in: make the snapshot durable beside the store, so that a restart finds it, and say
    /// [`Input::ImportFinished`].
    FinishImport,
    /// Use the imported snapshot as the store from here on; say [`Input::Switched`].
    SwitchStore {
        /// Its applied slot.
        slot: Slot,
    },
    /// Read a chunk of the snapshot at `slot`, or of a new one if there is none (any more), and say
    /// [`Input::SnapshotRead`].
    ReadSnapshot {
        /// For whom.
        to: NodeId,
        /// The applied slot of the snapshot; zero: a new one.
        slot: Slot,
        /// Where the chunk begins; empty: at the start.
        cursor: Bytes,
        /// Most bytes of rows.
        bytes_max: usize,
    },
    /// Nobody asks for the snapshot at `slot` any more.
    DropSnapshot {
        /// Its applied slot.
        slot: Slot,
    },
    /// Cut the entries up to `upto` from the log, see [`crate::Journal::cut`].
    Cut {
        /// The last slot to cut.
        upto: Slot,
    },
    /// This node was removed from its group by hand, or its place was taken: stop, and say so.
    Removed,
    /// The group is at a feature level that this version does not know: stop, and say so.
    Unsupported {
        /// The level.
        level: u32,
    },
    /// Keep this entry, which gives way to another and was never acknowledged, and say so (passive policy).
    Overwritten {
        /// Where it was.
        slot: Slot,
        /// The entry.
        entry: Entry,
    },
    /// Keep the entries from `from` on, which are not in the group's log, and start over as a new member
    /// (passive policy).
    Diverged {
        /// The first slot that may differ.
        from: Slot,
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

/// What an entry does to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing; only the slot moves on.
    Blank,
    /// It runs a command.
    Command(Bytes),
    /// It says who takes part ([`paxos::codec::encode_membership`]); the store keeps the last one.
    Group(Bytes),
}

/// A linearizable read that waits.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) request: Request,
    pub(crate) deadline: u64,
}

/// One node. See the [crate documentation](crate).
///
/// Contract: hand in any number of inputs with [`Replica::step`], then carry out in order all outputs of
/// one [`Replica::flush`]. The same state and the same inputs give the same outputs.
#[derive(Debug)]
pub struct Replica {
    pub(crate) config: Config,
    pub(crate) paxos: Paxos,
    pub(crate) now: u64,
    applied: Slot,
    pub(crate) delivered: Slot,
    /// Durable in the store.
    pub(crate) stored: Slot,
    pub(crate) writes: Writes,
    pub(crate) sequence: u64,
    pub(crate) builds: Builds,
    pub(crate) reads: BTreeMap<RequestId, Read>,
    /// Reads that may be served once the slot is applied.
    pub(crate) ready: BTreeMap<(Slot, RequestId), Read>,
    /// The leader known, and its ballot.
    pub(crate) leader: Option<(Ballot, NodeId)>,
    pub(crate) leaderless_since: u64,
    pub(crate) seed: Option<NodeId>,
    pub(crate) changes: Changes,
    pub(crate) snapshots: Snapshots,
    pub(crate) retention: Retention,
    pub(crate) is_disk_full: bool,
    membership_told: Option<Slot>,
    pub(crate) outputs: Vec<Output>,
    core_outputs: Vec<paxos::Output>,
}

/// Ticks between two scans of what waits.
const SCAN_TICKS: u64 = 5;

impl Replica {
    /// A node that starts, or starts again; its store has applied everything up to `durable.decided`, and its
    /// log takes `log_bytes`.
    pub fn new(config: Config, durable: Durable, log_bytes: u64) -> Replica {
        let applied = durable.decided;
        let (_, membership) = &durable.membership;
        let is_removed = membership.removed.contains(&config.paxos.node);
        let retention = Retention::new(config.log_retain_bytes, applied, log_bytes);
        let paxos = Paxos::recover(config.paxos.clone(), config.seed, durable);
        Replica {
            config,
            paxos,
            now: 0,
            applied,
            delivered: applied,
            stored: Slot::ZERO,
            writes: Writes::default(),
            sequence: 0,
            builds: Builds::default(),
            reads: BTreeMap::new(),
            ready: BTreeMap::new(),
            leader: None,
            leaderless_since: 0,
            seed: None,
            // Whether it is so still others have to say: it may have been let in again.
            changes: Changes::new(is_removed),
            snapshots: Snapshots::default(),
            retention,
            is_disk_full: false,
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
            Input::Stored(slot) => {
                self.stored = self.stored.max(slot);
                self.maybe_cut();
            }
            Input::SnapshotRead { to, slot, chunk } => self.on_snapshot_read(to, slot, chunk),
            Input::Imported(imported) => self.on_imported(imported),
            Input::ImportFinished { slot, group } => self.on_import_finished(slot, group),
            Input::Switched(slot) => self.on_switched(slot),
            Input::HandOver => self.hand_over(),
            Input::DiskFull(is_full) => self.is_disk_full = is_full,
        }
    }

    /// Appends to `outputs` all that is to be done after the inputs so far.
    pub fn flush(&mut self, outputs: &mut Vec<Output>) {
        self.note_leader();
        self.hand_over_writes();
        self.propose_build_step();
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

    /// Whether anything is done once more is applied, so that [`Input::Applied`] should come without delay: a client
    /// waits for it, or the next step of a build does. Else it may come with whatever comes next, at a tick
    /// at the latest.
    pub fn awaits_applied(&self) -> bool {
        self.applied < self.delivered
            && (self.writes.len() > 0 || !self.ready.is_empty() || self.builds.is_building())
    }

    fn on_peer(&mut self, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::Paxos(message) => {
                if !(self.is_disk_full && brings_entries(&message)) {
                    self.paxos.step(paxos::Input::Message { from, message });
                }
            }
            PeerMessage::Forward { command } => self.on_forward(command),
            PeerMessage::Join { node, address } => self.on_join(node, address),
            PeerMessage::Change { token, change } => self.on_change(from, token, change),
            PeerMessage::ChangeRefused { token, reason } => self.on_change_refused(token, reason),
            PeerMessage::SnapshotAsk { slot, cursor } => self.on_snapshot_ask(from, slot, cursor),
            PeerMessage::SnapshotChunk { chunk } => self.on_snapshot_chunk(from, chunk),
        }
    }

    /// What cannot be proposed here is dropped; the node that took it sends it again.
    fn on_forward(&mut self, command: Bytes) {
        // A command that cannot be read would be refused by every store alike; it costs no slot.
        let leads = self.paxos.leader() == Some(self.paxos.node());
        if leads && !self.is_disk_full && Command::decode(&command).is_ok() {
            self.paxos.step(paxos::Input::Propose { id: ProposalId(FORWARDED), command });
        }
    }

    fn on_refused(&mut self, token: u64, busy: bool) {
        for id in self.writes.refused(token, busy) {
            let message = "the leader has too many writes under way; the request had no effect";
            self.reply(id, Err(Error::new(ErrorCode::Busy, message)));
        }
    }

    fn on_applied(&mut self, through: Slot, outcomes: Vec<Outcome>) {
        assert!(through <= self.delivered, "only what was handed out is applied");
        self.builds.note(&outcomes);
        for outcome in outcomes {
            let (Some(reference), Some(answer)) = (outcome.reference, outcome.answer) else {
                continue;
            };
            for id in self.writes.finish(&reference) {
                self.reply(id, answer.clone());
            }
        }
        self.set_applied(through);
    }

    /// The store has applied everything up to `through`: reads that waited for it are served.
    pub(crate) fn set_applied(&mut self, through: Slot) {
        assert!(through >= self.applied, "the applied slot never goes back");
        self.applied = through;
        while let Some(entry) = self.ready.first_entry()
            && entry.key().0 <= self.applied
        {
            let ((_, id), Read { request, .. }) = entry.remove_entry();
            self.outputs.push(Output::Query { id, request });
        }
    }

    fn on_core_output(&mut self, output: paxos::Output, entries: &mut Vec<(Slot, Effect)>) {
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
                self.retention.add(slot, payload.cost_bytes() as u64);
                entries.push((slot, Effect::of(payload)));
            }
            paxos::Output::ChangeRefused { id, reason } => self.on_core_refused(id, reason),
            paxos::Output::NeedSnapshot { from } => self.on_need_snapshot(from),
            paxos::Output::Installed { slot } => self.on_installed(slot),
            paxos::Output::NotMember { removed } => self.on_not_member(removed),
            paxos::Output::Unsupported { level } => {
                self.outputs.push(Output::Unsupported { level });
            }
            paxos::Output::Overwritten { slot, entry } => {
                self.outputs.push(Output::Overwritten { slot, entry });
            }
            paxos::Output::Diverged { from } => self.outputs.push(Output::Diverged { from }),
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
            self.ready.insert((slot, id), read);
        }
    }

    fn on_tick(&mut self) {
        self.now += 1;
        self.paxos.step(paxos::Input::Tick);
        if self.now.is_multiple_of(SCAN_TICKS) {
            self.expire();
            self.tick_changes();
            self.tick_snapshots();
            self.maybe_cut();
            self.leave_full_disk();
            if let Some((ballot, _)) = self.leader {
                self.writes.renew(ballot, self.now);
            }
        }
        if self.now % JOIN_TICKS == 1 {
            self.wish_to_join();
        }
    }

    /// Notices a new leader: what was handed to another is handed to it.
    fn note_leader(&mut self) {
        let leader = self.paxos.leader().map(|node| (self.paxos.ballot(), node));
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
            self.changes.is_out &= !membership.members.contains_key(&self.paxos.node());
            self.outputs.push(Output::Membership(membership.clone()));
        }
    }

    /// Lets another node lead, if this one does.
    fn hand_over(&mut self) {
        let change = Change::Lead { node: None };
        self.paxos.step(paxos::Input::Change { id: ChangeId(0), change });
    }

    /// Whether this node leads others, so that it should hand over before it stops.
    pub fn should_hand_over(&self) -> bool {
        let (_, membership) = self.paxos.membership();
        self.paxos.leader() == Some(self.paxos.node()) && membership.active().count() > 1
    }

    /// Whether the group is better off without this node: under the passive policy its leader waits for everybody who answers,
    /// and without room this node takes no entry.
    pub fn holds_up_the_others(&self) -> bool {
        let (_, membership) = self.paxos.membership();
        let me = self.paxos.node();
        self.is_disk_full
            && self.policy() == Policy::Passive
            && self.paxos.leader() != Some(me)
            && membership.is_active(me)
            && membership.active().count() > 1
    }

    /// A leader that cannot write is of no use if another one can.
    fn leave_full_disk(&mut self) {
        if self.is_disk_full && self.should_hand_over() {
            self.hand_over();
        }
    }

    /// By which rule the group decides.
    pub(crate) fn policy(&self) -> Policy {
        self.paxos.membership().1.policy
    }

    pub(crate) fn reply(&mut self, id: RequestId, answer: Answer) {
        self.outputs.push(Output::Reply { id, answer });
    }
}

impl Effect {
    /// What a decided value does.
    pub fn of(payload: Payload) -> Effect {
        match payload {
            Payload::Blank => Effect::Blank,
            Payload::Command(bytes) => Effect::Command(bytes),
            Payload::Membership(membership) => {
                Effect::Group(Bytes::from(encode_membership(&membership)))
            }
        }
    }

    /// The same, as the store takes it.
    pub fn as_store(&self) -> store::Effect<'_> {
        match self {
            Effect::Blank => store::Effect::Blank,
            Effect::Command(bytes) => store::Effect::Command(bytes),
            Effect::Group(bytes) => store::Effect::Group(bytes),
        }
    }
}

impl Effect {
    /// The entry of `slot` for the store.
    pub fn entry(&self, slot: Slot) -> store::Entry<'_> {
        store::Entry { slot: slot.0, effect: self.as_store() }
    }

    /// What it holds, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Effect::Blank => 0,
            Effect::Command(bytes) | Effect::Group(bytes) => bytes.len(),
        }
    }
}

/// Whether taking the message in means writing much.
fn brings_entries(message: &Message) -> bool {
    match message {
        Message::Accept { entries, .. } | Message::CatchUpReply { entries, .. } => {
            !entries.is_empty()
        }
        _ => false,
    }
}

/// Marks a proposal that nobody here waits for: a write that came from another node, which sends it again, or
/// a step of a build.
pub(crate) const FORWARDED: u64 = 0;
