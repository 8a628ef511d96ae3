//! What clients did and were told, and whether a store that keeps its promises can have told them so.

use anyhow::{Result, bail, ensure};
use sim::checker::{Action, History, Operation};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// The notes of one client, or of all of them together.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Operations on keys, by the key.
    keys: BTreeMap<String, Vec<Operation>>,
    /// Increments of each counter: those that were acknowledged, and those whose outcome is not known.
    counters: BTreeMap<String, (i64, i64)>,
    /// Documents that were inserted, and that may have been.
    inserted: BTreeSet<String>,
    perhaps_inserted: BTreeSet<String>,
    /// How many operations were answered, and how many were not.
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    /// Requests that were sent twice on purpose.
    pub(crate) repeated: u64,
}

/// Since when times are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn at_us(self, moment: Instant) -> u64 {
        let microseconds = moment.saturating_duration_since(self.0).as_micros();
        u64::try_from(microseconds).unwrap_or(u64::MAX - 1)
    }
}

impl Notes {
    pub(crate) fn key(&mut self, key: String, operation: Operation) {
        self.keys.entry(key).or_default().push(operation);
    }

    pub(crate) fn increment(&mut self, counter: &str, is_known: bool) {
        let (known, unknown) = self.counters.entry(counter.to_owned()).or_default();
        *(if is_known { known } else { unknown }) += 1;
    }

    pub(crate) fn insert(&mut self, id: String, is_known: bool) {
        let set = if is_known { &mut self.inserted } else { &mut self.perhaps_inserted };
        set.insert(id);
    }

    pub(crate) fn add(&mut self, other: Notes) {
        for (key, mut operations) in other.keys {
            self.keys.entry(key).or_default().append(&mut operations);
        }
        for (counter, (known, unknown)) in other.counters {
            let all = self.counters.entry(counter).or_default();
            (all.0, all.1) = (all.0 + known, all.1 + unknown);
        }
        self.inserted.extend(other.inserted);
        self.perhaps_inserted.extend(other.perhaps_inserted);
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.repeated += other.repeated;
    }

    /// Whether the history of every key is linearizable.
    ///
    /// # Errors
    /// Names operations that no order explains.
    pub(crate) fn check_keys(&self) -> Result<()> {
        for (key, operations) in &self.keys {
            let mut history = History::default();
            for operation in operations {
                history.add(operation.clone());
            }
            if let Err(what) = history.check() {
                bail!("the history of {key} is not linearizable: {what}");
            }
        }
        Ok(())
    }

    /// Whether a counter shows each acknowledged increment once.
    ///
    /// # Errors
    /// If it shows fewer, or more than were ever asked for.
    pub(crate) fn check_counter(&self, counter: &str, shown: i64) -> Result<()> {
        let (known, unknown) = self.counters.get(counter).copied().unwrap_or_default();
        ensure!(
            (known..=known + unknown).contains(&shown),
            "{counter} shows {shown}; {known} increments were acknowledged, {unknown} have no answer"
        );
        Ok(())
    }

    /// Whether the documents found are those inserted.
    ///
    /// # Errors
    /// If one is missing or nobody inserted it.
    pub(crate) fn check_documents(&self, found: &BTreeSet<String>) -> Result<()> {
        if let Some(lost) = self.inserted.difference(found).next() {
            bail!("the document {lost} was acknowledged and is lost");
        }
        let strange =
            |id: &&String| !self.inserted.contains(*id) && !self.perhaps_inserted.contains(*id);
        if let Some(id) = found.iter().find(strange) {
            bail!("the document {id} was never inserted");
        }
        Ok(())
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = &String> {
        self.counters.keys()
    }
}

/// The operation of a client, answered or not (then it never ended). None: it says nothing.
pub(crate) fn operation(
    client: usize,
    start_us: u64,
    written: Option<&api::Value>,
    is_swap: bool,
    answer: Option<(&api::Value, u64)>,
) -> Option<Operation> {
    let (action, end_us) = match (written, answer) {
        (None, None) => return None,
        (None, Some((seen, end_us))) => (Action::Read(seen.clone()), end_us),
        (Some(written), Some((seen, end_us))) if is_swap => {
            (Action::Swap(seen.clone(), written.clone()), end_us)
        }
        (Some(written), Some((_, end_us))) => (Action::Write(written.clone()), end_us),
        // What it saw is not known, so it may have been anything.
        (Some(written), None) => (Action::Write(written.clone()), u64::MAX),
    };
    Some(Operation { client, start_us, end_us, action })
}
