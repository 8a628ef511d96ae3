//! What a node must not forget: the records it writes, and what it is given back at restart.

use crate::membership::Membership;
use crate::types::{Ballot, Entry, Slot};
use alloc::vec::Vec;

/// One durable fact. Records are written in order and a later one about the same thing replaces an
/// earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing below this ballot will be accepted.
    Promise(Ballot),
    /// The entry accepted in a slot.
    Accept(Slot, Entry),
    /// Every slot up to this one is decided and holds its decided value in the records before.
    Decided(Slot),
    /// A snapshot stands for every slot up to its own; all that is needed of the records before is in here.
    Base(Base),
}

/// What is left of the log before a slot once a snapshot stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Every slot up to here is decided, and its effects are in the snapshot.
    pub slot: Slot,
    /// The highest promise when it was written.
    pub promised: Ballot,
    /// The membership that governs the slots after it, and that one's slot.
    pub membership: (Slot, Membership),
}

/// What the records of a log add up to: the state a node restarts from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Durable {
    /// The highest promise.
    pub promised: Ballot,
    /// Every slot up to here is decided and applied to the store; none of their entries is below.
    pub decided: Slot,
    /// Entries up to here are no longer in the log.
    pub floor: Slot,
    /// The last membership at or below `decided`, and its slot. Empty for a node that has none yet.
    pub membership: (Slot, Membership),
    /// The entries accepted after `decided`: contiguous from `decided + 1`.
    pub entries: Vec<Entry>,
}
