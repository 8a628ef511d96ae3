//! The state machine of one node: what it holds, what goes in, what comes out.

use crate::config::{Config, PlantedBug};
use crate::election::Canvass;
use crate::leader::{Leadership, Told};
use crate::log::LogWindow;
use crate::membership::{Change, Membership, Policy, Refusal};
use crate::message::Message;
use crate::persist::{PersistId, Persistence};
use crate::reads::Reads;
use crate::record::{Base, Durable, Record};
use crate::types::{Ballot, Entry, NodeId, Payload, Slot};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

/// The driver's name for one proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// The driver's name for one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// The driver's name for one wish to change the membership; 0: nobody waits for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

/// What can happen to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message came.
    Message {
        /// From whom.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// A tick of the driver's clock passed.
    Tick,
    /// Please have this command decided.
    Propose {
        /// The driver's name for it, for [`Output::Refused`].
        id: ProposalId,
        /// The command.
        command: Bytes,
    },
    /// At which slot may a read that begins now be served?
    Read(ReadId),
    /// Please change who takes part. May be dropped; ask again until it shows in the membership. To a follower
    /// that is waited for, under [`Policy::Passive`], [`Change::Lead`] of itself says that all others are gone for
    /// good: it takes over whatever it cannot know of them. [`Change::GoOnAlone`] is for this node alone, too.
    Change {
        /// The driver's name for it, for [`Output::ChangeRefused`].
        id: ChangeId,
        /// The wish.
        change: Change,
    },
    /// This batch of records and all before it are durable.
    Persisted(PersistId),
    /// What [`Output::Fetch`] asked for; empty if it cannot be had.
    Fetched {
        /// For whom.
        to: NodeId,
        /// The slot of the first entry.
        first: Slot,
        /// The entries, contiguous.
        entries: Vec<Entry>,
    },
    /// The log on disk no longer holds the entries up to this slot, which were handed out.
    Compacted(Slot),
    /// A snapshot that [`Output::NeedSnapshot`] asked for is durable beside the log: the effects of every slot
    /// up to `slot`. Of no effect, and not answered by [`Output::Installed`], if this node knows `slot` to be
    /// decided by now, or leads; so the store may take the snapshot in only once it is answered.
    Installed {
        /// The last slot it covers.
        slot: Slot,
        /// The membership that governs the slots after it, and that one's slot.
        membership: (Slot, Membership),
    },
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Append these records to the log and make them durable, then say [`Input::Persisted`].
    Persist {
        /// The batch's name.
        id: PersistId,
        /// Its records, in order.
        records: Vec<Record>,
    },
    /// Send this message; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// This slot is decided, and durable here. Slots come in order, without gaps, each once.
    Decided {
        /// The slot.
        slot: Slot,
        /// Its value.
        payload: Payload,
    },
    /// This proposal was not and will not be proposed from here.
    Refused {
        /// Which.
        id: ProposalId,
        /// Who may do better.
        leader: Option<NodeId>,
    },
    /// This read may be served once `slot` is applied.
    ReadReady {
        /// Which.
        id: ReadId,
        /// The slot.
        slot: Slot,
    },
    /// This wish will not be granted.
    ChangeRefused {
        /// Which.
        id: ChangeId,
        /// Why.
        reason: Refusal,
    },
    /// Others have cut from their logs what this node lacks: get a snapshot, perhaps from `from`, and say
    /// [`Input::Installed`]. Repeated while it is needed.
    NeedSnapshot {
        /// Who has none of the entries wanted any more.
        from: NodeId,
    },
    /// The log says durably that the snapshot up to `slot` stands for the slots before; what comes next is
    /// the slot after.
    Installed {
        /// The last slot it covers.
        slot: Slot,
    },
    /// The group has gone on without this node.
    NotMember {
        /// Whether it was removed by hand or replaced, so that it will not be let in again, as somebody says who
        /// knows at least as late a membership.
        removed: bool,
    },
    /// The group has moved to a feature level that this version does not know. Nothing more is handed out.
    Unsupported {
        /// The level.
        level: u32,
    },
    /// Under [`Policy::Passive`]: an entry accepted from an earlier leader gives way to another, or to a snapshot
    /// that may hold it or not. Nobody was told that it was decided.
    Overwritten {
        /// Where it was.
        slot: Slot,
        /// The entry.
        entry: Entry,
    },
    /// Under [`Policy::Passive`]: this node went on apart from the leader it now meets, so that what it holds
    /// from `from` on is not in the group's log. It can only start over; until then it does not lead. Repeated
    /// while they meet.
    Diverged {
        /// The first slot that may differ.
        from: Slot,
    },
    /// Read decided entries from the log on disk and hand them back as [`Input::Fetched`].
    Fetch {
        /// For whom.
        to: NodeId,
        /// The first slot wanted.
        from: Slot,
        /// The last slot wanted.
        upto: Slot,
        /// Most bytes of entries; at least one entry whatever its size.
        bytes_max: usize,
    },
}

/// What a node is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads: it proposes.
    Leader,
    /// It asks to lead.
    Candidate,
    /// It follows and counts for quorums.
    Follower,
    /// It follows and does not count.
    Learner,
}

/// How far one member is, as its leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who.
    pub node: NodeId,
    /// Whether it was heard within an election time.
    pub is_heard: bool,
    /// The last slot it is known to hold durably.
    pub accepted: Slot,
}

/// What a node knows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its role.
    pub role: Role,
    /// The highest ballot it has promised.
    pub ballot: Ballot,
    /// The leader it knows, perhaps itself.
    pub leader: Option<NodeId>,
    /// The last slot it has accepted.
    pub accepted: Slot,
    /// The last slot it knows to be decided.
    pub decided: Slot,
    /// The last slot it has handed out.
    pub delivered: Slot,
    /// Whether, as a leader, it has decided an entry of its own ballot.
    pub is_settled: bool,
    /// How far the others are; only a leader knows.
    pub members: Vec<MemberStatus>,
    /// Ticks since a leader was heard; 0 at a leader.
    pub silence_ticks: u64,
}

/// What it is at present, with what that takes.
#[derive(Debug)]
pub(crate) enum RoleState {
    Follower,
    Canvassing(Canvass),
    /// Phase 1 (`is_leading` false) and phase 2 of a ballot of one's own.
    Owning(alloc::boxed::Box<Leadership>),
}

/// One node of the group. See the [crate documentation](crate) for the protocol and its invariants.
///
/// Contract: hand in any number of inputs with [`Paxos::step`], then take and carry out, in order,
/// all outputs of one [`Paxos::flush`]. The same state and the same inputs give the same outputs.
#[derive(Debug)]
pub struct Paxos {
    pub(crate) config: Config,
    random: u64,
    /// Ticks since the start.
    pub(crate) now: u64,
    /// The highest ballot promised; durable once `promise_id` is.
    pub(crate) promised: Ballot,
    pub(crate) promise_id: PersistId,
    /// The highest round met anywhere, to choose one above it.
    pub(crate) round_seen: u64,
    pub(crate) log: LogWindow,
    /// Every slot up to here is decided or accepted in `promised`.
    pub(crate) accepted: Slot,
    pub(crate) decided: Slot,
    pub(crate) delivered: Slot,
    /// Entries up to here are no longer on disk.
    pub(crate) floor: Slot,
    /// The slot of a snapshot whose record is on its way to the disk.
    installing: Option<Slot>,
    /// The feature level met that is not known here: nothing is handed out any more.
    pub(crate) unsupported: Option<u32>,
    decided_recorded: Slot,
    /// What is handed out until the decision of a membership is durable. After a crash only the record tells who
    /// governs; under the passive policy also why some did not hold what stands in front of the membership, and
    /// under the other that one of two voters went on alone.
    held_back: Option<(PersistId, Slot)>,
    /// Governs the slots after `membership_slot`.
    pub(crate) membership: Membership,
    pub(crate) membership_slot: Slot,
    pub(crate) role: RoleState,
    /// Under the passive policy: a leader has shown this node, since it started, that it was waited for.
    pub(crate) in_touch: bool,
    /// Under the passive policy: how much was decided, by a leader's word since this node started, and in which
    /// ballot: once it knows all of that, and was not dropped in it, it is in touch.
    pub(crate) touch: Option<(Ballot, Slot)>,
    /// Under the passive policy: an operator has said that nobody else holds anything newer.
    pub(crate) is_vouched_for: bool,
    /// Under the paxos policy: the only other voter, of which an operator has said that it is gone for good.
    pub(crate) given_up: Option<NodeId>,
    /// When other members were last heard.
    pub(crate) heard: BTreeMap<NodeId, u64>,
    /// Under the passive policy: this node went on apart from a group that it has met since.
    pub(crate) has_diverged: bool,
    /// Whether the owner of `promised` was heard since it was promised.
    pub(crate) leader_known: bool,
    pub(crate) leader_heard_tick: u64,
    pub(crate) election_tick: u64,
    pub(crate) persistence: Persistence,
    pub(crate) acceptor: crate::acceptor::Owed,
    pub(crate) reads: Reads,
    pub(crate) outputs: Vec<Output>,
}

impl Paxos {
    /// A node that starts, or starts again, with what its log says.
    ///
    /// `seed` decides its waits and the names of its questions, so it must be another at each start. A group of one leads at its first tick.
    pub fn recover(config: Config, seed: u64, durable: Durable) -> Paxos {
        config.check();
        let Durable {
            promised,
            decided,
            floor,
            membership: (membership_slot, membership),
            entries,
        } = durable;
        assert!(membership_slot <= decided, "a membership governs once it is decided");
        let log = LogWindow::new(decided, entries);
        let token = if config.is_planted(PlantedBug::TokensStartAgain) { 0 } else { seed >> 1 };
        let mut paxos = Paxos {
            random: seed ^ config.node.0 ^ 0x9e37_79b9_7f4a_7c15,
            config,
            now: 0,
            promised,
            promise_id: PersistId(0),
            round_seen: promised.round,
            log,
            accepted: decided,
            decided,
            delivered: decided,
            floor,
            installing: None,
            unsupported: None,
            decided_recorded: decided,
            held_back: None,
            membership,
            membership_slot,
            role: RoleState::Follower,
            in_touch: false,
            touch: None,
            is_vouched_for: false,
            given_up: None,
            heard: BTreeMap::new(),
            has_diverged: false,
            leader_known: false,
            leader_heard_tick: 0,
            election_tick: 0,
            persistence: Persistence::default(),
            acceptor: crate::acceptor::Owed::default(),
            reads: Reads::new(token),
            outputs: Vec::new(),
        };
        while paxos.log.get(paxos.accepted.next()).is_some_and(|e| e.ballot == promised) {
            paxos.accepted = paxos.accepted.next();
        }
        paxos.check_level(paxos.membership.level);
        paxos.reset_election_timer();
        if paxos.membership.active().eq([paxos.config.node])
            && paxos.membership.voters().count() == 1
        {
            paxos.election_tick = 1;
        }
        paxos
    }

    /// Takes one input in.
    pub fn step(&mut self, input: Input) {
        match input {
            Input::Message { from, message } => self.on_message(from, message),
            Input::Tick => self.on_tick(),
            Input::Propose { id, command } => self.on_propose(id, command),
            Input::Read(id) => self.reads.begin(id, self.now),
            Input::Change { id, change } => self.on_change(id, &change),
            Input::Persisted(id) => self.persistence.done(id, self.now),
            Input::Fetched { to, first, entries } => self.on_fetched(to, first, entries),
            Input::Compacted(slot) => {
                assert!(slot <= self.delivered, "only what was handed out is cut");
                self.floor = self.floor.max(slot);
            }
            Input::Installed { slot, membership } => self.install(slot, membership),
        }
    }

    /// Appends to `outputs` all that is to be done after the inputs so far.
    pub fn flush(&mut self, outputs: &mut Vec<Output>) {
        self.flush_election();
        self.advance_decided();
        self.propose_waiting();
        self.record_decided();
        if let Some((id, records)) = self.persistence.close(self.now) {
            outputs.push(Output::Persist { id, records });
        }
        self.flush_owed();
        self.flush_followers();
        self.flush_handover();
        self.flush_reads();
        outputs.append(&mut self.outputs);
        self.deliver(outputs);
        self.check_invariants();
    }

    /// What the node knows of itself.
    pub fn status(&self) -> Status {
        let members = match &self.role {
            RoleState::Owning(l) if l.is_leading => self.members_status(l),
            _ => Vec::new(),
        };
        Status {
            role: self.role(),
            ballot: self.promised,
            leader: self.leader(),
            accepted: self.accepted,
            decided: self.decided,
            delivered: self.delivered,
            is_settled: self.is_settled(),
            members,
            silence_ticks: if self.is_leading() { 0 } else { self.now - self.leader_heard_tick },
        }
    }

    /// Every slot up to here is decided, and known here; as in [`Paxos::status`].
    pub fn decided(&self) -> Slot {
        self.decided
    }

    /// Who takes part, as far as this node has decided, and since which slot.
    pub fn membership(&self) -> (Slot, &Membership) {
        (self.membership_slot, &self.membership)
    }

    /// Who this node is.
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// The highest ballot it has promised; as in [`Paxos::status`].
    pub fn ballot(&self) -> Ballot {
        self.promised
    }

    /// What this node is at present.
    pub fn role(&self) -> Role {
        match &self.role {
            RoleState::Owning(l) if l.is_leading => Role::Leader,
            RoleState::Owning(_) | RoleState::Canvassing(_) => Role::Candidate,
            RoleState::Follower if self.membership.is_voter(self.config.node) => Role::Follower,
            RoleState::Follower => Role::Learner,
        }
    }

    /// The leader this node knows, perhaps itself.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Owning(l) if l.is_leading => Some(self.config.node),
            RoleState::Follower if self.leader_known => Some(self.promised.node),
            _ => None,
        }
    }

    /// The accepted entry at `slot`, if it is in memory.
    pub fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.log.get(slot)
    }

    pub(crate) fn is_leading(&self) -> bool {
        matches!(&self.role, RoleState::Owning(l) if l.is_leading)
    }

    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        debug_assert_ne!(to, self.config.node, "nobody writes to itself");
        self.outputs.push(Output::Send { to, message });
    }

    /// Everybody else who takes part.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.membership.members.keys().copied().filter(|id| *id != self.config.node).collect()
    }

    /// The last slot up to which everything accepted in the present ballot is durable here.
    pub(crate) fn accepted_durable(&self) -> Slot {
        self.accepted.min(self.persistence.durable_slot(self.log.last()))
    }

    /// A number below `bound` (xorshift64*): only for waits, where its quality is enough.
    pub(crate) fn draw(&mut self, bound: u64) -> u64 {
        self.random |= 1;
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }

    fn on_message(&mut self, from: NodeId, message: Message) {
        if from == self.config.node {
            return;
        }
        self.note_heard(from);
        match message {
            Message::Canvass { ballot, membership } => self.on_canvass(from, ballot, membership),
            Message::CanvassReply { ballot, granted, promised } => {
                self.on_canvass_reply(from, ballot, granted, promised);
            }
            Message::Prepare { ballot, from: slot } => self.on_prepare(from, ballot, slot),
            Message::Promise { ballot, from: slot, decided, last, lineage, entries } => {
                let told = Told { slot, decided, last, lineage, entries };
                self.on_promise(from, ballot, told);
            }
            Message::Accept { ballot, first, entries, decided } => {
                self.on_accept(from, ballot, first, entries, decided);
            }
            Message::Accepted { ballot, upto, gap } => self.on_accepted(from, ballot, upto, gap),
            Message::Heartbeat { ballot, decided, window, probe } => {
                self.on_heartbeat(from, ballot, decided, window, probe);
            }
            Message::HeartbeatReply { ballot, probe, upto } => {
                self.on_heartbeat_reply(from, ballot, probe, upto);
            }
            Message::Refuse { promised } => self.on_refuse(from, promised),
            Message::CatchUp { from: slot } => self.on_catch_up(from, slot),
            Message::CatchUpReply { first, entries } => {
                self.on_catch_up_reply(from, first, entries);
            }
            Message::Compacted { floor } => self.on_compacted(from, floor),
            Message::NotMember { slot, removed } => self.on_not_member(slot, removed),
            Message::TakeOver { ballot } => self.on_take_over(from, ballot),
            Message::Diverged { ballot, lineage } => self.on_diverged(from, ballot, &lineage),
            Message::ReadIndex { token } => self.on_read_index(from, token),
            Message::ReadIndexReply { token, slot } => self.on_read_index_reply(token, slot),
        }
    }

    fn on_tick(&mut self) {
        self.now += 1;
        self.tick_election();
        self.tick_leader();
        self.tick_acceptor();
        self.tick_reads();
    }

    /// Takes note that every slot up to `upto` is decided. Never goes back.
    pub(crate) fn decide_upto(&mut self, upto: Slot) {
        assert!(upto <= self.accepted, "a slot is decided with its value at hand");
        while self.decided < upto {
            self.decided = self.decided.next();
            let entry = self.log.get(self.decided).expect("undecided entries stay in the window");
            if let Payload::Membership(membership) = &entry.payload {
                assert!(membership.base == self.membership_slot, "memberships follow each other");
                let membership = membership.clone();
                // At once, and not along with the next write, which may be long in coming: a crash would bring the
                // earlier membership back, and with it quorums of which more may be lost by then.
                self.hold_back(match membership.policy {
                    Policy::Passive => membership.own_slot,
                    Policy::Paxos => self.decided,
                });
                self.govern(self.decided, membership);
            }
        }
    }

    /// Records that the last slot is decided; nothing from `first` on is handed out before that is durable.
    fn hold_back(&mut self, first: Slot) {
        self.persistence.add(Record::Decided(self.decided));
        self.decided_recorded = self.decided;
        let id = self.persistence.current_id();
        let before = Slot(first.0.saturating_sub(1));
        let before = self.held_back.map_or(before, |(_, slot)| slot.min(before));
        self.held_back = Some((id, before));
    }

    /// `membership`, decided at `slot`, governs from here on.
    fn govern(&mut self, slot: Slot, membership: Membership) {
        let was_member = self.membership.members.contains_key(&self.config.node);
        (self.membership, self.membership_slot) = (membership, slot);
        self.given_up = None;
        let members = &self.membership.members;
        self.heard.retain(|node, _| members.contains_key(node));
        self.on_membership();
        self.reads.on_membership();
        if self.is_leading() {
            self.ask_who_is_there();
        }
        if was_member && !self.membership.members.contains_key(&self.config.node) {
            // A node that catches up may meet its removal and, later, that it was let in again: whether it is
            // removed still, others say.
            self.outputs.push(Output::NotMember { removed: false });
        }
    }

    /// Stops handing out if what comes next is of a level that is not known here.
    fn check_level(&mut self, level: u32) {
        if level > self.config.level_max && self.unsupported.is_none() {
            self.unsupported = Some(level);
            self.outputs.push(Output::Unsupported { level });
        }
    }

    /// A snapshot up to `slot` is there: what it covers is decided, and known here.
    fn install(&mut self, slot: Slot, (membership_slot, membership): (Slot, Membership)) {
        assert!(membership_slot <= slot, "a membership governs once it is decided");
        let is_outdated = slot <= self.decided || membership_slot < self.membership_slot;
        if is_outdated || self.is_leading() {
            return;
        }
        self.note_given_up(slot);
        // What was accepted beyond it stays: it may have been counted.
        if self.config.is_planted(PlantedBug::InstallForgetsAccepted) {
            self.log.forget();
            self.accepted = slot;
        }
        self.log.begin_after(slot);
        self.accepted = self.accepted.max(slot);
        (self.decided, self.delivered, self.decided_recorded) = (slot, slot, slot);
        self.floor = self.floor.max(slot);
        self.installing = Some(slot);
        let base = Base {
            slot,
            promised: self.promised,
            membership: (membership_slot, membership.clone()),
        };
        self.persistence.add(Record::Base(base));
        self.check_level(membership.level);
        if membership_slot > self.membership_slot {
            self.govern(membership_slot, membership);
        }
    }

    fn record_decided(&mut self) {
        if self.persistence.has_open() && self.decided > self.decided_recorded {
            self.persistence.add(Record::Decided(self.decided));
            self.decided_recorded = self.decided;
        }
    }

    fn deliver(&mut self, outputs: &mut Vec<Output>) {
        let mut upto = self.decided;
        if !self.config.is_planted(PlantedBug::DeliverBeforePersisted) {
            upto = upto.min(self.persistence.durable_slot(self.log.last()));
        }
        if let Some((id, slot)) = self.held_back {
            if self.persistence.is_done(id) {
                self.held_back = None;
            } else {
                upto = upto.min(slot);
            }
        }
        if let Some(slot) = self.installing
            && upto >= slot
        {
            self.installing = None;
            outputs.push(Output::Installed { slot });
        }
        while self.delivered < upto && self.unsupported.is_none() {
            self.delivered = self.delivered.next();
            let entry = self.log.get(self.delivered).expect("what is not delivered stays");
            outputs.push(Output::Decided { slot: self.delivered, payload: entry.payload.clone() });
            if let Payload::Membership(membership) = &entry.payload {
                let level = membership.level;
                self.check_level(level);
            }
        }
        outputs.append(&mut self.outputs);
        self.log.evict(self.delivered, self.config.window_bytes_max);
    }

    /// The order of the watermarks (invariants 7 and 8 of the protocol page).
    fn check_invariants(&self) {
        assert!(self.floor <= self.delivered, "only what was handed out is cut");
        assert!(self.delivered <= self.decided, "only decided slots are handed out");
        assert!(self.decided <= self.accepted, "a node holds what it knows to be decided");
        assert!(self.accepted <= self.log.last(), "what is accepted is in the log");
        if let RoleState::Owning(l) = &self.role {
            assert!(l.ballot.node == self.config.node, "a ballot has one owner");
            assert!(self.promised == l.ballot, "an owner of a ballot has promised nothing higher");
        }
    }
}
