//! Phase 1: collecting promises, learning what they tell, and beginning to lead; and giving up.

use super::{Leadership, Peer, Told, tellable};
use crate::config::PlantedBug;
use crate::core::{Output, Paxos, RoleState};
use crate::membership::{Ancestor, Membership, Policy};
use crate::message::Message;
use crate::types::{Ballot, Entry, NodeId, Payload, Slot};
use alloc::vec::Vec;

impl Paxos {
    /// Starts asking newcomers, after the membership has changed or a ballot was made.
    pub(crate) fn on_membership(&mut self) {
        let (others, now, next) = (self.others(), self.now, self.decided.next());
        let Paxos { membership, membership_slot: slot, outputs, .. } = self;
        if let RoleState::Owning(l) = &mut self.role {
            for node in l.peers.keys().filter(|node| !membership.members.contains_key(node)) {
                let removed = membership.removed.contains(node);
                let message = Message::NotMember { slot: *slot, removed };
                outputs.push(Output::Send { to: *node, message });
            }
            l.peers.retain(|node, _| membership.members.contains_key(node));
            for node in others {
                l.peers.entry(node).or_insert_with(|| Peer::new(next, now));
            }
        }
    }

    /// Sends the questions of phase 1 once the own promise is durable; leads once they are answered.
    pub(crate) fn flush_preparing(&mut self) {
        let durable = self.persistence.is_done(self.promise_id);
        let RoleState::Owning(l) = &mut self.role else { return };
        if l.is_leading {
            return;
        }
        if durable && !l.own_promise_durable {
            l.own_promise_durable = true;
            self.ask_promises();
        }
        self.try_lead();
    }

    /// Asks for their promise all who have not given it.
    pub(super) fn ask_promises(&mut self) {
        let RoleState::Owning(l) = &self.role else { return };
        let ballot = l.ballot;
        let missing: Vec<(NodeId, Slot)> = (l.peers.iter())
            .filter(|(_, peer)| !peer.has_promised)
            .map(|(node, peer)| (*node, peer.promise_next))
            .collect();
        for (node, from) in missing {
            self.send(node, Message::Prepare { ballot, from });
        }
    }

    pub(crate) fn on_promise(&mut self, from: NodeId, ballot: Ballot, told: Told) {
        let Told { slot, decided, last, lineage, entries } = told;
        if self.tell_diverged(from, ballot, &lineage) {
            return;
        }
        let any = self.config.is_planted(PlantedBug::AdoptAnyBallot);
        let (now, own_decided, own_accepted) = (self.now, self.decided, self.accepted);
        let RoleState::Owning(l) = &mut self.role else { return };
        if l.ballot != ballot {
            return;
        }
        if l.is_leading && decided > own_accepted {
            // Slots that this leader has yet to propose in are decided, under a membership that came later than
            // the one that elected it. It learns of them as a candidate.
            self.step_down();
            return;
        }
        let Some(peer) = l.peers.get_mut(&from) else { return };
        peer.heard_tick = now;
        if peer.has_promised || peer.promise_next != slot {
            return;
        }
        let mut next = slot.max(decided.next());
        let mut told = Vec::new();
        for entry in entries {
            told.push((next, entry));
            next = next.next();
        }
        peer.promise_next = next;
        peer.has_promised = next > last;
        let complete = peer.has_promised;
        if complete {
            peer.acked = decided;
            peer.rewind(decided.min(own_accepted).next(), now);
        }
        if decided > l.must_reach {
            l.must_reach = decided;
            l.reach_from = Some((from, lineage));
        }
        // What was proposed already in this ballot is settled by the quorum that allowed it.
        let floor = if l.is_leading { own_accepted } else { own_decided };
        for (slot, entry) in told {
            if slot > floor {
                l.recover(slot, entry, any);
            }
        }
        if !complete {
            self.send(from, Message::Prepare { ballot, from: next });
        } else if self.config.is_planted(PlantedBug::LatePromiseDecides) && self.is_leading() {
            // Wrong: what is decided may have been decided in a later ballot, with another value than
            // the one proposed here.
            self.decide_as_leader(decided.min(self.accepted));
        }
    }

    /// Under the passive policy: whether the log of `from` and this one have parted, because each went on without
    /// the other. It is told, and not asked to promise any more.
    ///
    /// They have not if its last membership is known here, or if this candidate is the one that is behind: it has
    /// begun to follow the log of whoever told it so first, and of two that have parted it can follow one.
    fn tell_diverged(&mut self, from: NodeId, ballot: Ballot, theirs: &[Ancestor]) -> bool {
        let latest = self.latest_lineage();
        let passive = self.membership.policy == Policy::Passive;
        let RoleState::Owning(l) = &mut self.role else { return false };
        let Some(last) = theirs.last().filter(|_| passive && l.ballot == ballot) else {
            return false;
        };
        let reached = l.reach_from.as_ref().map(|(_, lineage)| lineage);
        let ahead =
            reached.filter(|lineage| latest.last().is_some_and(|own| lineage.contains(own)));
        let own = ahead.filter(|_| !l.is_leading).cloned().unwrap_or(latest);
        let is_behind = !l.is_leading && own.last().is_none_or(|own| theirs.contains(own));
        if own.contains(last) || is_behind {
            return false;
        }
        l.asked.remove(&from);
        self.send(from, Message::Diverged { ballot, lineage: own });
        true
    }

    /// The membership that this leader proposed last, or else the one that governs, and its slot.
    pub(crate) fn latest_membership(&self) -> (Slot, &Membership) {
        let RoleState::Owning(l) = &self.role else { return self.membership() };
        let proposed = l.undecided_memberships.back();
        match proposed.and_then(|slot| self.log.get(*slot).map(|entry| (*slot, entry))) {
            Some((slot, Entry { payload: Payload::Membership(membership), .. })) => {
                (slot, membership)
            }
            _ => self.membership(),
        }
    }

    fn latest_lineage(&self) -> Vec<Ancestor> {
        let (slot, membership) = self.latest_membership();
        membership.lineage(slot)
    }

    /// The first slot of which this leader does not know that everybody whom the governing membership waits for
    /// holds it as it stands here.
    pub(crate) fn first_uncommon(&self, l: &Leadership) -> Slot {
        let common = |id: NodeId| match l.peers.get(&id) {
            Some(peer) if peer.has_promised => peer.acked.max(l.begun_decided),
            Some(_) => l.begun_decided,
            None => self.accepted,
        };
        self.membership.active().map(common).min().unwrap_or(self.decided).next()
    }

    /// A node that should have promised this ballot has not, or no longer.
    pub(crate) fn ask_promise_again(&mut self, from: NodeId, promised: Ballot) {
        let (now, next) = (self.now, self.decided.next());
        if let RoleState::Owning(l) = &mut self.role
            && promised < l.ballot
            && let Some(peer) = l.peers.get_mut(&from)
            && peer.has_promised
        {
            *peer = Peer::new(next, now);
        }
    }

    fn try_lead(&mut self) {
        let RoleState::Owning(l) = &self.role else { return };
        let has_promised = |id| l.has_promised(id);
        if !self.membership.may_elect(|id| self.given_up == Some(id) || has_promised(id)) {
            return;
        }
        let all_there = || l.asked.iter().all(|id| has_promised(*id) || !l.peers.contains_key(id));
        let must_wait = !has_promised(self.config.node) || !all_there();
        if self.membership.policy == Policy::Passive && must_wait {
            return;
        }
        if self.decided < l.must_reach {
            if let (Some((peer, _)), false) = (&l.reach_from, self.is_catching_up()) {
                self.ask_catch_up(*peer);
            }
            return;
        }
        if !self.may_lead() {
            self.step_down();
            return;
        }
        self.lead();
    }

    /// Under the passive policy: how much of what was fetched up to `upto` may be taken for decided.
    pub(crate) fn reached(&self, upto: Slot) -> Slot {
        match &self.role {
            RoleState::Owning(l) => {
                let lineage = l.reach_from.as_ref().map_or(&[][..], |(_, lineage)| lineage);
                tellable(upto, upto, lineage)
            }
            _ => upto,
        }
    }

    fn lead(&mut self) {
        assert!(
            self.accepted == self.decided,
            "nothing is accepted yet in a ballot before phase 2"
        );
        let any = self.config.is_planted(PlantedBug::AdoptAnyBallot);
        let forget = self.config.is_planted(PlantedBug::ForgetAcceptedSuffix);
        let RoleState::Owning(l) = &mut self.role else { return };
        let mut slot = self.decided.next();
        while let Some(entry) = self.log.get(slot) {
            l.recover(slot, entry.clone(), any);
            slot = slot.next();
        }
        if forget {
            l.recovered.clear();
        }
        l.is_leading = true;
        l.begun_decided = self.decided;
        self.in_touch = true;
        l.changed_tick = self.now;
        l.heartbeat_tick = self.now;
        self.leader_known = true;
        let passive = self.membership.policy == Policy::Passive;
        for (node, peer) in &mut l.peers {
            // Under the passive policy whoever has not answered by now is not waited for.
            let is_missing = passive && !peer.has_promised && self.membership.is_active(*node);
            peer.heard_tick = if is_missing { 0 } else { self.now };
        }
        self.ask_who_is_there();
    }

    /// Gives up any ballot of one's own; what waited is refused.
    pub(crate) fn step_down(&mut self) {
        let was_leading = self.is_leading();
        let role = core::mem::replace(&mut self.role, RoleState::Follower);
        if let RoleState::Owning(l) = role {
            for (id, _) in l.waiting {
                self.outputs.push(Output::Refused { id, leader: None });
            }
        }
        if was_leading {
            // It knows better than anybody that this leader is gone.
            self.leader_known = false;
            self.leader_heard_tick =
                self.now.saturating_sub(u64::from(self.config.election_ticks_min));
            self.reads.on_step_down(self.now);
        }
    }
}
