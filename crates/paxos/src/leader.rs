//! The owner of a ballot: phase 1, phase 2, and what its followers have.

mod footprint;
mod phase1;

use crate::config::PlantedBug;
use crate::core::{MemberStatus, Output, Paxos, ProposalId, RoleState};
use crate::membership::{Ancestor, Membership, Policy};
use crate::message::Message;
use crate::types::{Ballot, Entry, NodeId, Payload, Slot};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

pub use footprint::Footprint;

/// What the owner of a ballot knows.
///
/// Invariants:
/// 1. Nothing is proposed in a slot before a quorum of the membership that governs the slot has
///    promised this ballot and told all it accepted from that slot on.
/// 2. In a slot for which anything was told, the value told with the highest ballot is proposed.
/// 3. No command is proposed after a membership until that membership is decided.
#[derive(Debug)]
pub(crate) struct Leadership {
    pub(crate) ballot: Ballot,
    /// Phase 1 is over.
    pub(crate) is_leading: bool,
    /// Everything up to here is decided at somebody who promised: to be learnt before leading.
    pub(crate) must_reach: Slot,
    /// Who knows it, and by which memberships it came there.
    reach_from: Option<(NodeId, Vec<Ancestor>)>,
    /// Under the passive policy: up to here decided values have been fetched, though not all may be taken for
    /// decided yet.
    pub(crate) fetched: Slot,
    /// Whether the own promise is durable, so that this ballot is asked for at all.
    own_promise_durable: bool,
    /// Who is there: under the passive policy all of them must promise before this node leads.
    asked: BTreeSet<NodeId>,
    /// What was decided, as far as known here, when phase 2 began.
    begun_decided: Slot,
    /// What promises told of slots not yet proposed: the value with the highest ballot for each.
    pub(crate) recovered: BTreeMap<Slot, Entry>,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// The slot of the first entry that is this leader's own; once it is decided so is everything
    /// that was ever decided before.
    pub(crate) own_slot: Option<Slot>,
    /// The slots of memberships that are proposed and not yet decided. Under the paxos policy at most one; under
    /// the passive one more members may fall silent while those that remain decide to drop the first.
    pub(crate) undecided_memberships: VecDeque<Slot>,
    /// A membership to propose.
    pub(crate) change: Option<Membership>,
    /// When a change of membership was last made that nobody asked for.
    pub(crate) changed_tick: u64,
    /// Leadership is being handed to somebody, until this tick; nothing new is proposed meanwhile.
    pub(crate) handover: Option<(NodeId, u64)>,
    pub(crate) handover_told_tick: u64,
    waiting: VecDeque<(ProposalId, Bytes)>,
    waiting_bytes: usize,
    undecided_bytes: usize,
    probe: u64,
    /// The first probe asked under the governing membership, and when: only whoever answered that one or a later one
    /// is known to have been there since (I28).
    pub(crate) asked_probe: u64,
    pub(crate) asked_tick: u64,
    heartbeat_tick: u64,
}

/// What the owner of a ballot knows of somebody else.
#[derive(Debug)]
pub(crate) struct Peer {
    /// It promised, and told everything.
    pub(crate) has_promised: bool,
    /// From which slot on it is still to tell what it accepted.
    promise_next: Slot,
    /// The next slot to send.
    next: Slot,
    /// It holds every slot up to here, durably.
    pub(crate) acked: Slot,
    /// Sent and not answered: the last slot of each message, and its bytes.
    inflight: VecDeque<(Slot, usize)>,
    inflight_bytes: usize,
    /// The decided slot it was told last.
    decided_told: Slot,
    pub(crate) heard_tick: u64,
    /// Nothing came back for what was sent: one message at a time until something does.
    is_probing: bool,
    /// When it last answered something new, or was sent something with nothing under way.
    progress_tick: u64,
    /// The last probe it answered.
    probe: u64,
    /// Answers that said nothing new; only for a planted bug.
    repeats: u64,
}

impl Peer {
    fn new(promise_next: Slot, now: u64) -> Peer {
        Peer {
            has_promised: false,
            promise_next,
            next: promise_next,
            acked: Slot::ZERO,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            decided_told: Slot::ZERO,
            heard_tick: now,
            is_probing: false,
            progress_tick: now,
            probe: 0,
            repeats: 0,
        }
    }

    fn rewind(&mut self, next: Slot, now: u64) {
        self.next = next;
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.progress_tick = now;
    }

    fn on_acked(&mut self, upto: Slot, now: u64) {
        if upto > self.acked {
            self.acked = upto;
            self.progress_tick = now;
            self.is_probing = false;
        } else {
            self.repeats += 1;
        }
        while let Some((last, bytes)) = self.inflight.front()
            && *last <= self.acked
        {
            self.inflight_bytes -= bytes;
            self.inflight.pop_front();
        }
        self.next = self.next.max(self.acked.next());
    }
}

impl Leadership {
    pub(crate) fn new(ballot: Ballot, asked: BTreeSet<NodeId>) -> Leadership {
        Leadership {
            ballot,
            is_leading: false,
            must_reach: Slot::ZERO,
            reach_from: None,
            fetched: Slot::ZERO,
            own_promise_durable: false,
            asked,
            begun_decided: Slot::ZERO,
            recovered: BTreeMap::new(),
            peers: BTreeMap::new(),
            own_slot: None,
            undecided_memberships: VecDeque::new(),
            change: None,
            changed_tick: 0,
            handover: None,
            handover_told_tick: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            undecided_bytes: 0,
            probe: 0,
            asked_probe: 0,
            asked_tick: 0,
            heartbeat_tick: 0,
        }
    }

    fn recover(&mut self, slot: Slot, entry: Entry, any: bool) {
        match self.recovered.get(&slot) {
            Some(known) if known.ballot >= entry.ballot && !any => {}
            _ => {
                self.recovered.insert(slot, entry);
            }
        }
    }

    pub(crate) fn has_promised(&self, node: NodeId) -> bool {
        if node == self.ballot.node {
            return self.own_promise_durable;
        }
        self.peers.get(&node).is_some_and(|peer| peer.has_promised)
    }

    /// Whether `peer` has answered a question that was asked under the governing membership. Any other word of it may have
    /// been under way since before.
    pub(crate) fn has_answered(&self, peer: &Peer) -> bool {
        peer.probe >= self.asked_probe
    }
}

/// What a [`Message::Promise`] tells.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) slot: Slot,
    pub(crate) decided: Slot,
    pub(crate) last: Slot,
    pub(crate) lineage: Vec<Ancestor>,
    pub(crate) entries: Vec<Entry>,
}

/// Phase 2.
impl Paxos {
    pub(crate) fn on_propose(&mut self, id: ProposalId, command: Bytes) {
        let (leader, max) = (self.leader(), self.config.waiting_bytes_max);
        match &mut self.role {
            RoleState::Owning(l) if l.is_leading && l.waiting_bytes < max => {
                l.waiting_bytes += command.len();
                l.waiting.push_back((id, command));
            }
            _ => self.outputs.push(Output::Refused { id, leader }),
        }
    }

    /// Proposes what can be proposed: first what was found accepted, then an entry of one's own, then
    /// what waits.
    pub(crate) fn propose_waiting(&mut self) {
        if !self.is_leading() {
            return;
        }
        while let Some(payload) = self.next_payload() {
            let slot = self.accepted.next();
            let RoleState::Owning(l) = &mut self.role else { return };
            l.undecided_bytes += payload.cost_bytes();
            if matches!(payload, Payload::Membership(_)) {
                l.undecided_memberships.push_back(slot);
            }
            let ballot = l.ballot;
            self.accept(slot, Entry { ballot, payload });
        }
    }

    fn next_payload(&mut self) -> Option<Payload> {
        let slot = self.accepted.next();
        let no_barrier = self.config.is_planted(PlantedBug::NoMembershipBarrier);
        let stale_stays = self.config.is_planted(PlantedBug::StaleMembershipStays);
        let unasked = self.config.is_planted(PlantedBug::NewQuorumUnasked);
        let passive = self.membership.policy == Policy::Passive;
        let (base, parent) = if passive {
            let (slot, latest) = self.latest_membership();
            (slot, Some(latest.ancestor(slot)))
        } else {
            (self.membership_slot, None)
        };
        let follows = |membership: &Membership| membership.follows(base, parent.as_ref());
        let given_up = self.given_up;
        let RoleState::Owning(l) = &mut self.role else { return None };
        let is_barred = !l.undecided_memberships.is_empty() && !no_barrier;
        let is_allowed = passive
            || unasked
            || self.membership.has_quorum(|id| given_up == Some(id) || l.has_promised(id));
        if !is_allowed || (is_barred && !passive) {
            return None;
        }
        l.recovered = l.recovered.split_off(&slot);
        if let Some(entry) = l.recovered.remove(&slot) {
            // Acceptors accept in order, so had this membership been decided, all before it would have
            // been too, its base the last membership among them. It was not, and never will be.
            return Some(match entry.payload {
                Payload::Membership(membership) if !follows(&membership) && !stale_stays => {
                    Payload::Blank
                }
                payload => payload,
            });
        }
        if !l.recovered.is_empty() {
            return Some(Payload::Blank);
        }
        if l.own_slot.is_none() {
            l.own_slot = Some(slot);
            return Some(Payload::Blank);
        }
        // Before the bounds: what is undecided may wait for the very member that is to be dropped.
        if let Some(membership) = l.change.take_if(|change| follows(change)) {
            return Some(Payload::Membership(membership));
        }
        // Who goes on alone answers nobody before the log says that it does.
        let is_barred = is_barred || given_up.is_some();
        if is_barred || l.handover.is_some() || l.undecided_bytes > self.config.undecided_bytes_max
        {
            return None;
        }
        let (_, command) = l.waiting.pop_front()?;
        l.waiting_bytes -= command.len();
        Some(Payload::Command(command))
    }

    /// Decides every slot that a quorum of the membership governing it holds.
    pub(crate) fn advance_decided(&mut self) {
        while let RoleState::Owning(l) = &self.role
            && l.is_leading
            && self.decided < self.accepted
        {
            let upto = self.quorum_slot(l).min(self.accepted);
            let upto = l.undecided_memberships.front().map_or(upto, |barrier| upto.min(*barrier));
            if upto <= self.decided {
                return;
            }
            self.decide_as_leader(upto);
        }
    }

    fn decide_as_leader(&mut self, upto: Slot) {
        let before = self.decided;
        self.decide_upto(upto.max(before));
        let mut decided_bytes = 0;
        let mut slot = before.next();
        while slot <= self.decided {
            decided_bytes += self.log.get(slot).map_or(0, |e| e.payload.cost_bytes());
            slot = slot.next();
        }
        let decided = self.decided;
        if let RoleState::Owning(l) = &mut self.role {
            l.undecided_bytes = l.undecided_bytes.saturating_sub(decided_bytes);
            while l.undecided_memberships.front().is_some_and(|slot| *slot <= decided) {
                l.undecided_memberships.pop_front();
            }
        }
    }

    /// The highest slot up to which a quorum of voters holds everything.
    ///
    /// Under the passive policy that is everybody; or, once the membership that drops some is held by all that
    /// remain, those. Nothing in front of it is decided by them alone before it is: whoever holds such an entry as
    /// decided holds the membership that tells why.
    fn quorum_slot(&self, l: &Leadership) -> Slot {
        let everybody = self.quorum_slot_of(l, false);
        match l.undecided_memberships.back() {
            Some(last) if self.membership.policy == Policy::Passive => {
                let remaining = self.quorum_slot_of(l, true);
                if remaining >= *last { remaining } else { everybody }
            }
            _ => everybody,
        }
    }

    fn quorum_slot_of(&self, l: &Leadership, without_dropped: bool) -> Slot {
        let own = if self.config.is_planted(PlantedBug::OwnVoteBeforePersisted) {
            self.accepted
        } else {
            self.accepted_durable()
        };
        let learners_vote = self.config.is_planted(PlantedBug::LearnersVote);
        let mut held = Vec::new();
        let voters: Vec<NodeId> = match learners_vote {
            true => self.membership.members.keys().copied().collect(),
            false => self.membership.voters().collect(),
        };
        for node in &voters {
            if without_dropped && self.is_dropped(*node) {
                continue;
            }
            if *node == self.config.node || self.given_up == Some(*node) {
                held.push(own);
                continue;
            }
            let peer = l.peers.get(node).filter(|peer| peer.has_promised);
            held.push(peer.map_or(Slot::ZERO, |peer| peer.acked));
            if self.config.is_planted(PlantedBug::DuplicateVotesCount) {
                let repeated = peer.filter(|peer| peer.repeats > 0);
                held.extend(repeated.map(|peer| peer.acked));
            }
        }
        held.sort_unstable_by(|a, b| b.cmp(a));
        let careless = self.config.is_planted(PlantedBug::EvictByOpinion);
        let quorum = match self.membership.policy {
            Policy::Paxos if careless => {
                let patience = u64::from(self.config.election_ticks_max);
                let heard = |p: &Peer| self.now - p.heard_tick <= patience;
                let voters = self.membership.voters();
                let heard = voters.filter(|id| l.peers.get(id).is_none_or(heard)).count();
                heard / 2 + 1
            }
            Policy::Paxos => self.membership.quorum(),
            Policy::Passive => held.len().max(1),
        };
        held.get(quorum - 1).copied().unwrap_or(Slot::ZERO)
    }

    /// Under the passive policy: whether the membership that was proposed last drops `node`. It is decided by those
    /// that remain, and so is all that stands before it.
    fn is_dropped(&self, node: NodeId) -> bool {
        self.membership.policy == Policy::Passive && !self.latest_membership().1.is_active(node)
    }

    pub(crate) fn on_accepted(&mut self, from: NodeId, ballot: Ballot, upto: Slot, gap: bool) {
        let now = self.now;
        let RoleState::Owning(l) = &mut self.role else { return };
        let Some(peer) = l.peers.get_mut(&from).filter(|_| l.ballot == ballot) else { return };
        peer.heard_tick = now;
        if !peer.has_promised {
            return;
        }
        peer.on_acked(upto, now);
        if gap && peer.next > upto.next() {
            peer.rewind(upto.next(), now);
        }
    }

    pub(crate) fn on_heartbeat_reply(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        probe: u64,
        upto: Slot,
    ) {
        let stale_counts = self.config.is_planted(PlantedBug::StaleProbeCounts);
        let now = self.now;
        let RoleState::Owning(l) = &mut self.role else { return };
        let Some(peer) = l.peers.get_mut(&from) else { return };
        if l.ballot != ballot {
            if stale_counts {
                peer.probe = peer.probe.max(probe);
            }
            return;
        }
        peer.heard_tick = now;
        peer.probe = peer.probe.max(probe);
        if peer.has_promised {
            peer.on_acked(upto, now);
        }
    }

    /// Sends each follower what it lacks, as far as the window allows, or at least the news of what is
    /// decided.
    pub(crate) fn flush_followers(&mut self) {
        if !self.is_leading() {
            return;
        }
        let lineage = match self.membership.policy {
            Policy::Passive => self.membership.lineage(self.membership_slot),
            Policy::Paxos => Vec::new(),
        };
        let Paxos { role, log, outputs, config, now, accepted, decided, .. } = self;
        let RoleState::Owning(l) = role else { return };
        for (node, peer) in l.peers.iter_mut().filter(|(_, peer)| peer.has_promised) {
            let decided = &tellable(*decided, peer.acked, &lineage);
            while peer.next <= *accepted
                && peer.next >= log.first()
                && peer.inflight_bytes < config.inflight_bytes_max
                && (!peer.is_probing || peer.inflight.is_empty())
            {
                let (entries, bytes) = log.chunk(peer.next, *accepted, config.chunk_bytes_max);
                let first = peer.next;
                if peer.inflight.is_empty() {
                    peer.progress_tick = *now;
                }
                peer.next = Slot(first.0 + entries.len() as u64);
                peer.inflight.push_back((peer.next.previous(), bytes));
                peer.inflight_bytes += bytes;
                peer.decided_told = *decided;
                let message =
                    Message::Accept { ballot: l.ballot, first, entries, decided: *decided };
                outputs.push(Output::Send { to: *node, message });
            }
            let reaches = peer.next >= log.first() || !lineage.is_empty();
            if peer.decided_told < *decided && reaches {
                peer.decided_told = *decided;
                let (first, entries) = (peer.next, Vec::new());
                let message =
                    Message::Accept { ballot: l.ballot, first, entries, decided: *decided };
                outputs.push(Output::Send { to: *node, message });
            }
        }
    }

    pub(crate) fn tick_leader(&mut self) {
        let (now, accepted) = (self.now, self.accepted);
        let (heartbeat, again) =
            (u64::from(self.config.heartbeat_ticks), u64::from(self.config.retransmit_ticks));
        let RoleState::Owning(l) = &mut self.role else { return };
        if now < l.heartbeat_tick + heartbeat {
            return;
        }
        l.heartbeat_tick = now;
        for peer in l.peers.values_mut().filter(|peer| peer.has_promised) {
            if peer.acked < accepted && now >= peer.progress_tick + again {
                peer.rewind(peer.acked.next(), now);
                peer.is_probing = true;
            }
        }
        let (is_leading, may_ask) = (l.is_leading, l.own_promise_durable);
        if may_ask {
            self.ask_promises();
        }
        if is_leading {
            self.send_heartbeats();
            self.tick_changes();
        }
    }

    pub(crate) fn send_heartbeats(&mut self) {
        self.send_heartbeats_to(|_| true);
    }

    pub(crate) fn send_heartbeats_to(&mut self, is_meant: impl Fn(NodeId) -> bool) {
        let (decided, window) = (self.decided, self.log.first());
        let passive = self.membership.policy == Policy::Passive;
        let RoleState::Owning(l) = &mut self.role else { return };
        let meant = |(node, peer): &(&NodeId, &mut Peer)| peer.has_promised && is_meant(**node);
        for (node, peer) in l.peers.iter_mut().filter(meant) {
            // A heartbeat decides nothing then; the news goes along with it.
            if passive {
                peer.decided_told = Slot::ZERO;
            }
            let message = Message::Heartbeat { ballot: l.ballot, decided, window, probe: l.probe };
            self.outputs.push(Output::Send { to: *node, message });
        }
    }

    /// Starts a new round of questions.
    pub(crate) fn next_probe(&mut self) -> u64 {
        let RoleState::Owning(l) = &mut self.role else { return 0 };
        l.probe += 1;
        l.probe
    }

    /// Asks everybody anew: a membership has begun to govern, or this node to lead.
    pub(crate) fn ask_who_is_there(&mut self) {
        let (probe, now) = (self.next_probe(), self.now);
        let RoleState::Owning(l) = &mut self.role else { return };
        (l.asked_probe, l.asked_tick) = (probe, now);
        self.send_heartbeats();
    }

    /// As a leader: whether `node` has answered a question asked under the governing membership, so that it may come to
    /// count (I28).
    pub fn has_answered(&self, node: NodeId) -> bool {
        let RoleState::Owning(l) = &self.role else { return false };
        l.is_leading && l.peers.get(&node).is_some_and(|peer| l.has_answered(peer))
    }

    /// As a leader: whether a reply to this probe of this ballot is an answer as [`Paxos::has_answered`] counts it.
    pub fn is_answer(&self, ballot: Ballot, probe: u64) -> bool {
        let RoleState::Owning(l) = &self.role else { return false };
        l.is_leading && l.ballot == ballot && probe >= l.asked_probe
    }

    /// Whether a quorum has answered this probe or a later one.
    pub(crate) fn is_probe_confirmed(&self, probe: u64) -> bool {
        let RoleState::Owning(l) = &self.role else { return false };
        self.has_quorum(|id| {
            id == self.config.node || l.peers.get(&id).is_some_and(|peer| peer.probe >= probe)
        })
    }

    /// The voters that have answered this probe or a later one.
    pub(crate) fn answered(&self, probe: u64) -> Vec<NodeId> {
        let RoleState::Owning(l) = &self.role else { return Vec::new() };
        let is_voter = |node: &NodeId| self.membership.is_voter(*node);
        let answered = l.peers.iter().filter(|(_, peer)| peer.probe >= probe);
        answered.map(|(node, _)| *node).filter(is_voter).collect()
    }

    /// Whether a quorum was heard within an election time: a leader that is not does not lead.
    pub(crate) fn hears_quorum(&self) -> bool {
        let RoleState::Owning(l) = &self.role else { return false };
        if self.membership.policy == Policy::Passive {
            return true;
        }
        let patience = u64::from(self.config.election_ticks_max);
        self.has_quorum(|id| {
            id == self.config.node
                || l.peers.get(&id).is_some_and(|p| self.now - p.heard_tick <= patience)
        })
    }

    pub(crate) fn members_status(&self, l: &Leadership) -> Vec<MemberStatus> {
        let patience = u64::from(self.config.election_ticks_max);
        let of_peer = |(node, peer): (&NodeId, &Peer)| MemberStatus {
            node: *node,
            is_heard: self.now - peer.heard_tick <= patience,
            accepted: peer.acked,
        };
        l.peers.iter().map(of_peer).collect()
    }
}

/// Under the passive policy: what a follower that holds everything up to `acked` may be told to be decided. What stands
/// in front of a membership and may have been decided without those that it leaves out is decided together with it.
fn tellable(decided: Slot, acked: Slot, lineage: &[Ancestor]) -> Slot {
    let ahead = lineage.iter().filter(|ancestor| ancestor.slot > acked && ancestor.own_slot.0 > 0);
    let together = ahead.map(|ancestor| ancestor.own_slot.previous()).min();
    together.map_or(decided, |slot| decided.min(slot))
}
