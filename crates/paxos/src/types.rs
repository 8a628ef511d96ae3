//! The words of the protocol: nodes, ballots, slots, entries.

use crate::membership::Membership;
use bytes::Bytes;
use core::fmt;

/// A node's identity: a random number made with its folder, so that a lost disk comes back as
/// somebody else. Never zero for a real node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A proposal number. Ballots are totally ordered and each belongs to one node, so two leaders
/// never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ballot {
    /// Grows with every election.
    pub round: u64,
    /// Who leads in this ballot.
    pub node: NodeId,
}

impl Ballot {
    /// Below every ballot that a node can own.
    pub const ZERO: Ballot = Ballot { round: 0, node: NodeId(0) };
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node)
    }
}

/// A position of the replicated log (the founding document's *instancia*). The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(pub u64);

impl Slot {
    /// Before the first position.
    pub const ZERO: Slot = Slot(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Slot {
        Slot(self.0 + 1)
    }

    /// The position before this one.
    ///
    /// # Panics
    /// On [`Slot::ZERO`].
    #[must_use]
    pub fn previous(self) -> Slot {
        assert!(self.0 > 0, "no slot stands before zero");
        Slot(self.0 - 1)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a slot can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: the first entry of a new leader, by which it learns that it can decide.
    Blank,
    /// A command; its bytes mean nothing here.
    Command(Bytes),
    /// Who takes part from the next slot on.
    Membership(Membership),
}

impl Payload {
    /// What this payload costs in messages, memory and log, in bytes; an estimate from above.
    pub fn cost_bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 64;
        OVERHEAD_BYTES
            + match self {
                Payload::Blank => 0,
                Payload::Command(bytes) => bytes.len(),
                Payload::Membership(membership) => membership.cost_bytes(),
            }
    }
}

/// A value accepted in a slot, and the ballot it was accepted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The ballot of the leader that proposed it here.
    pub ballot: Ballot,
    /// The value.
    pub payload: Payload,
}
