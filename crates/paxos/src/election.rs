//! Who leads: silence, canvass, prepare.
//!
//! A follower that hears no leader for its election time canvasses: it asks whether a quorum would
//! follow. Only a quorum of nodes that hear no leader either makes it prepare a new ballot, so a node
//! that comes back, or that is cut off from the leader alone, deposes nobody; a leader that no longer
//! hears a quorum steps down by itself, so a half-connected leader does not stand in the way.

use crate::core::{Output, Paxos, RoleState};
use crate::leader::Leadership;
use crate::membership::Policy;
use crate::message::Message;
use crate::record::Record;
use crate::types::{Ballot, NodeId, Payload, Slot};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;

/// A question under way: who would follow?
#[derive(Debug)]
pub(crate) struct Canvass {
    pub(crate) ballot: Ballot,
    pub(crate) granted: BTreeSet<NodeId>,
    /// An active voter would not follow.
    is_denied: bool,
    /// When it was asked.
    asked_tick: u64,
}

impl Paxos {
    pub(crate) fn reset_election_timer(&mut self) {
        let spread = self.config.election_ticks_max - self.config.election_ticks_min + 1;
        let least = match self.membership.policy {
            Policy::Passive if self.leader_known => self.config.takeover_ticks,
            _ => self.config.election_ticks_min,
        };
        let wait = u64::from(least) + self.draw(u64::from(spread));
        self.election_tick = self.now + wait;
    }

    /// The owner of `promised` leads.
    pub(crate) fn hear_leader(&mut self) {
        self.leader_known = true;
        self.hear_candidate();
    }

    /// The owner of `promised` has shown itself, whether it leads already or not: it is given time.
    pub(crate) fn hear_candidate(&mut self) {
        self.leader_heard_tick = self.now;
        self.is_vouched_for = false;
        self.reset_election_timer();
    }

    pub(crate) fn tick_election(&mut self) {
        if self.is_leading() {
            if self.hears_quorum() {
                return;
            }
            self.step_down();
        }
        if self.now < self.election_tick {
            self.canvass_again();
            return;
        }
        self.leader_known = false;
        self.reset_election_timer();
        let (may_lead, is_disk_stalled) = (self.may_lead(), self.is_disk_stalled());
        if may_lead && !is_disk_stalled {
            self.canvass();
            return;
        }
        if !matches!(self.role, RoleState::Follower) {
            self.step_down();
        }
        if !may_lead {
            // A question that nobody grants: whoever knows that this node is out says so.
            self.send_canvass(Ballot::ZERO);
        }
    }

    /// Whether this node counts, so that it may ask to lead. Under the passive policy only an active voter holds
    /// everything that was acknowledged; one that finds in its log that it may have been dropped waits for those
    /// who know.
    pub(crate) fn may_lead(&self) -> bool {
        let node = self.config.node;
        let counts = match self.membership.policy {
            Policy::Paxos => self.membership.is_voter(node),
            Policy::Passive => {
                let is_safe = self.is_vouched_for || !self.is_perhaps_dropped();
                self.membership.is_active(node) && !self.has_diverged && is_safe
            }
        };
        counts && self.unsupported.is_none()
    }

    /// Whether an undecided membership in the log leaves this node out.
    fn is_perhaps_dropped(&self) -> bool {
        let mut slot = self.decided.next();
        while let Some(entry) = self.log.get(slot) {
            if matches!(&entry.payload, Payload::Membership(m) if !m.is_active(self.config.node)) {
                return true;
            }
            slot = slot.next();
        }
        false
    }

    /// Whether the own disk has been silent for so long that this node should not lead.
    pub(crate) fn is_disk_stalled(&self) -> bool {
        self.persistence.stalled_ticks(self.now) >= self.config.disk_stall_ticks
    }

    fn canvass(&mut self) {
        self.step_down();
        let round = self.promised.round.max(self.round_seen) + 1;
        let ballot = Ballot { round, node: self.config.node };
        let granted = BTreeSet::from([self.config.node]);
        let (is_denied, asked_tick) = (false, self.now);
        self.role = RoleState::Canvassing(Canvass { ballot, granted, is_denied, asked_tick });
        self.send_canvass(ballot);
    }

    fn send_canvass(&mut self, ballot: Ballot) {
        let membership = self.membership_slot;
        for peer in self.others() {
            self.send(peer, Message::Canvass { ballot, membership });
        }
    }

    /// Under the passive policy silence lets a candidate go on, so a question is not asked only once.
    fn canvass_again(&mut self) {
        if let RoleState::Canvassing(canvass) = &self.role
            && self.membership.policy == Policy::Passive
            && (self.now - canvass.asked_tick)
                .is_multiple_of(u64::from(self.config.heartbeat_ticks))
        {
            let ballot = canvass.ballot;
            self.send_canvass(ballot);
        }
    }

    pub(crate) fn on_canvass(&mut self, from: NodeId, ballot: Ballot, membership: Slot) {
        let (slot, standing) = (self.membership_slot, self.membership.standing(from));
        if standing.is_none() && slot > membership {
            let removed = self.membership.removed.contains(&from);
            self.send(from, Message::NotMember { slot, removed });
            return;
        }
        // It could not promise either.
        if self.is_disk_stalled() {
            return;
        }
        // Who was dropped may lack what was acknowledged since.
        let was_dropped = self.membership.policy == Policy::Passive
            && slot > membership
            && !self.membership.is_active(from);
        let silent = self.now - self.leader_heard_tick >= u64::from(self.config.election_ticks_min);
        let granted = ballot > self.promised && !self.is_leading() && silent && !was_dropped;
        let promised = self.promised;
        self.send(from, Message::CanvassReply { ballot, granted, promised });
    }

    pub(crate) fn on_canvass_reply(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        granted: bool,
        promised: Ballot,
    ) {
        self.round_seen = self.round_seen.max(promised.round);
        if let RoleState::Canvassing(canvass) = &mut self.role
            && canvass.ballot == ballot
        {
            if granted {
                canvass.granted.insert(from);
            } else {
                canvass.is_denied |= self.membership.is_active(from);
            }
        }
    }

    /// Goes from canvassing to phase 1 once a quorum would follow, and from phase 1 to leading.
    pub(crate) fn flush_election(&mut self) {
        if let RoleState::Canvassing(canvass) = &self.role
            && self.is_wanted(canvass)
        {
            let (ballot, granted) = (canvass.ballot, canvass.granted.clone());
            self.prepare(ballot, granted);
        }
        self.flush_preparing();
    }

    /// Whether enough would follow. Under the passive policy one is enough, but whoever is there is heard first,
    /// and a single one that knows better prevents it. A node that has met no leader since it started may have
    /// been dropped while it was away, so it needs the word of everybody who was waited for when it left.
    fn is_wanted(&self, canvass: &Canvass) -> bool {
        let granted = |id| canvass.granted.contains(&id);
        match self.membership.policy {
            Policy::Paxos => self.has_quorum(granted),
            Policy::Passive => {
                let patience = self.config.election_ticks_min - self.config.heartbeat_ticks;
                let is_patient = self.now >= canvass.asked_tick + u64::from(patience);
                let knows = self.in_touch || self.is_vouched_for;
                !canvass.is_denied
                    && (self.membership.active().all(granted) || (is_patient && knows))
            }
        }
    }

    /// The leader of `ballot` wants this node to lead in its place: no need to ask who would follow.
    pub(crate) fn on_take_over(&mut self, from: NodeId, ballot: Ballot) {
        let follows = matches!(self.role, RoleState::Follower) && self.leader() == Some(from);
        let is_able = self.may_lead() && !self.is_disk_stalled();
        if !follows || ballot != self.promised || !is_able {
            return;
        }
        let round = self.promised.round.max(self.round_seen) + 1;
        let everybody = self.membership.active().collect();
        self.prepare(Ballot { round, node: self.config.node }, everybody);
    }

    /// The group has gone on without this node, says somebody who knows a later membership.
    pub(crate) fn on_not_member(&mut self, slot: Slot, removed: bool) {
        let is_out = !self.membership.members.contains_key(&self.config.node);
        if slot > self.membership_slot || (slot == self.membership_slot && is_out) {
            (self.in_touch, self.touch) = (false, None);
            if let RoleState::Canvassing(canvass) = &mut self.role {
                canvass.is_denied = true;
            }
            self.outputs.push(Output::NotMember { removed });
        }
    }

    fn prepare(&mut self, ballot: Ballot, asked: BTreeSet<NodeId>) {
        assert!(ballot > self.promised && ballot.node == self.config.node);
        self.promise(ballot);
        self.reset_election_timer();
        self.role = RoleState::Owning(Box::new(Leadership::new(ballot, asked)));
        self.on_membership();
    }

    /// Promises `ballot`: durable once `promise_id` is.
    pub(crate) fn promise(&mut self, ballot: Ballot) {
        assert!(ballot > self.promised, "an equal ballot is no new promise");
        self.promised = ballot;
        self.round_seen = self.round_seen.max(ballot.round);
        self.accepted = self.decided;
        self.leader_known = false;
        self.acceptor.on_new_promise();
        self.persistence.add(Record::Promise(ballot));
        self.promise_id = self.persistence.current_id();
    }

    pub(crate) fn on_refuse(&mut self, from: NodeId, promised: Ballot) {
        self.round_seen = self.round_seen.max(promised.round);
        self.ask_promise_again(from, promised);
        if let RoleState::Owning(l) = &self.role
            && l.ballot < promised
        {
            self.step_down();
            self.reset_election_timer();
        }
    }
}
