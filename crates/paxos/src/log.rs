//! The part of the log that is kept in memory.

use crate::types::{Entry, Slot};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A contiguous run of entries `first ..= last`.
///
/// Invariants:
/// 1. There is no gap: slot `first + i` is at index `i`.
/// 2. Everything after the node's decided slot is in here; only decided entries leave, at the front.
/// 3. `bytes` is the sum of the entries' costs.
#[derive(Debug)]
pub(crate) struct LogWindow {
    first: Slot,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl LogWindow {
    /// The log after `decided`, holding `entries`.
    pub(crate) fn new(decided: Slot, entries: Vec<Entry>) -> LogWindow {
        let bytes = entries.iter().map(|e| e.payload.cost_bytes()).sum();
        LogWindow { first: decided.next(), entries: entries.into(), bytes }
    }

    /// What the entries cost, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first slot held; one past [`LogWindow::last`] if none is.
    pub(crate) fn first(&self) -> Slot {
        self.first
    }

    /// The last slot held, or the one before [`LogWindow::first`].
    pub(crate) fn last(&self) -> Slot {
        Slot(self.first.0 + self.entries.len() as u64 - 1)
    }

    /// The entry at `slot`, if it is in memory.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Entry> {
        let index = slot.0.checked_sub(self.first.0)?;
        self.entries.get(index as usize)
    }

    /// Puts an entry at `slot`, in place of what is there or one past the end.
    ///
    /// # Panics
    /// If that would leave a gap, or `slot` has left the window.
    pub(crate) fn put(&mut self, slot: Slot, entry: Entry) {
        assert!(slot >= self.first && slot <= self.last().next(), "the log has no gaps");
        self.bytes += entry.payload.cost_bytes();
        let index = (slot.0 - self.first.0) as usize;
        if index == self.entries.len() {
            self.entries.push_back(entry);
        } else {
            self.bytes -= self.entries[index].payload.cost_bytes();
            self.entries[index] = entry;
        }
    }

    /// Forgets everything, for a planted bug.
    pub(crate) fn forget(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Lets everything up to `slot` go, held or not; what comes after stays.
    pub(crate) fn begin_after(&mut self, slot: Slot) {
        while self.first <= slot {
            match self.entries.pop_front() {
                Some(entry) => self.bytes -= entry.payload.cost_bytes(),
                None => break,
            }
            self.first = self.first.next();
        }
        self.first = self.first.max(slot.next());
    }

    /// Entries from `from` to `upto`, at most `bytes_max` of them but at least one if there is one.
    pub(crate) fn chunk(&self, from: Slot, upto: Slot, bytes_max: usize) -> (Vec<Entry>, usize) {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut slot = from;
        while slot <= upto {
            let Some(entry) = self.get(slot) else { break };
            let cost = entry.payload.cost_bytes();
            if !entries.is_empty() && bytes + cost > bytes_max {
                break;
            }
            bytes += cost;
            entries.push(entry.clone());
            slot = slot.next();
        }
        (entries, bytes)
    }

    /// Lets entries up to `upto` go while there are more than `bytes_max` bytes.
    pub(crate) fn evict(&mut self, upto: Slot, bytes_max: usize) {
        while self.bytes > bytes_max && self.first <= upto {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry.payload.cost_bytes();
            self.first = self.first.next();
        }
    }
}
