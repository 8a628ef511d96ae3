//! Who leads: silence, canvass, prepare.
//!
//! A follower that hears no leader for its election time canvasses: it asks whether a quorum would
//! follow. Only a quorum of nodes that hear no leader either makes it prepare a new ballot, so a node
//! that comes back, or that is cut off from the leader alone, deposes nobody; a leader that no longer
//! hears a quorum steps down by itself, so a half-connected leader does not stand in the way.

use crate::core::{Paxos, RoleState};
use crate::leader::Leadership;
use crate::message::Message;
use crate::record::Record;
use crate::types::{Ballot, NodeId};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;

/// A question under way: who would follow?
#[derive(Debug)]
pub(crate) struct Canvass {
    pub(crate) ballot: Ballot,
    pub(crate) granted: BTreeSet<NodeId>,
}

impl Paxos {
    pub(crate) fn reset_election_timer(&mut self) {
        let spread = self.config.election_ticks_max - self.config.election_ticks_min + 1;
        let wait = u64::from(self.config.election_ticks_min) + self.draw(u64::from(spread));
        self.election_tick = self.now + wait;
    }

    /// The owner of `promised` has shown itself.
    pub(crate) fn hear_leader(&mut self) {
        self.leader_known = true;
        self.leader_heard_tick = self.now;
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
            return;
        }
        self.leader_known = false;
        self.reset_election_timer();
        if self.membership.is_voter(self.config.node) {
            self.canvass();
        } else if !matches!(self.role, RoleState::Follower) {
            self.step_down();
        }
    }

    fn canvass(&mut self) {
        self.step_down();
        let round = self.promised.round.max(self.round_seen) + 1;
        let ballot = Ballot { round, node: self.config.node };
        let granted = BTreeSet::from([self.config.node]);
        self.role = RoleState::Canvassing(Canvass { ballot, granted });
        for peer in self.others() {
            self.send(peer, Message::Canvass { ballot });
        }
    }

    pub(crate) fn on_canvass(&mut self, from: NodeId, ballot: Ballot) {
        let silent = self.now - self.leader_heard_tick >= u64::from(self.config.election_ticks_min);
        let granted = ballot > self.promised && !self.is_leading() && silent;
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
            && granted
        {
            canvass.granted.insert(from);
        }
    }

    /// Goes from canvassing to phase 1 once a quorum would follow, and from phase 1 to leading.
    pub(crate) fn flush_election(&mut self) {
        if let RoleState::Canvassing(canvass) = &self.role
            && self.membership.has_quorum(|id| canvass.granted.contains(&id))
        {
            let ballot = canvass.ballot;
            self.prepare(ballot);
        }
        self.flush_preparing();
    }

    fn prepare(&mut self, ballot: Ballot) {
        assert!(ballot > self.promised && ballot.node == self.config.node);
        self.promise(ballot);
        self.reset_election_timer();
        self.role = RoleState::Owning(Box::new(Leadership::new(ballot)));
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

    pub(crate) fn on_refuse(&mut self, promised: Ballot) {
        self.round_seen = self.round_seen.max(promised.round);
        if let RoleState::Owning(l) = &self.role
            && l.ballot < promised
        {
            self.step_down();
            self.reset_election_timer();
        }
    }
}
