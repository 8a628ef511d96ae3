//! The acceptor and learner: promises, accepts, follows, catches up.
//!
//! Nothing here answers at once. What an answer says must be durable first, so it is *owed* and
//! leaves at the flush that finds it durable.

use crate::config::PlantedBug;
use crate::core::{Output, Paxos, RoleState};
use crate::membership::{Ancestor, Policy};
use crate::message::Message;
use crate::record::Record;
use crate::types::{Ballot, Entry, NodeId, Payload, Slot};
use alloc::vec::Vec;

/// Answers that wait for the disk, and what was answered last.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// The slot from which a [`Message::Promise`] is to tell.
    promise_from: Option<Slot>,
    /// The last slot reported in this ballot.
    reported: Slot,
    /// An [`Message::Accepted`] is owed even if it says nothing new: the last one may be lost.
    repeat: bool,
    /// The leader sent something beyond the end; when and at which end it was last told.
    gap: bool,
    gap_told: Option<(Slot, u64)>,
    /// From whom decided entries are being asked for, and when to ask again.
    catching_up: Option<(NodeId, u64)>,
}

impl Owed {
    pub(crate) fn on_new_promise(&mut self) {
        *self = Owed::default();
    }
}

impl Paxos {
    pub(crate) fn on_prepare(&mut self, from: NodeId, ballot: Ballot, slot: Slot) {
        if ballot < self.promised || ballot.node != from {
            let promised = self.promised;
            self.send(from, Message::Refuse { promised });
            return;
        }
        if ballot > self.promised {
            self.step_down();
            self.promise(ballot);
        }
        self.acceptor.promise_from = Some(slot);
        // It does not lead yet: what is handed to it before its first heartbeat or accept is lost.
        self.hear_candidate();
    }

    pub(crate) fn on_accept(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        first: Slot,
        entries: Vec<Entry>,
        decided: Slot,
    ) {
        if !self.follows(from, ballot) {
            return;
        }
        if first > self.accepted.next() {
            self.acceptor.gap = true;
            return;
        }
        let mut slot = first;
        let mut news = entries.is_empty();
        for entry in entries {
            if slot > self.accepted {
                self.accept(slot, Entry { ballot, payload: entry.payload });
                news = true;
            }
            slot = slot.next();
        }
        self.acceptor.repeat |= !news;
        self.learn_decided(decided);
        // The leader may fall silent before its next heartbeat.
        if let Some((of, told)) = self.touch
            && of == ballot
        {
            self.note_touch(ballot, told);
        }
    }

    /// Whether `ballot` is the one promised, so that its owner `from` is to be followed. Refuses it
    /// if it is outdated.
    fn follows(&mut self, from: NodeId, ballot: Ballot) -> bool {
        let outdated = self.config.is_planted(PlantedBug::AcceptOutdatedBallot);
        if ballot < self.promised && !outdated {
            let promised = self.promised;
            self.send(from, Message::Refuse { promised });
            return false;
        }
        // A ballot above the promise comes from a leader that thinks it has this node's promise: it was lost
        // with the disk's last writes, or with the disk. It is to ask for one again.
        if ballot > self.promised {
            let promised = self.promised;
            self.send(from, Message::Refuse { promised });
            return false;
        }
        if self.is_leading() {
            return false;
        }
        self.follow();
        true
    }

    /// Follows the owner of `promised`, giving up any wish to lead.
    fn follow(&mut self) {
        if !matches!(self.role, RoleState::Follower) {
            self.step_down();
        }
        self.hear_leader();
    }

    /// Accepts `entry` at `slot`, the one after `accepted`.
    pub(crate) fn accept(&mut self, slot: Slot, entry: Entry) {
        assert!(slot == self.accepted.next(), "slots are accepted in order");
        assert!(slot > self.decided, "a decided slot keeps its value");
        self.note_overwritten(slot, &entry);
        self.log.put(slot, entry.clone());
        self.persistence.add(Record::Accept(slot, entry));
        self.accepted = slot;
    }

    /// Under the passive policy nothing goes without a word, though nobody was told that it was decided.
    fn note_overwritten(&mut self, slot: Slot, entry: &Entry) {
        if self.membership.policy == Policy::Passive
            && let Some(present) = self.log.get(slot)
            && matches!(present.payload, Payload::Command(_))
            && present.payload != entry.payload
        {
            let entry = present.clone();
            self.outputs.push(Output::Overwritten { slot, entry });
        }
    }

    /// A snapshot takes the place of what was accepted up to `slot`.
    pub(crate) fn note_given_up(&mut self, slot: Slot) {
        if self.membership.policy == Policy::Paxos {
            return;
        }
        // What was accepted from the present leader is in the snapshot.
        let mut next = self.accepted.next();
        while next <= slot
            && let Some(entry) = self.log.get(next)
        {
            if matches!(entry.payload, Payload::Command(_)) {
                let entry = entry.clone();
                self.outputs.push(Output::Overwritten { slot: next, entry });
            }
            next = next.next();
        }
    }

    /// The leader says that every slot up to `decided` is decided; what this node has accepted in the
    /// leader's ballot up to there therefore is.
    fn learn_decided(&mut self, decided: Slot) {
        let mut known = self.accepted;
        if self.config.is_planted(PlantedBug::DecidedBeyondAccepted) {
            known = self.log.last();
            self.accepted = self.accepted.max(decided.min(known));
        }
        let upto = decided.min(known);
        if upto > self.decided {
            self.decide_upto(upto);
        }
    }

    /// The leader of `ballot` said that every slot up to `decided` is decided. Under load this node is always a little
    /// behind that, so it is held against what was said before.
    fn note_touch(&mut self, ballot: Ballot, decided: Slot) {
        let told = match self.touch {
            Some((of, slot)) if of == ballot => slot,
            _ => decided,
        };
        self.touch = Some((ballot, told));
        self.in_touch |= self.decided >= told && self.membership.is_active(self.config.node);
    }

    pub(crate) fn on_heartbeat(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        decided: Slot,
        window: Slot,
        probe: u64,
    ) {
        if !self.follows(from, ballot) {
            return;
        }
        match self.membership.policy {
            Policy::Paxos => self.learn_decided(decided),
            Policy::Passive => self.note_touch(ballot, decided),
        }
        if self.accepted.next() < window && self.acceptor.catching_up.is_none() {
            self.ask_catch_up(from);
        }
        let upto = self.accepted_durable();
        self.send(from, Message::HeartbeatReply { ballot, probe, upto });
    }

    /// Sends the answers that have become true on disk.
    pub(crate) fn flush_owed(&mut self) {
        if self.is_leading() {
            return;
        }
        let promise_durable = self.persistence.is_done(self.promise_id)
            || self.config.is_planted(PlantedBug::PromiseBeforePersisted);
        if !promise_durable
            || self.promised.node == self.config.node
            || self.promised == Ballot::ZERO
        {
            return;
        }
        if let Some(from) = self.acceptor.promise_from.take() {
            self.send_promise(from);
        }
        self.send_accepted();
    }

    fn send_promise(&mut self, from: Slot) {
        // Entries accepted in earlier ballots may still be on their way to the disk; the promise was
        // written after them, so it being durable means that they are.
        let start = from.max(self.decided.next());
        let last = self.log.last();
        let (entries, _) = self.log.chunk(start, last, self.config.chunk_bytes_max);
        let (ballot, decided) = (self.promised, self.decided);
        let lineage = match self.membership.policy {
            Policy::Passive => self.membership.lineage(self.membership_slot),
            Policy::Paxos => Vec::new(),
        };
        self.send(ballot.node, Message::Promise { ballot, from, decided, last, lineage, entries });
    }

    fn send_accepted(&mut self) {
        let upto = if self.config.is_planted(PlantedBug::AcceptedBeforePersisted) {
            self.accepted
        } else {
            self.accepted_durable()
        };
        let gap = core::mem::take(&mut self.acceptor.gap)
            && self.acceptor.gap_told != Some((upto, self.now));
        let repeat = core::mem::take(&mut self.acceptor.repeat);
        if upto > self.acceptor.reported || repeat || gap {
            if gap {
                self.acceptor.gap_told = Some((upto, self.now));
            }
            self.acceptor.reported = self.acceptor.reported.max(upto);
            let ballot = self.promised;
            self.send(ballot.node, Message::Accepted { ballot, upto, gap });
        }
    }

    /// Asks `peer` for the decided entries after this node's own.
    pub(crate) fn ask_catch_up(&mut self, peer: NodeId) {
        let again = self.now + u64::from(self.config.retransmit_ticks);
        self.acceptor.catching_up = Some((peer, again));
        let from = self.caught_up().next();
        self.send(peer, Message::CatchUp { from });
    }

    /// Up to where decided values need not be fetched. Under the passive policy more may be here than can be taken
    /// for decided yet.
    fn caught_up(&self) -> Slot {
        match (self.membership.policy, &self.role) {
            (Policy::Passive, RoleState::Follower) => self.accepted,
            (Policy::Passive, RoleState::Owning(l)) => self.decided.max(l.fetched),
            _ => self.decided,
        }
    }

    /// Whether decided entries are being asked for.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.acceptor.catching_up.is_some()
    }

    /// An unanswered question is dropped; whatever made it necessary asks again.
    pub(crate) fn tick_acceptor(&mut self) {
        if self.acceptor.catching_up.is_some_and(|(_, again)| self.now >= again) {
            self.acceptor.catching_up = None;
        }
    }

    pub(crate) fn on_catch_up(&mut self, from: NodeId, slot: Slot) {
        if slot > self.decided || slot == Slot::ZERO {
            return;
        }
        let bytes_max = self.config.chunk_bytes_max;
        if slot >= self.log.first() {
            let (entries, _) = self.log.chunk(slot, self.decided, bytes_max);
            self.send(from, Message::CatchUpReply { first: slot, entries });
        } else if slot <= self.floor {
            let floor = self.floor;
            self.send(from, Message::Compacted { floor });
        } else {
            let upto = self.decided.min(self.log.first().previous());
            self.outputs.push(Output::Fetch { to: from, from: slot, upto, bytes_max });
        }
    }

    pub(crate) fn on_fetched(&mut self, to: NodeId, first: Slot, entries: Vec<Entry>) {
        if !entries.is_empty() && to != self.config.node {
            self.send(to, Message::CatchUpReply { first, entries });
        }
    }

    /// `from` has cut its log: if it has cut what this node wants next, only a snapshot helps.
    pub(crate) fn on_compacted(&mut self, from: NodeId, floor: Slot) {
        if floor > self.decided && !self.is_leading() {
            self.outputs.push(Output::NeedSnapshot { from });
        }
    }

    /// The leader's log and this node's have parted: this node, or the leader it followed, went on alone.
    pub(crate) fn on_diverged(&mut self, from: NodeId, ballot: Ballot, lineage: &[Ancestor]) {
        if ballot != self.promised || ballot.node != from || self.is_leading() {
            return;
        }
        let own = self.membership.lineage(self.membership_slot);
        let first_of = |these: &[Ancestor], those: &[Ancestor]| {
            these.iter().find(|a| !those.contains(a)).map(|a| a.own_slot)
        };
        let theirs = first_of(lineage, &own);
        let ours = first_of(&own, lineage);
        let is_related = own.iter().any(|ancestor| lineage.contains(ancestor));
        let first = theirs.into_iter().chain(ours).min();
        let from = first.filter(|_| is_related).unwrap_or_default().max(Slot::ZERO.next());
        self.has_diverged = true;
        self.outputs.push(Output::Diverged { from });
    }

    /// Takes decided entries in, from whom they were asked in the ballot promised at present: under the passive
    /// policy those of others may belong to a log that has parted from this one.
    pub(crate) fn on_catch_up_reply(&mut self, from: NodeId, first: Slot, entries: Vec<Entry>) {
        let asked = self.acceptor.catching_up;
        let Some((peer, _)) = asked.filter(|(peer, _)| *peer == from) else { return };
        if self.is_leading() {
            return;
        }
        self.acceptor.catching_up = None;
        // Under the passive policy a follower waits to be told what is decided (see `tellable` in `leader.rs`).
        let waits =
            self.membership.policy == Policy::Passive && matches!(self.role, RoleState::Follower);
        if waits && from != self.promised.node {
            return;
        }
        let mut slot = first;
        for entry in entries {
            if waits && slot == self.accepted.next() {
                let ballot = self.promised;
                self.accept(slot, Entry { ballot, payload: entry.payload });
            } else if !waits && slot == self.caught_up().next() {
                self.adopt_decided(slot, entry);
            }
            slot = slot.next();
        }
        if !matches!(self.role, RoleState::Follower) {
            self.reset_election_timer();
        }
        // Go on until the leader can send by itself; it hears how far this node is.
        self.acceptor.repeat = true;
        self.ask_catch_up_further(peer, first, slot);
    }

    fn ask_catch_up_further(&mut self, peer: NodeId, first: Slot, after: Slot) {
        let progressed = after > first && after == self.caught_up().next();
        if progressed && self.wants_catch_up() {
            self.ask_catch_up(peer);
        }
    }

    /// A follower asks on until an answer is empty; a candidate until it has reached what it needs.
    fn wants_catch_up(&self) -> bool {
        match &self.role {
            RoleState::Owning(l) => self.decided < l.must_reach,
            _ => true,
        }
    }

    /// Takes the decided value of the slot after `decided`, whatever was accepted there: what an outdated
    /// leader had accepted may differ.
    fn adopt_decided(&mut self, slot: Slot, entry: Entry) {
        let keeps = self.config.is_planted(PlantedBug::CatchUpKeepsAccepted);
        let present = self.log.get(slot);
        let is_news = present.is_none_or(|present| present.payload != entry.payload);
        if is_news && (slot > self.accepted || !keeps) {
            // The ballot recorded for a slot never falls.
            let ballot = present.map_or(entry.ballot, |present| present.ballot.max(entry.ballot));
            let entry = Entry { ballot, payload: entry.payload };
            self.note_overwritten(slot, &entry);
            self.log.put(slot, entry.clone());
            self.persistence.add(Record::Accept(slot, entry));
        }
        let mut upto = slot;
        if self.membership.policy == Policy::Passive {
            upto = self.reached(slot);
            if let RoleState::Owning(l) = &mut self.role {
                l.fetched = slot;
            }
        }
        if upto > self.decided {
            self.accepted = self.accepted.max(upto);
            self.decide_upto(upto);
        }
    }
}
