//! Changes of membership and of the leader: wishes, learners that have caught up, nodes out of reach, handing
//! over.

use crate::config::PlantedBug;
use crate::core::{ChangeId, Output, Paxos, RoleState};
use crate::leader::{Leadership, Peer};
use crate::membership::{Change, Membership, Policy, Refusal, Standing, View};
use crate::message::Message;
use crate::types::{NodeId, Slot};
use alloc::vec::Vec;

impl Paxos {
    /// Takes a wish in. It is dropped if this node cannot tell yet whether it may be granted.
    pub(crate) fn on_change(&mut self, id: ChangeId, change: &Change) {
        if let Change::Lead { node: Some(node) } = change
            && *node == self.config.node
            && !self.is_leading()
        {
            self.is_vouched_for = true;
            return;
        }
        if let Change::GoOnAlone { without } = change {
            if let Err(reason) = self.go_on_alone(*without)
                && id != ChangeId(0)
            {
                self.outputs.push(Output::ChangeRefused { id, reason });
            }
            return;
        }
        if !self.may_change() {
            return;
        }
        let done = match change {
            Change::Lead { node } => self.begin_handover(*node),
            Change::Remove { node } if *node == self.config.node => self.step_aside(),
            Change::Raise { level } if *level > self.config.level_max => Err(Refusal::NoSuchLevel),
            change => self.change(change),
        };
        if let Err(reason) = done {
            let counts_answers = matches!(reason, Refusal::UnsafeQuorum | Refusal::NotFollowing);
            if counts_answers && !self.knows_who_is_there() {
                return;
            }
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
        settled && l.undecided_memberships.is_empty() && l.change.is_none()
    }

    /// Whether everybody who follows has answered since the governing membership was decided, or has had the time for
    /// it: before, nobody can be said not to be there.
    fn knows_who_is_there(&self) -> bool {
        let RoleState::Owning(l) = &self.role else { return false };
        let is_late = self.now - l.asked_tick > u64::from(self.config.election_ticks_max);
        let (follows, answered) =
            (|id| self.seems_to_follow(l, id), |id| self.view(l, id).is_following);
        is_late || self.membership.members.keys().all(|id| !follows(*id) || answered(*id))
    }

    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        let RoleState::Owning(l) = &self.role else { return Ok(()) };
        let next = self.membership.with(change, |node| self.view(l, node))?;
        self.change_membership(self.membership_slot, &self.membership.clone(), next);
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
        let Some(peer) = l.peers.get(&node) else {
            return View { is_heard: false, is_following: false };
        };
        let is_following = self.seems_to_follow(l, node) && self.was_there_since(l, peer);
        View { is_heard: self.is_heard(peer), is_following }
    }

    /// Whether it may be counted on: it has answered since the governing membership was decided (I28).
    fn was_there_since(&self, l: &Leadership, peer: &Peer) -> bool {
        l.has_answered(peer) || self.config.is_planted(PlantedBug::StaleAnswersReturn)
    }

    /// Whether something came from it within an election time, however long it was under way.
    fn is_heard(&self, peer: &Peer) -> bool {
        self.now - peer.heard_tick <= u64::from(self.config.election_ticks_max)
    }

    /// Whether it is heard and has promised: enough to try and hand over to it, not to count on it.
    fn seems_to_follow(&self, l: &Leadership, node: NodeId) -> bool {
        let promised = l.peers.get(&node).filter(|peer| peer.has_promised);
        node == self.config.node || promised.is_some_and(|peer| self.is_heard(peer))
    }

    /// Proposes `next` in place of `base`, decided or proposed at `slot`, unless it says nothing new.
    fn change_membership(&mut self, slot: Slot, base: &Membership, mut next: Membership) {
        let is_news = next.members != base.members
            || next.removed != base.removed
            || next.level != base.level;
        let RoleState::Owning(l) = &self.role else { return };
        let (ballot, own_slot) = (l.ballot, self.first_uncommon(l));
        let comes_to_count = |id: &NodeId| next.is_active(*id) && !base.is_active(*id);
        let mut newcomers = next.members.keys().filter(|id| comes_to_count(id));
        assert!(
            newcomers.all(|id| self.view(l, *id).is_following),
            "whoever comes to count has answered since it did not"
        );
        if is_news && let RoleState::Owning(l) = &mut self.role {
            next.descend(base, slot, ballot, own_slot);
            if self.config.is_planted(PlantedBug::AnyVoteInReserve) {
                next.members.values_mut().for_each(|m| m.left = None);
            } else {
                assert!(next.keeps_votes(base), "leaving out one of an odd number moves no vote");
            }
            l.change = Some(next);
        }
    }

    /// What a leader does by itself, at each heartbeat.
    pub(crate) fn tick_changes(&mut self) {
        self.tick_handover();
        let is_out = self.is_out();
        let should_go = is_out || self.is_disk_stalled();
        let has_nobody = should_go && self.begin_handover(None).is_err();
        if is_out && has_nobody {
            self.step_down();
            return;
        }
        if self.membership.policy == Policy::Passive {
            self.drop_lost();
        }
        if !self.may_change() {
            return;
        }
        if let Some(node) = self.given_up {
            self.change_by_itself(&Change::Remove { node });
        }
        for node in self.ready_members() {
            self.change_by_itself(&Change::Promote { node });
        }
        for node in self.lost_members() {
            self.change_by_itself(&Change::Evict { node });
        }
    }

    /// Whether the governing membership leaves this node out.
    fn is_out(&self) -> bool {
        !self.membership.members.contains_key(&self.config.node)
    }

    /// Makes a change that nobody asked for, unless there is one to make already.
    fn change_by_itself(&mut self, change: &Change) {
        if !self.may_change() {
            return;
        }
        // A refusal means: not now.
        let _ = self.change(change);
        let now = self.now;
        if let RoleState::Owning(l) = &mut self.role
            && l.change.is_some()
        {
            l.changed_tick = now;
        }
    }

    /// Under the passive policy: drops at once everybody who has fallen silent, also while an earlier dropping waits
    /// for one of them.
    fn drop_lost(&mut self) {
        let RoleState::Owning(l) = &self.role else { return };
        if l.own_slot.is_none() || l.change.is_some() {
            return;
        }
        let (slot, base) = self.latest_membership();
        let (base, mut next) = (base.clone(), base.clone());
        for node in self.lost_of(&base) {
            if let Ok(without) = next.with(&Change::Evict { node }, |node| self.view(l, node)) {
                next = without;
            }
        }
        self.change_membership(slot, &base, next);
    }

    /// Members that do not count and have caught up.
    fn ready_members(&self) -> Vec<NodeId> {
        let RoleState::Owning(l) = &self.role else { return Vec::new() };
        if self.membership.standing(self.config.node) == Some(Standing::Away) {
            return Vec::from([self.config.node]);
        }
        let (now, lag) = (self.now, self.config.promote_lag_slots);
        let patience = u64::from(self.config.election_ticks_min);
        let is_ready = |node: &NodeId| {
            l.peers.get(node).is_some_and(|peer| {
                // However few the slots are that it lacks: what was cut takes a snapshot, which takes its time.
                peer.has_promised
                    && self.was_there_since(l, peer)
                    && peer.acked >= self.floor
                    && peer.acked.0 + lag >= self.accepted.0
                    && now - peer.heard_tick < patience
            })
        };
        let waits = |standing| standing != Standing::Voter;
        let members = self.membership.members.iter();
        let ready = members.filter(|(node, m)| waits(m.standing) && is_ready(node));
        ready.map(|(node, _)| *node).collect()
    }

    /// Under the paxos policy: members that are waited for and have been out of reach for too long.
    fn lost_members(&self) -> Vec<NodeId> {
        let RoleState::Owning(l) = &self.role else { return Vec::new() };
        let paused = self.now < l.changed_tick + self.config.change_pause_ticks;
        if paused || self.membership.policy == Policy::Passive {
            return Vec::new();
        }
        self.lost_of(&self.membership)
    }

    /// Those of `membership` that are waited for and have been out of reach for too long.
    fn lost_of(&self, membership: &Membership) -> Vec<NodeId> {
        let RoleState::Owning(l) = &self.role else { return Vec::new() };
        let Some(evict_ticks) = self.config.evict_ticks else { return Vec::new() };
        let is_lost = |node: &NodeId| {
            l.peers.get(node).is_some_and(|peer| {
                // At the start of a ballot under the passive policy: it did not answer.
                peer.heard_tick == 0 || self.now - peer.heard_tick >= evict_ticks
            })
        };
        let members = membership.members.iter();
        let lost = members.filter(|(node, m)| m.standing != Standing::Away && is_lost(node));
        lost.map(|(node, _)| *node).collect()
    }

    /// Begins to hand leadership to `node`, or to the voter that holds most.
    fn begin_handover(&mut self, node: Option<NodeId>) -> Result<(), Refusal> {
        let RoleState::Owning(l) = &self.role else { return Ok(()) };
        if node == Some(self.config.node) {
            return Ok(());
        }
        let follows = |id: &NodeId| self.seems_to_follow(l, *id) && *id != self.config.node;
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

    /// Goes on leading if nobody has taken over; with a disk that says nothing, or taking no part any more, gives up.
    fn tick_handover(&mut self) {
        let now = self.now;
        let should_go = self.is_disk_stalled() || self.is_out();
        let RoleState::Owning(l) = &mut self.role else { return };
        if let Some((_, until)) = l.handover
            && now >= until
        {
            l.handover = None;
            if should_go {
                self.step_down();
            }
        }
    }

    /// Whether leadership is being handed to somebody else.
    pub fn is_handing_over(&self) -> bool {
        matches!(&self.role, RoleState::Owning(l) if l.handover.is_some())
    }
}
