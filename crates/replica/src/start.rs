//! Bringing log and store back to one state.

use crate::journal::{Journal, JournalError, Recovered};
use crate::node::Effect;
use paxos::codec::decode_membership;
use paxos::{Durable, Entry, LEVEL_MAX, Payload, Slot};
use store::{Engine, Store};
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
    #[error(transparent)]
    Store(#[from] store::Fatal),
    /// The log begins after a slot that the store has not reached.
    #[error(
        "the store has applied slot {applied} but the log begins after slot {floor}: the store is not \
         the one that belongs to this log; restore the folder from a backup or let the node join anew"
    )]
    StoreBehindLog {
        /// The store's applied slot.
        applied: Slot,
        /// The last slot that was cut from the log.
        floor: Slot,
    },
    /// The group is at a feature level that this version does not know.
    #[error(
        "the group is at feature level {level}, this version knows up to {known}: start a newer version"
    )]
    Unsupported {
        /// The group's level.
        level: u32,
        /// The newest level known here.
        known: u32,
    },
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

impl StartError {
    /// Whether what was durable is damaged or gone, so that only others can have it.
    pub fn is_damage(&self) -> bool {
        match self {
            StartError::Journal(error) => error.is_damage(),
            StartError::Store(error) => error.is_damage(),
            StartError::StoreBehindLog { .. } | StartError::LogBehindStore { .. } => true,
            StartError::Unsupported { .. } => false,
        }
    }
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
/// Nothing behind a membership of a feature level that is not known here is replayed: what it means is not known.
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
    if applied < recovered.floor {
        return Err(StartError::StoreBehindLog { applied, floor: recovered.floor });
    }
    // An earlier start may have stopped at the very membership.
    let group = store.group().and_then(|(_, bytes)| decode_membership(bytes).ok());
    check_level(group.map_or(0, |membership| membership.level))?;
    let decided = recovered.decided.max(applied);
    let mut next = applied.next();
    while next <= decided {
        let mut entries = journal.entries(next, decided, REPLAY_BYTES)?;
        let unknown = entries.iter().position(|entry| level_of(entry) > LEVEL_MAX);
        let level = unknown.map(|place| level_of(&entries[place]));
        entries.truncate(unknown.map_or(entries.len(), |place| place + 1));
        let count = entries.len() as u64;
        let effects: Vec<Effect> = entries.into_iter().map(|e| Effect::of(e.payload)).collect();
        let with_slots = effects.iter().zip(next.0..);
        let batch: Vec<store::Entry<'_>> =
            with_slots.map(|(effect, slot)| effect.entry(Slot(slot))).collect();
        store.apply(&batch)?;
        next = Slot(next.0 + count);
        check_level(level.unwrap_or_default())?;
    }
    let durable = journal.durable(recovered.promised, decided)?;
    check_level(durable.membership.1.level)?;
    Ok(Started { durable, replayed: decided.0 - applied.0 })
}

fn check_level(level: u32) -> Result<(), StartError> {
    if level > LEVEL_MAX {
        return Err(StartError::Unsupported { level, known: LEVEL_MAX });
    }
    Ok(())
}

/// The feature level of what follows an entry, if it sets one.
fn level_of(entry: &Entry) -> u32 {
    match &entry.payload {
        Payload::Membership(membership) => membership.level,
        Payload::Blank | Payload::Command(_) => 0,
    }
}
