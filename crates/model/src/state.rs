//! A state of the whole model: three nodes, what was ever sent, and a little memory of what happened.
//!
//! The network is a set that only grows: what was sent can be received at any later time, in any order,
//! any number of times, or never. Since nothing is ever taken out, it is kept not as messages but as what
//! they add up to: the values proposed in each ballot, how far each leader has told that slots are decided,
//! how far each node has reported to each leader, which entries anybody ever knew to be decided.

use crate::value::{
    Ballot, Entry, NODES, NodeIndex, PerBallot, PerSlot, SLOTS_MAX, Slot, Value, Voters,
};
use std::fmt;

/// Most records of one node on their way to its disk.
const PENDING_MAX: usize = 16;

/// Most entries ever known to be decided in one slot: one for each ballot, and one without.
const KNOWN_MAX: usize = 4;

/// A durable fact on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing below this ballot will be accepted.
    Promise(Ballot),
    /// The entry accepted in a slot.
    Accept(Slot, Entry),
}

/// Records in the order they were written; what a crash loses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Pending {
    count: u8,
    /// Slot (0 for a promise) and ballot or entry.
    records: [(Slot, Ballot, Entry); PENDING_MAX],
}

impl Pending {
    /// Adds `record` at the end.
    pub fn push(&mut self, record: Record) {
        let place = &mut self.records[usize::from(self.count)];
        *place = match record {
            Record::Promise(ballot) => (0, ballot, Entry::NONE),
            Record::Accept(slot, entry) => (slot, 0, entry),
        };
        self.count += 1;
    }

    /// Takes the oldest away.
    pub fn pop(&mut self) -> Option<Record> {
        let first = self.iter().next()?;
        self.records.copy_within(1.., 0);
        self.records[PENDING_MAX - 1] = Default::default();
        self.count -= 1;
        Some(first)
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = Record> + '_ {
        self.records[..usize::from(self.count)].iter().map(|(slot, ballot, entry)| match slot {
            0 => Record::Promise(*ballot),
            _ => Record::Accept(*slot, *entry),
        })
    }

    /// Whether everything is durable.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What the owner of a ballot knows. All of it is lost in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Owning {
    /// Its ballot; 0 if the node owns none at present.
    pub ballot: Ballot,
    /// Phase 1 is over.
    pub is_leading: bool,
    /// The others who promised and told everything.
    pub promised: Voters,
    /// The slot from which each is still to tell; only where answers come in parts.
    pub promise_next: [Slot; NODES],
    /// A slot known to be decided at somebody who promised, to be learnt before leading.
    pub must_reach: Slot,
    /// What was told of slots not yet proposed, with the highest ballot.
    pub recovered: PerSlot<Entry>,
    /// Where its first own entry is; 0 before that. Only where memberships wait for it.
    pub own_slot: Slot,
}

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Node {
    /// Nothing below this ballot will be accepted.
    pub promised: Ballot,
    /// The last entry accepted in each slot.
    pub log: PerSlot<Entry>,
    /// Every slot up to here is decided or accepted in `promised`.
    pub accepted: Slot,
    /// Every slot up to here is decided.
    pub decided: Slot,
    /// The promise on disk.
    pub durable_promised: Ballot,
    /// The log on disk.
    pub durable_log: PerSlot<Entry>,
    /// What is on its way to the disk.
    pub pending: Pending,
    /// How often it may still crash.
    pub crashes_left: u8,
    /// Its ballot, if it leads or wants to.
    pub owning: Owning,
}

impl Node {
    /// The slot after its last entry, minus one.
    pub fn last(&self) -> Slot {
        (1..=SLOTS_MAX as Slot).take_while(|slot| self.log[*slot].is_some()).last().unwrap_or(0)
    }

    /// The last slot such that it and all before it, up to `accepted`, are on disk.
    pub fn accepted_durable(&self) -> Slot {
        let pending = self.pending.iter().filter_map(|record| match record {
            Record::Accept(slot, _) => Some(slot - 1),
            Record::Promise(_) => None,
        });
        pending.min().map_or(self.accepted, |slot| slot.min(self.accepted))
    }

    /// Brings the oldest record to the disk.
    pub fn persist_one(&mut self) {
        match self.pending.pop() {
            Some(Record::Promise(ballot)) => self.durable_promised = ballot,
            Some(Record::Accept(slot, entry)) => self.durable_log[slot] = entry,
            None => {}
        }
    }
}

/// One answer to the question of phase 1 under way: the one that will be received. Sending has no effect on
/// the sender, so a run in which several were sent and one was received is one in which one was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Promise {
    /// Whether there is one.
    pub is_there: bool,
    /// Every slot up to here is decided at the sender.
    pub decided: Slot,
    /// The sender's last slot; only where answers come in parts.
    pub last: Slot,
    /// What it accepted.
    pub entries: PerSlot<Entry>,
}

/// An invariant that one step has broken; the others are seen by looking at the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Violation {
    /// None so far.
    #[default]
    None,
    /// Two values were proposed in one ballot and slot (I3).
    OneProposal,
    /// A membership was decided where its base does not govern (I16).
    MembershipBase,
}

/// A state of the whole model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// The nodes.
    pub nodes: [Node; NODES],
    /// The ballots whose owner has asked for promises.
    pub prepared: PerBallot<bool>,
    /// The answers of phase 1 on their way.
    pub promises: PerBallot<[Promise; NODES]>,
    /// What was proposed in each ballot and slot.
    pub proposals: PerBallot<PerSlot<Value>>,
    /// How far each owner has told that slots are decided.
    pub told: PerBallot<Slot>,
    /// How far each node has reported to the owner of a ballot.
    pub reported: PerBallot<[Slot; NODES]>,
    /// Every entry that any node ever knew to be decided, in order.
    pub known: PerSlot<[Entry; KNOWN_MAX]>,
    /// How many memberships may still be proposed.
    pub changes_left: u8,
    /// 1: a crash has lost records; 2: and a leader has decided a slot since.
    pub lost: u8,
    /// What a step has broken.
    pub violation: Violation,
}

impl State {
    /// The slot and the voters of the membership that governs what comes after `upto` in this log.
    pub fn membership(&self, node: NodeIndex, founding: Voters) -> (Slot, Voters) {
        let node = &self.nodes[node];
        let found = (1..=node.decided).rev().find_map(|slot| {
            node.log[slot].value().as_membership().map(|(_, voters)| (slot, voters))
        });
        found.unwrap_or((0, founding))
    }

    /// Notes that `entry` is known to be decided at `slot`.
    pub fn note_known(&mut self, slot: Slot, entry: Entry) {
        let known = &mut self.known[slot];
        if known.contains(&entry) {
            return;
        }
        // No place is left only once two values are there, which is a violation already.
        if let Some(place) = known.iter_mut().find(|place| !place.is_some()) {
            *place = entry;
            known.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    /// The entries ever known to be decided at `slot`.
    pub fn known_at(&self, slot: Slot) -> impl Iterator<Item = Entry> + '_ {
        self.known[slot].iter().copied().filter(|entry| entry.is_some())
    }

    /// The voters that govern `slot` by what is known to be decided before it.
    pub fn governing(&self, slot: Slot, founding: Voters) -> Voters {
        let found = (1..slot).rev().find_map(|earlier| {
            self.known_at(earlier).find_map(|entry| Some(entry.value().as_membership()?.1))
        });
        found.unwrap_or(founding)
    }
}
