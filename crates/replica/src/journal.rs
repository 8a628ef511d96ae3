//! The core's records in a write-ahead log, and the entries back out of it.

use bytes::Bytes;
use paxos::codec::{decode_record, encode_record};
use paxos::{Ballot, Durable, Entry, Membership, Payload, Record, Slot};
use std::collections::{BTreeMap, VecDeque};
use wal::{Disk, Log, Options, Position, Recovery};

/// Trouble with the log: this node cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The log itself.
    #[error("{0}")]
    Log(#[from] wal::Error),
    /// A record that the log holds intact makes no sense.
    #[error("log: the record at {position:?} {reason}")]
    Record {
        /// Where it is.
        position: Position,
        /// What is wrong with it.
        reason: String,
    },
    /// A slot that should be in the log is not.
    #[error("log: it holds no entry for slot {slot}")]
    NoEntry {
        /// The slot.
        slot: Slot,
    },
}

/// What the records of a log say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The highest promise.
    pub promised: Ballot,
    /// The highest slot known to be decided.
    pub decided: Slot,
    /// The last slot that holds an entry.
    pub last: Slot,
}

/// The log of one node: the core's records, and where the latest entry of each slot is.
///
/// Invariants:
/// 1. `positions[i]` is where the latest record of slot `i + 1` is; slots have no gaps.
/// 2. `memberships` has exactly the slots whose latest entry is a membership.
pub struct Journal<D: Disk> {
    log: Log<D>,
    positions: VecDeque<u64>,
    memberships: BTreeMap<Slot, Membership>,
    scratch: Vec<u8>,
}

impl<D: Disk> Journal<D> {
    /// Opens the log, or makes an empty one, and reads all of it.
    ///
    /// # Errors
    /// [`JournalError`]: damage is named and nothing is changed.
    pub fn open(
        disk: D,
        options: Options,
    ) -> Result<(Journal<D>, Recovered, Recovery), JournalError> {
        let mut index = Index::default();
        let opened = Log::open(disk, options, |position, bytes| index.add(position, bytes));
        let (log, recovery) = opened?;
        let Index { positions, memberships, promised, decided } = index;
        let last = Slot(positions.len() as u64);
        let recovered = Recovered { promised, decided, last };
        Ok((Journal { log, positions, memberships, scratch: Vec::new() }, recovered, recovery))
    }

    /// Writes the first entry of a new group: its founder takes part, alone. Durable on return.
    ///
    /// # Errors
    /// [`JournalError::Log`].
    ///
    /// # Panics
    /// If the log is not empty.
    pub fn found(&mut self, ballot: Ballot, membership: Membership) -> Result<(), JournalError> {
        assert!(self.positions.is_empty(), "a group is founded once");
        let entry = Entry { ballot, payload: Payload::Membership(membership) };
        let first = Slot(1);
        self.append(&[
            Record::Promise(ballot),
            Record::Accept(first, entry),
            Record::Decided(first),
        ])?;
        self.flush()
    }

    /// Adds records; durable after [`Journal::flush`].
    ///
    /// # Errors
    /// [`JournalError::Log`].
    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        for record in records {
            self.scratch.clear();
            encode_record(record, &mut self.scratch);
            let position = self.log.append(&self.scratch)?;
            if let Record::Accept(slot, entry) = record {
                note(&mut self.positions, &mut self.memberships, *slot, entry, position)
                    .unwrap_or_else(|reason| panic!("the core accepts without gaps: {reason}"));
            }
        }
        Ok(())
    }

    /// Makes everything added so far durable.
    ///
    /// # Errors
    /// [`JournalError::Log`]; after a failed sync the log stays closed for writing.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        Ok(self.log.flush()?)
    }

    /// The entries `from ..= upto`, cut short at `bytes_max` but never empty if `from` is there.
    ///
    /// # Errors
    /// [`JournalError::NoEntry`], [`JournalError::Log`] (damage), [`JournalError::Record`].
    pub fn entries(
        &self,
        from: Slot,
        upto: Slot,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut slot = from;
        while slot <= upto && (entries.is_empty() || bytes < bytes_max) {
            let entry = self.entry(slot)?;
            bytes += entry.payload.cost_bytes();
            entries.push(entry);
            slot = slot.next();
        }
        Ok(entries)
    }

    /// The state to restart the core from, given that every slot up to `decided` is decided.
    ///
    /// # Errors
    /// As [`Journal::entries`].
    pub fn durable(&self, promised: Ballot, decided: Slot) -> Result<Durable, JournalError> {
        let last = Slot(self.positions.len() as u64);
        let entries = self.entries(decided.next(), last, usize::MAX)?;
        let membership = self.memberships.range(..=decided).next_back();
        let membership = membership.map_or_else(Default::default, |(s, m)| (*s, m.clone()));
        Ok(Durable { promised, decided, membership, entries })
    }

    /// The log below, for its figures and its spare segments.
    pub fn log(&self) -> &Log<D> {
        &self.log
    }

    /// The log below, for its spare segments.
    pub fn log_mut(&mut self) -> &mut Log<D> {
        &mut self.log
    }

    fn entry(&self, slot: Slot) -> Result<Entry, JournalError> {
        let index = slot.0.checked_sub(1).and_then(|i| usize::try_from(i).ok());
        let packed =
            index.and_then(|i| self.positions.get(i)).ok_or(JournalError::NoEntry { slot })?;
        let position = Position::from_u64(*packed);
        let bytes = self.log.read(position)?;
        match decode_record(bytes) {
            Ok(Record::Accept(found, entry)) if found == slot => Ok(entry),
            Ok(_) => {
                let reason = format!("should be the entry of slot {slot}");
                Err(JournalError::Record { position, reason })
            }
            Err(error) => Err(JournalError::Record { position, reason: error.to_string() }),
        }
    }
}

#[derive(Default)]
struct Index {
    positions: VecDeque<u64>,
    memberships: BTreeMap<Slot, Membership>,
    promised: Ballot,
    decided: Slot,
}

impl Index {
    fn add(&mut self, position: Position, bytes: &[u8]) -> Result<(), String> {
        let record = decode_record(Bytes::copy_from_slice(bytes)).map_err(|e| e.to_string())?;
        match record {
            Record::Promise(ballot) => self.promised = self.promised.max(ballot),
            Record::Accept(slot, entry) => {
                note(&mut self.positions, &mut self.memberships, slot, &entry, position)?;
            }
            Record::Decided(slot) => {
                if slot.0 > self.positions.len() as u64 {
                    return Err(format!("decides slot {slot}, which has no entry"));
                }
                self.decided = self.decided.max(slot);
            }
        }
        Ok(())
    }
}

fn note(
    positions: &mut VecDeque<u64>,
    memberships: &mut BTreeMap<Slot, Membership>,
    slot: Slot,
    entry: &Entry,
    position: Position,
) -> Result<(), String> {
    let index = slot.0.checked_sub(1).ok_or("is for slot 0")? as usize;
    if index > positions.len() {
        return Err(format!("leaves a gap before slot {slot}"));
    }
    if index == positions.len() {
        positions.push_back(position.to_u64());
    } else {
        positions[index] = position.to_u64();
    }
    match &entry.payload {
        Payload::Membership(membership) => memberships.insert(slot, membership.clone()),
        _ => memberships.remove(&slot),
    };
    Ok(())
}
