//! What is on its way to the disk, and what may be said once it is there.

use crate::record::Record;
use crate::types::Slot;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Names one batch of records; ids grow by one, and `Persisted(id)` covers every batch up to `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PersistId(pub u64);

/// The records of this step and the batches under way.
///
/// Invariants:
/// 1. Batches become durable in order.
/// 2. A slot counts as durable only when no batch under way, nor the open one, holds a record for it or for
///    a slot before it; a base is a record for every slot up to its own.
#[derive(Debug, Default)]
pub(crate) struct Persistence {
    open: Vec<Record>,
    open_first: Option<Slot>,
    last_id: PersistId,
    done_id: PersistId,
    /// Batches under way, and the lowest slot each holds.
    under_way: VecDeque<(PersistId, Option<Slot>)>,
    /// Since when nothing under way has become durable.
    waiting_since: u64,
}

impl Persistence {
    /// Adds a record to the batch that is being filled.
    pub(crate) fn add(&mut self, record: Record) {
        let slot = match &record {
            Record::Accept(slot, _) => Some(*slot),
            // It speaks for all slots from the first on.
            Record::Base(_) => Some(Slot::ZERO.next()),
            Record::Promise(_) | Record::Decided(_) => None,
        };
        if let Some(slot) = slot {
            self.open_first = Some(self.open_first.map_or(slot, |first| first.min(slot)));
        }
        self.open.push(record);
    }

    /// Whether the batch being filled has anything in it.
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The id under which what has been added so far will be durable.
    pub(crate) fn current_id(&self) -> PersistId {
        if self.open.is_empty() { self.last_id } else { PersistId(self.last_id.0 + 1) }
    }

    /// Whether everything up to `id` is durable.
    pub(crate) fn is_done(&self, id: PersistId) -> bool {
        id <= self.done_id
    }

    /// Closes the batch being filled.
    pub(crate) fn close(&mut self, now: u64) -> Option<(PersistId, Vec<Record>)> {
        if self.open.is_empty() {
            return None;
        }
        if self.under_way.is_empty() {
            self.waiting_since = now;
        }
        self.last_id = PersistId(self.last_id.0 + 1);
        self.under_way.push_back((self.last_id, self.open_first.take()));
        Some((self.last_id, core::mem::take(&mut self.open)))
    }

    /// Notes that everything up to `id` is durable.
    ///
    /// # Panics
    /// If no such batch was handed out.
    pub(crate) fn done(&mut self, id: PersistId, now: u64) {
        assert!(id <= self.last_id, "a batch that was never written cannot be durable");
        self.done_id = self.done_id.max(id);
        self.waiting_since = now;
        while self.under_way.front().is_some_and(|(first, _)| *first <= self.done_id) {
            self.under_way.pop_front();
        }
    }

    /// For how long the disk has been silent about batches it was given, in ticks.
    pub(crate) fn stalled_ticks(&self, now: u64) -> u64 {
        if self.under_way.is_empty() { 0 } else { now - self.waiting_since }
    }

    /// The last slot such that it and all before it are durable, given the last slot of the log.
    pub(crate) fn durable_slot(&self, last: Slot) -> Slot {
        let lowest =
            self.under_way.iter().filter_map(|(_, first)| *first).chain(self.open_first).min();
        lowest.map_or(last, |slot| slot.previous().min(last))
    }
}
