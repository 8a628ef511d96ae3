//! Bringing log and store back to one state.

use crate::journal::{Journal, JournalError, Recovered};
use paxos::{Durable, Payload, Slot};
use store::{Effect, Engine, Store};
use wal::Disk;

/// Bytes of entries that are replayed into the store at a time.
const REPLAY_BYTES: usize = 4 << 20;

/// Why a node cannot start from what is in its folder.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log is damaged or cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store is damaged or cannot be read.
    #[error("{0}; the store is made anew from the log if its folder is removed first")]
    Store(#[from] store::Fatal),
    /// The store knows more than the log, so the log has lost its end.
    #[error(
        "the store has applied slot {applied} but the log ends at slot {last}: the log has lost \
         acknowledged entries; restore the folder from a backup or let the node join anew"
    )]
    LogBehindStore {
        /// The store's applied slot.
        applied: Slot,
        /// The last slot of the log.
        last: Slot,
    },
}

/// Where a node stands once log and store agree.
#[derive(Debug)]
pub struct Started {
    /// What the core restarts from.
    pub durable: Durable,
    /// How many entries the store had missed.
    pub replayed: u64,
}

/// Replays into `store` what the log knows to be decided beyond it, and gathers what the core restarts
/// from.
///
/// # Errors
/// [`StartError`]; nothing is lost by it.
pub fn start<D: Disk, E: Engine>(
    journal: &Journal<D>,
    recovered: &Recovered,
    store: &mut Store<E>,
) -> Result<Started, StartError> {
    let applied = Slot(store.applied_slot());
    if applied > recovered.last {
        return Err(StartError::LogBehindStore { applied, last: recovered.last });
    }
    let decided = recovered.decided.max(applied);
    let mut next = applied.next();
    while next <= decided {
        let entries = journal.entries(next, decided, REPLAY_BYTES)?;
        let batch: Vec<store::Entry<'_>> = (entries.iter())
            .zip(next.0..)
            .map(|(entry, slot)| match &entry.payload {
                Payload::Command(bytes) => store::Entry { slot, effect: Effect::Command(bytes) },
                Payload::Blank | Payload::Membership(_) => {
                    store::Entry { slot, effect: Effect::Blank }
                }
            })
            .collect();
        store.apply(&batch)?;
        next = Slot(next.0 + entries.len() as u64);
    }
    let durable = journal.durable(recovered.promised, decided)?;
    Ok(Started { durable, replayed: decided.0 - applied.0 })
}
