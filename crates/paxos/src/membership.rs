//! Who takes part, by which rule they decide, and how that may change.

use crate::types::{Ballot, NodeId, Slot};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

/// The newest feature level that this version knows. A level changes what an entry means, so that a
/// node which does not know the level of its group must not apply what follows.
///
/// | level | what is new |
/// | --- | --- |
/// | 1 | the first |
/// | 2 | a membership tells where a member was left out, [`Member::left`] |
pub const LEVEL_MAX: u32 = 2;

/// From this level on, memberships tell where a member was left out.
const LEVEL_OF_LEFT: u32 = 2;

/// Most nodes removed by hand that a membership remembers; the oldest are forgotten first.
const REMOVED_MAX: usize = 256;

/// By which rule a group decides. Chosen when it is founded, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// A majority decides, a majority elects.
    #[default]
    Paxos,
    /// Every active voter decides, any one of them may take over: primary and backups. Assumes that
    /// whoever falls silent has stopped (`docs/design/passive.md`).
    Passive,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Paxos => "paxos",
            Policy::Passive => "passive",
        })
    }
}

/// What a member counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It follows and does not count: a newcomer that catches up.
    Learner,
    /// It counts for quorums.
    Voter,
    /// A voter that was out of reach and is no longer waited for. Under [`Policy::Paxos`] one of them keeps
    /// its vote in reserve while the others are even in number, see [`Membership::voters`].
    Away,
}

/// One participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it listens, `host:port`; the core only carries it.
    pub address: String,
    /// What it counts for.
    pub standing: Standing,
    /// The member whose place it takes when it becomes a voter: one that listened at the same address and
    /// has lost its disk.
    pub replaces: Option<NodeId>,
    /// While it is [`Standing::Away`]: the slot of the membership that it was left out of, so that it can be told who was
    /// left out last. None while it is not away, and below feature level 2.
    pub left: Option<Slot>,
}

impl Member {
    /// A participant with a standing of its own.
    pub fn new(address: impl Into<String>, standing: Standing) -> Member {
        Member { address: address.into(), standing, replaces: None, left: None }
    }
}

/// Who takes part: voters, which count for quorums, and learners, which only follow.
///
/// It governs every slot after the one it is decided in, up to the next membership.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Membership {
    /// The slot of the membership it was made from, and takes the place of. An entry with another base
    /// than the membership governing its slot was proposed by an outdated leader, to itself.
    pub base: Slot,
    /// By which rule the group decides.
    pub policy: Policy,
    /// The feature level of the entries that follow, see [`LEVEL_MAX`].
    pub level: u32,
    /// The participants by id.
    pub members: BTreeMap<NodeId, Member>,
    /// The ballot of the leader that made it.
    pub origin: Ballot,
    /// The first slot that the leader which made it did not know to be held, as it stands in its log, by everybody
    /// who was waited for until then: from here on whoever is left out may hold something else.
    pub own_slot: Slot,
    /// Nodes removed by hand or replaced, latest last: they are not let in again.
    pub removed: Vec<NodeId>,
    /// Under [`Policy::Passive`]: the memberships before this one, latest last, at most [`HISTORY_MAX`]; by
    /// them two leaders that went on apart find out that they did.
    pub history: Vec<Ancestor>,
}

/// A membership that another one descends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its slot.
    pub slot: Slot,
    /// The ballot of the leader that made it.
    pub ballot: Ballot,
    /// As [`Membership::own_slot`].
    pub own_slot: Slot,
}

/// Most ancestors that a membership remembers.
pub const HISTORY_MAX: usize = 64;

impl Membership {
    /// A group of one voter.
    pub fn founding(node: NodeId, address: impl Into<String>, policy: Policy) -> Membership {
        Membership::of(policy, [(node, Member::new(address, Standing::Voter))])
    }

    /// A group of these.
    pub fn of(policy: Policy, members: impl IntoIterator<Item = (NodeId, Member)>) -> Membership {
        let members = members.into_iter().collect();
        Membership { policy, level: LEVEL_MAX, members, ..Membership::default() }
    }

    /// The voters, in order of id: those that are not away and, under [`Policy::Paxos`] while these are even in
    /// number, the one among those away that was left out last.
    ///
    /// *Why the reserve*: of four voters as of five a quorum is three, so leaving out one of five takes a vote away
    /// and spares none; a group of three that had left out one would stand still with the next, even when the
    /// one left out is back.
    ///
    /// *Why the last*: then leaving out one of an odd number changes nobody's vote, and whoever stayed away for longest,
    /// and is the least likely to come back, is the last to be waited for.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        let reserve = self.reserve();
        let votes = move |(id, m): (&NodeId, &Member)| {
            (m.standing == Standing::Voter || reserve == Some(*id)).then_some(*id)
        };
        self.members.iter().filter_map(votes)
    }

    fn reserve(&self) -> Option<NodeId> {
        if self.policy == Policy::Passive || !self.active().count().is_multiple_of(2) {
            return None;
        }
        let away = self.members.iter().filter(|(_, m)| m.standing == Standing::Away);
        // Where nothing tells who was left out last, as below feature level 2: the one of lowest id.
        away.max_by_key(|(id, m)| (m.left, Reverse(**id))).map(|(id, _)| *id)
    }

    /// Whether these two are all the voters and every quorum holds both, so that each of them holds whatever was decided.
    pub fn are_all_voters(&self, one: NodeId, other: NodeId) -> bool {
        self.policy == Policy::Paxos
            && one != other
            && self.voters().count() == 2
            && self.voters().all(|id| id == one || id == other)
    }

    /// The voters that are not away.
    pub fn active(&self) -> impl Iterator<Item = NodeId> + '_ {
        let active = |(id, m): (&NodeId, &Member)| (m.standing == Standing::Voter).then_some(*id);
        self.members.iter().filter_map(active)
    }

    /// Whether `node` counts for quorums.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters().any(|id| id == node)
    }

    /// Whether `node` is a voter and not away.
    pub fn is_active(&self, node: NodeId) -> bool {
        self.standing(node) == Some(Standing::Voter)
    }

    /// What `node` counts for, if it takes part.
    pub fn standing(&self, node: NodeId) -> Option<Standing> {
        self.members.get(&node).map(|member| member.standing)
    }

    /// How many voters decide: a majority, of which any two share a voter, or all.
    pub fn quorum(&self) -> usize {
        let voters = self.voters().count();
        match self.policy {
            Policy::Paxos => voters / 2 + 1,
            Policy::Passive => voters.max(1),
        }
    }

    /// Whether the voters for whom `holds` is true are enough to decide. Never with no voters.
    pub fn has_quorum(&self, mut holds: impl FnMut(NodeId) -> bool) -> bool {
        self.voters().filter(|id| holds(*id)).count() >= self.quorum()
    }

    /// Whether the voters for whom `holds` is true are enough to elect: a majority, or any active one.
    pub fn may_elect(&self, mut holds: impl FnMut(NodeId) -> bool) -> bool {
        match self.policy {
            Policy::Paxos => self.has_quorum(holds),
            Policy::Passive => self.voters().any(&mut holds),
        }
    }

    /// What this membership, decided at `slot`, is to those that descend from it.
    pub fn ancestor(&self, slot: Slot) -> Ancestor {
        Ancestor { slot, ballot: self.origin, own_slot: self.own_slot }
    }

    /// The memberships that led to this one, decided at `slot`, and itself; under [`Policy::Passive`].
    pub fn lineage(&self, slot: Slot) -> Vec<Ancestor> {
        let mut lineage = self.history.clone();
        lineage.push(self.ancestor(slot));
        lineage
    }

    /// Whether it was made from the membership of slot `base`. Under [`Policy::Passive`] parts that went on apart may each
    /// have put one into the same slot, so that it must be `parent`, too.
    pub(crate) fn follows(&self, base: Slot, parent: Option<&Ancestor>) -> bool {
        self.base == base && (parent.is_none() || self.history.last() == parent)
    }

    /// Marks it as made from `base`, decided at `slot`, by the leader of `ballot`, and whom it leaves out as left out there.
    pub(crate) fn descend(
        &mut self,
        base: &Membership,
        slot: Slot,
        ballot: Ballot,
        own_slot: Slot,
    ) {
        (self.base, self.origin, self.own_slot) = (slot, ballot, own_slot);
        if self.level >= LEVEL_OF_LEFT {
            let was_active = |id: &NodeId| base.is_active(*id);
            let away = self.members.iter_mut().filter(|(_, m)| m.standing == Standing::Away);
            let left = away.filter(|(id, _)| was_active(id));
            left.for_each(|(_, m)| m.left = Some(slot));
        }
        if self.policy == Policy::Passive {
            self.history = base.lineage(slot);
            let surplus = self.history.len().saturating_sub(HISTORY_MAX);
            self.history.drain(..surplus);
        }
    }

    /// Whether no voter but those of `base` counts, and all that are still there do, if nobody came to count and one of an odd
    /// number was left out (I29). True of every membership of feature level 2 under [`Policy::Paxos`].
    pub fn keeps_votes(&self, base: &Membership) -> bool {
        let left = base.active().filter(|id| self.standing(*id) == Some(Standing::Away)).count();
        let is_one_eviction = left == 1 && self.active().count() + 1 == base.active().count();
        let is_told = self.policy == Policy::Paxos && base.level >= LEVEL_OF_LEFT;
        let was_even = base.active().count().is_multiple_of(2);
        !is_told || !is_one_eviction || was_even || self.voters().eq(base.voters())
    }

    /// What it costs in messages, memory and log, in bytes; an estimate from above.
    pub fn cost_bytes(&self) -> usize {
        let members: usize = self.members.values().map(|m| m.address.len() + 48).sum();
        96 + members + 8 * self.removed.len() + 40 * self.history.len()
    }

    /// The membership that `change` makes of this one.
    ///
    /// `view` is what the leader knows of a member.
    ///
    /// # Errors
    /// Why it may not be made.
    pub fn with(
        &self,
        change: &Change,
        view: impl Fn(NodeId) -> View,
    ) -> Result<Membership, Refusal> {
        let mut next = self.clone();
        match change {
            Change::Join { node, address } => next.join(*node, address, &view)?,
            Change::Remove { node } => next.remove(*node)?,
            Change::Allow { node } => next.removed.retain(|removed| removed != node),
            Change::Promote { node } => next.promote(*node, &view)?,
            Change::Evict { node } => next.evict(*node)?,
            Change::Raise { level } if *level <= self.level => return Err(Refusal::NoSuchLevel),
            Change::Raise { level } => next.level = *level,
            Change::Lead { .. } | Change::GoOnAlone { .. } => {}
        }
        // Whoever is only taken for alive because this leader is new does not count.
        let follows = |id| view(id).is_following;
        if next.policy == Policy::Paxos && !next.has_quorum(follows) {
            return Err(Refusal::UnsafeQuorum);
        }
        Ok(next)
    }

    fn join(
        &mut self,
        node: NodeId,
        address: &str,
        view: &impl Fn(NodeId) -> View,
    ) -> Result<(), Refusal> {
        if self.removed.contains(&node) {
            return Err(Refusal::Removed);
        }
        let rivals = self.members.iter().filter(|(id, m)| m.address == address && **id != node);
        let rivals: Vec<(NodeId, Standing)> = rivals.map(|(id, m)| (*id, m.standing)).collect();
        if rivals.iter().any(|(id, _)| view(*id).is_heard) {
            return Err(Refusal::AddressInUse);
        }
        if let Some(member) = self.members.get_mut(&node) {
            member.address = address.into();
            return Ok(());
        }
        let mut member = Member::new(address, Standing::Learner);
        for (id, standing) in rivals {
            if standing == Standing::Learner {
                // A learner that nobody has counted on goes at once.
                self.members.remove(&id);
                self.note_removed(id);
            } else {
                member.replaces = Some(id);
            }
        }
        self.members.insert(node, member);
        Ok(())
    }

    fn remove(&mut self, node: NodeId) -> Result<(), Refusal> {
        let Some(member) = self.members.remove(&node) else { return Err(Refusal::Unknown) };
        if self.active().next().is_none() && member.standing != Standing::Learner {
            return Err(Refusal::LastVoter);
        }
        self.note_removed(node);
        Ok(())
    }

    fn promote(&mut self, node: NodeId, view: &impl Fn(NodeId) -> View) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&node) else { return Err(Refusal::Unknown) };
        if !view(node).is_following {
            return Err(Refusal::NotFollowing);
        }
        (member.standing, member.left) = (Standing::Voter, None);
        // Whoever is heard again has its disk, and listens elsewhere by now.
        if let Some(old) = member.replaces.take()
            && !view(old).is_heard
            && self.members.remove(&old).is_some()
        {
            self.note_removed(old);
        }
        Ok(())
    }

    fn evict(&mut self, node: NodeId) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&node) else { return Err(Refusal::Unknown) };
        match member.standing {
            Standing::Voter => member.standing = Standing::Away,
            Standing::Learner => drop(self.members.remove(&node)),
            Standing::Away => {}
        }
        if self.active().next().is_none() { Err(Refusal::LastVoter) } else { Ok(()) }
    }

    fn note_removed(&mut self, node: NodeId) {
        self.removed.push(node);
        if self.removed.len() > REMOVED_MAX {
            self.removed.remove(0);
        }
    }
}

/// What a leader knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// It was heard within an election time.
    pub is_heard: bool,
    /// It is heard, and has promised the leader's ballot.
    pub is_following: bool,
}

/// A wish about who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Let `node`, which listens at `address`, follow, and count once it has caught up. For a
    /// participant: note its new address.
    Join {
        /// Who.
        node: NodeId,
        /// Where it listens.
        address: String,
    },
    /// Let `node` take part no more, and never again under this identity.
    Remove {
        /// Who.
        node: NodeId,
    },
    /// Take `node` off the list of those removed: it may join again.
    Allow {
        /// Who.
        node: NodeId,
    },
    /// Let a learner, or a voter that was away, count now, however far behind it is.
    Promote {
        /// Who.
        node: NodeId,
    },
    /// Wait no more for `node`, which has long been out of reach; it may come back.
    Evict {
        /// Who.
        node: NodeId,
    },
    /// Let another node lead.
    Lead {
        /// Who; none: the voter that is best prepared.
        node: Option<NodeId>,
    },
    /// Let the entries that follow be of this feature level. A node that does not know it stops there, so that all
    /// nodes are to be of a version that does.
    Raise {
        /// The level: above that of the group, and known to the leader.
        level: u32,
    },
    /// Under [`Policy::Paxos`], to one of two voters that has no leader: an operator vouches that the other one is gone
    /// for good, and will not be told the same of this one. Go on without it.
    GoOnAlone {
        /// The one that is gone.
        without: NodeId,
    },
}

/// Why a change is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No member has this identity.
    Unknown,
    /// Nobody would be left to decide.
    LastVoter,
    /// The voters in reach would not be enough to decide.
    UnsafeQuorum,
    /// Another member listens there and is alive.
    AddressInUse,
    /// This node was removed by hand, or its place was taken.
    Removed,
    /// The node is out of reach, or has not begun to follow.
    NotFollowing,
    /// Only a voter may lead.
    NotAVoter,
    /// Only one of two voters may go on without the other.
    NotOneOfTwo,
    /// The node is said to be gone, and was heard just now.
    StillHeard,
    /// The feature level is not above the group's, or is not known to the leader.
    NoSuchLevel,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Unknown => "no member has this identity",
            Refusal::LastVoter => "it is the last voter of the group",
            Refusal::UnsafeQuorum => {
                "the voters that can be reached would not be enough to decide anything"
            }
            Refusal::AddressInUse => "another member that is alive listens at this address",
            Refusal::Removed => "this node was removed from the group",
            Refusal::NotFollowing => "the node is out of reach or has not begun to follow",
            Refusal::NotAVoter => "only a voter may lead",
            Refusal::NotOneOfTwo => {
                "only one of exactly two voters, under the policy paxos, may go on without the other"
            }
            Refusal::NoSuchLevel => {
                "the group is at this feature level already, or its leader does not know it"
            }
            Refusal::StillHeard => "the node that is said to be gone for good was heard just now",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seven(level: u32) -> Membership {
        let member = |n| (NodeId(n), Member::new("node:1", Standing::Voter));
        Membership { level, ..Membership::of(Policy::Paxos, (1..=7).map(member)) }
    }

    fn next(of: &Membership, change: &Change, slot: u64) -> Option<Membership> {
        let is_there = |_| View { is_heard: true, is_following: true };
        let mut next = of.with(change, is_there).ok()?;
        next.descend(of, Slot(slot), Ballot::default(), Slot(slot));
        Some(next)
    }

    /// I29, whoever was left out and came back before.
    #[test]
    fn leaving_out_one_of_an_odd_number_moves_no_vote() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut membership = seven(LEVEL_MAX);
            for slot in 1..60 {
                let node = NodeId(rng.u64(1..=7));
                let was_voter = membership.standing(node) == Some(Standing::Voter);
                let change = match was_voter {
                    true => Change::Evict { node },
                    false => Change::Promote { node },
                };
                let Some(after) = next(&membership, &change, slot) else { continue };
                if was_voter && membership.active().count() % 2 == 1 {
                    assert!(after.voters().eq(membership.voters()), "{change:?} of {membership:?}");
                }
                assert!(after.keeps_votes(&membership));
                assert_eq!(after.voters().count() % 2, 1);
                membership = after;
            }
        }
    }

    /// A group of level 1 goes on as nodes that know no other level count, until it is raised; who was left out before
    /// that is the first to lose the vote in reserve.
    #[test]
    fn below_level_2_the_vote_in_reserve_is_that_of_lowest_id() {
        let mut membership = seven(1);
        let mut slot = 0;
        let mut make = |membership: &mut Membership, change| {
            slot += 1;
            *membership = next(membership, &change, slot).expect("it may be made");
        };
        let reserve = |m: &Membership| {
            let reserve: Vec<u64> =
                m.voters().filter(|id| !m.is_active(*id)).map(|id| id.0).collect();
            reserve
        };
        for n in [2, 5, 3] {
            make(&mut membership, Change::Evict { node: NodeId(n) });
        }
        assert!(membership.members.values().all(|m| m.left.is_none()));
        assert_eq!(reserve(&membership), [2]);
        make(&mut membership, Change::Raise { level: 2 });
        assert_eq!(reserve(&membership), [2]);
        make(&mut membership, Change::Evict { node: NodeId(7) });
        make(&mut membership, Change::Evict { node: NodeId(4) });
        assert_eq!(reserve(&membership), [4]);
        make(&mut membership, Change::Promote { node: NodeId(4) });
        make(&mut membership, Change::Promote { node: NodeId(2) });
        assert_eq!(reserve(&membership), [7]);
    }
}
