//! The words of the model, each a byte: ballots, slots, values, entries, voters.

use std::fmt;

/// A proposal number; 0 is below every one that is used. Who owns it is in the configuration.
pub type Ballot = u8;

/// A position of the log, counted from 1; 0 stands before the first.
pub type Slot = u8;

/// Which of the nodes, counted from 0.
pub type NodeIndex = usize;

/// How many nodes there are.
pub(crate) const NODES: usize = 3;

/// Most slots a configuration may have.
pub(crate) const SLOTS_MAX: usize = 4;

/// Most ballots a configuration may have.
pub(crate) const BALLOTS_MAX: usize = 3;

/// A set of nodes, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Voters(pub u8);

impl Voters {
    /// Whether `node` is one of them.
    pub fn contains(self, node: NodeIndex) -> bool {
        self.0 & (1 << node) != 0
    }

    /// The set with `node` in it.
    #[must_use]
    pub fn with(self, node: NodeIndex) -> Voters {
        Voters(self.0 | 1 << node)
    }

    /// The set with `node` put in or taken out.
    #[must_use]
    pub fn toggled(self, node: NodeIndex) -> Voters {
        Voters(self.0 ^ 1 << node)
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// How many make a majority.
    pub fn quorum(self) -> u32 {
        self.count() / 2 + 1
    }

    /// Those also in `other`.
    #[must_use]
    pub fn and(self, other: Voters) -> Voters {
        Voters(self.0 & other.0)
    }
}

impl fmt::Debug for Voters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..NODES).filter(|node| self.contains(*node))).finish()
    }
}

/// What a slot can hold, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Value(u8);

impl Value {
    /// No value.
    pub const NONE: Value = Value(0);
    /// An entry without effect, put where nothing was told, or in place of an outdated membership.
    pub const BLANK: Value = Value(1);

    /// What the owner of `ballot` proposes of its own accord, its first blank or a command: the same
    /// within one ballot, another in each, so that no two ballots agree by chance.
    pub fn own(ballot: Ballot) -> Value {
        Value(2 + ballot)
    }

    /// The membership with these voters, made from the one at slot `base`.
    pub fn membership(base: Slot, voters: Voters) -> Value {
        debug_assert!(usize::from(base) < SLOTS_MAX);
        Value(8 + (base << 3) + voters.0)
    }

    /// Whether there is one.
    pub fn is_some(self) -> bool {
        self != Value::NONE
    }

    /// The ballot whose owner proposed it of its own accord.
    pub fn owner(self) -> Option<Ballot> {
        (3..8).contains(&self.0).then(|| self.0 - 2)
    }

    /// Base and voters, of a membership.
    pub fn as_membership(self) -> Option<(Slot, Voters)> {
        (self.0 >= 8).then(|| ((self.0 - 8) >> 3, Voters(self.0 & 7)))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.owner(), self.as_membership()) {
            (Some(ballot), _) => write!(f, "own{ballot}"),
            (_, Some((base, voters))) => write!(f, "members{voters:?}@{base}"),
            _ if *self == Value::NONE => f.write_str("-"),
            _ => f.write_str("blank"),
        }
    }
}

/// A value and the ballot it was accepted in, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Entry(u8);

impl Entry {
    /// No entry.
    pub const NONE: Entry = Entry(0);

    /// `value` as accepted in `ballot`.
    pub fn new(ballot: Ballot, value: Value) -> Entry {
        debug_assert!(value.0 < 64 && usize::from(ballot) <= BALLOTS_MAX);
        Entry(ballot << 6 | value.0)
    }

    /// Whether there is one.
    pub fn is_some(self) -> bool {
        self != Entry::NONE
    }

    /// The ballot it was accepted in.
    pub fn ballot(self) -> Ballot {
        self.0 >> 6
    }

    /// Its value.
    pub fn value(self) -> Value {
        Value(self.0 & 63)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Entry::NONE {
            return f.write_str("-");
        }
        write!(f, "{}:{:?}", self.ballot(), self.value())
    }
}

/// Something for each slot, addressed from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PerSlot<T>([T; SLOTS_MAX]);

impl<T> std::ops::Index<Slot> for PerSlot<T> {
    type Output = T;
    fn index(&self, slot: Slot) -> &T {
        &self.0[usize::from(slot) - 1]
    }
}

impl<T> std::ops::IndexMut<Slot> for PerSlot<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.0[usize::from(slot) - 1]
    }
}

impl<T: fmt::Debug> fmt::Debug for PerSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// Something for each ballot, addressed from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PerBallot<T>([T; BALLOTS_MAX]);

impl<T> std::ops::Index<Ballot> for PerBallot<T> {
    type Output = T;
    fn index(&self, ballot: Ballot) -> &T {
        &self.0[usize::from(ballot) - 1]
    }
}

impl<T> std::ops::IndexMut<Ballot> for PerBallot<T> {
    fn index_mut(&mut self, ballot: Ballot) -> &mut T {
        &mut self.0[usize::from(ballot) - 1]
    }
}

impl<T: fmt::Debug> fmt::Debug for PerBallot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}
