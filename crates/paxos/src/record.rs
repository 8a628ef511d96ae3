//! What a node must not forget: the records it writes, and what it is given back at restart.

use crate::types::{Ballot, Entry, Membership, Slot};
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
}

/// What the records of a log add up to: the state a node restarts from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Durable {
    /// The highest promise.
    pub promised: Ballot,
    /// Every slot up to here is decided and applied to the store; none of their entries is below.
    pub decided: Slot,
    /// The last membership at or below `decided`, and its slot. Empty for a node that has none yet.
    pub membership: (Slot, Membership),
    /// The entries accepted after `decided`: contiguous from `decided + 1`.
    pub entries: Vec<Entry>,
}
