//! Changes of membership and of the leader: wishes, learners that have caught up, nodes out of reach, handing
//! over.

use crate::core::{ChangeId, Output, Paxos, RoleState};
use crate::leader::Leadership;
use crate::membership::{Change, Membership, Policy, Refusal, Standing, View};
use crate::message::Message;
use crate::types::{NodeId, Slot};

impl Paxos {
    /// Takes a wish in. It is dropped if this node cannot tell yet whether it may be granted.
    pub(crate) fn on_change(&mut self, id: ChangeId, change: &Change) {
        if !self.may_change() {
            return;
        }
        let done = match change {
            Change::Lead { node } => self.begin_handover(*node),
            Change::Remove { node } if *node == self.config.node => self.step_aside(),
            change => self.change(change),
        };
        if let Err(reason) = done {
            if let (Change::Join { node, .. }, Refusal::Removed) = (change, reason) {
                self.tell_removed(*node);
            }
            if id != ChangeId(0) {
                self.outputs.push(Output::ChangeRefused { id, reason });
            }
        }
    }

    fn tell_removed(&mut self, node: NodeId) {
        if node != self.config.node {
            let slot = self.membership_slot;
            self.send(node, Message::NotMember { slot, removed: true });
        }
    }

    /// Whether this node leads and nothing is in the way of a change. Under the passive policy a new leader may
    /// have to drop a member before anything can be decided.
    fn may_change(&self) -> bool {
        let RoleState::Owning(l) = &self.role else { return false };
        let settled = match self.membership.policy {
            Policy::Paxos => self.is_settled(),
            Policy::Passive => l.is_leading && l.own_slot.is_some(),
        };
        settled && l.barrier.is_none() && l.change.is_none()
    }

    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        let RoleState::Owning(l) = &self.role else { return Ok(()) };
        let next = self.membership.with(change, |node| self.view(l, node))?;
        self.change_membership(next);
        Ok(())
    }

    /// A leader that is to be removed lets another one do it.
    fn step_aside(&mut self) -> Result<(), Refusal> {
        if self.membership.active().all(|id| id == self.config.node) {
            return Err(Refusal::LastVoter);
        }
        self.begin_handover(None)
    }

    fn view(&self, l: &Leadership, node: NodeId) -> View {
        if node == self.config.node {
            return View { is_heard: true, is_following: true };
        }
        let patience = u64::from(self.config.election_ticks_max);
        let Some(peer) = l.peers.get(&node) else {
            return View { is_heard: false, is_following: false };
        };
        let is_heard = self.now - peer.heard_tick <= patience;
        View { is_heard, is_following: is_heard && peer.has_promised }
    }

    /// Proposes `membership`, unless it says nothing new.
    fn change_membership(&mut self, mut membership: Membership) {
        let is_news = membership.members != self.membership.members
            || membership.removed != self.membership.removed;
        let RoleState::Owning(l) = &mut self.role else { return };
        if is_news && l.barrier.is_none() {
            let own_slot = l.own_slot.unwrap_or(Slot::ZERO);
            membership.descend(&self.membership, self.membership_slot, l.ballot, own_slot);
            l.change = Some(membership);
        }
    }

    /// What a leader does by itself, at each heartbeat.
    pub(crate) fn tick_changes(&mut self) {
        self.tick_handover();
        if !self.may_change() {
            return;
        }
        if let Some(node) = self.ready_learner() {
            self.change_by_itself(&Change::Promote { node });
        } else if let Some(node) = self.lost_member() {
            self.change_by_itself(&Change::Evict { node });
        }
        if self.is_disk_stalled() {
            // Nobody is told if that is not possible: then there is nobody better.
            let _ = self.begin_handover(None);
        }
    }

    fn change_by_itself(&mut self, change: &Change) {
        // A refusal means: not now.
        let _ = self.change(change);
        let now = self.now;
        if let RoleState::Owning(l) = &mut self.role
            && l.change.is_some()
        {
            l.changed_tick = now;
        }
    }

    /// A member that does not count and has caught up.
    fn ready_learner(&self) -> Option<NodeId> {
        let RoleState::Owning(l) = &self.role else { return None };
        if self.membership.standing(self.config.node) == Some(Standing::Away) {
            return Some(self.config.node);
        }
        let (now, lag) = (self.now, self.config.promote_lag_slots);
        let patience = u64::from(self.config.election_ticks_min);
        let is_ready = |node: &NodeId| {
            l.peers.get(node).is_some_and(|peer| {
                peer.has_promised
                    && peer.acked.0 + lag >= self.accepted.0
                    && now - peer.heard_tick < patience
            })
        };
        let waits = |standing| standing != Standing::Voter;
        let mut members = self.membership.members.iter();
        members.find(|(node, m)| waits(m.standing) && is_ready(node)).map(|(node, _)| *node)
    }

    /// A member that is waited for and has been out of reach for too long.
    fn lost_member(&self) -> Option<NodeId> {
        let RoleState::Owning(l) = &self.role else { return None };
        let evict_ticks = self.config.evict_ticks?;
        let paused = self.now < l.changed_tick + self.config.change_pause_ticks;
        if paused && self.membership.policy == Policy::Paxos {
            return None;
        }
        let is_lost = |node: &NodeId| {
            l.peers.get(node).is_some_and(|peer| {
                // At the start of a ballot under the passive policy: it did not answer.
                peer.heard_tick == 0 || self.now - peer.heard_tick >= evict_ticks
            })
        };
        let mut members = self.membership.members.iter();
        members
            .find(|(node, m)| m.standing != Standing::Away && is_lost(node))
            .map(|(node, _)| *node)
    }

    /// Begins to hand leadership to `node`, or to the voter that holds most.
    fn begin_handover(&mut self, node: Option<NodeId>) -> Result<(), Refusal> {
        let RoleState::Owning(l) = &self.role else { return Ok(()) };
        if node == Some(self.config.node) {
            return Ok(());
        }
        let follows = |id: &NodeId| self.view(l, *id).is_following && *id != self.config.node;
        let best = self.membership.active().filter(follows);
        let best = best.max_by_key(|id| l.peers.get(id).map(|peer| peer.acked));
        let to = match node {
            Some(node) if !self.membership.is_active(node) => return Err(Refusal::NotAVoter),
            Some(node) if !follows(&node) => return Err(Refusal::NotFollowing),
            Some(node) => node,
            None => best.ok_or(Refusal::NotFollowing)?,
        };
        let until = self.now + u64::from(self.config.election_ticks_max);
        if let RoleState::Owning(l) = &mut self.role
            && l.handover.is_none()
        {
            l.handover = Some((to, until));
        }
        Ok(())
    }

    /// Tells the one that is to lead, once it holds everything.
    pub(crate) fn flush_handover(&mut self) {
        let (now, accepted) = (self.now, self.accepted);
        let again = u64::from(self.config.heartbeat_ticks);
        let RoleState::Owning(l) = &mut self.role else { return };
        let Some((to, _)) = l.handover else { return };
        let is_ready = l.peers.get(&to).is_some_and(|peer| peer.acked >= accepted)
            && l.recovered.is_empty()
            && l.own_slot.is_some();
        if is_ready && now >= l.handover_told_tick + again {
            l.handover_told_tick = now;
            let ballot = l.ballot;
            self.send(to, Message::TakeOver { ballot });
        }
    }

    /// Goes on leading if nobody has taken over; with a disk that says nothing, gives up.
    fn tick_handover(&mut self) {
        let now = self.now;
        let stalled = self.is_disk_stalled();
        let RoleState::Owning(l) = &mut self.role else { return };
        if let Some((_, until)) = l.handover
            && now >= until
        {
            l.handover = None;
            if stalled {
                self.step_down();
            }
        }
    }

    /// Whether leadership is being handed to somebody else.
    pub fn is_handing_over(&self) -> bool {
        matches!(&self.role, RoleState::Owning(l) if l.handover.is_some())
    }
}
