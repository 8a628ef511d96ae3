//! The core's records in a write-ahead log, and the entries back out of it.

use crate::node::PlantedBug;
use bytes::Bytes;
use paxos::codec::{decode_record, encode_record};
use paxos::{Ballot, Base, Durable, Entry, Membership, Payload, Record, Slot};
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

impl JournalError {
    /// Whether what was durable is damaged or gone.
    pub fn is_damage(&self) -> bool {
        match self {
            JournalError::Log(error) => matches!(
                error,
                wal::Error::Corrupt { .. }
                    | wal::Error::Missing
                    | wal::Error::WrongLog { .. }
                    | wal::Error::Rejected { .. }
                    | wal::Error::NoRecord { .. }
            ),
            JournalError::Record { .. } | JournalError::NoEntry { .. } => true,
        }
    }
}

/// What the records of a log say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The highest promise.
    pub promised: Ballot,
    /// The highest slot known to be decided.
    pub decided: Slot,
    /// The last slot that holds an entry, or that a snapshot stands for.
    pub last: Slot,
    /// The entries up to this slot are not in the log: a snapshot stands for them.
    pub floor: Slot,
}

/// The log of one node: the core's records, and where the latest entry of each slot is.
///
/// Invariants:
/// 1. `positions[i]` is where the latest record of slot `floor + 1 + i` is; slots have no gaps.
/// 2. `memberships` has exactly the slots after `floor` whose latest entry is a membership.
/// 3. Before a segment is cut, a base that says all that is needed of it is durable behind it: the promise,
///    and the decided membership at `floor`.
pub struct Journal<D: Disk> {
    log: Log<D>,
    index: Index,
    scratch: Vec<u8>,
    planted: Option<PlantedBug>,
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
        let opened =
            Log::open(disk, options, |position, bytes| index.add(position, bytes).map(drop));
        let (log, recovery) = opened?;
        index.finish()?;
        let (promised, decided) = (index.promised, index.decided);
        let recovered = Recovered { promised, decided, last: index.last(), floor: index.floor };
        Ok((Journal { log, index, scratch: Vec::new(), planted: None }, recovered, recovery))
    }

    /// Writes the first entry of a new group: its founder takes part, alone. Durable on return.
    ///
    /// # Errors
    /// [`JournalError::Log`].
    ///
    /// # Panics
    /// If the log is not empty.
    pub fn found(&mut self, ballot: Ballot, membership: Membership) -> Result<(), JournalError> {
        assert!(self.index.last() == Slot::ZERO, "a group is founded once");
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
            (self.index.note(position, record))
                .unwrap_or_else(|reason| panic!("the core accepts without gaps: {reason}"));
        }
        Ok(())
    }

    /// Lets go of the entries up to `upto`, whose effects are durable elsewhere: writes what is needed of them,
    /// makes that durable, and then frees the segments that nothing needs any more.
    ///
    /// # Errors
    /// [`JournalError::Log`].
    ///
    /// # Panics
    /// If a slot up to `upto` is not decided.
    pub fn cut(&mut self, upto: Slot) -> Result<(), JournalError> {
        assert!(upto <= self.index.last(), "only what is there is cut");
        if upto <= self.index.floor {
            return Ok(());
        }
        let base = Base {
            slot: upto,
            promised: match self.planted {
                Some(PlantedBug::BaseWithoutPromise) => Ballot::ZERO,
                _ => self.index.promised,
            },
            membership: self.index.membership_at(upto),
        };
        self.append(&[Record::Base(base)])?;
        self.flush()?;
        let needed = self.index.positions.iter().copied().chain([self.index.base_position]).min();
        if let Some(needed) = needed {
            self.log.cut_before(Position::from_u64(needed))?;
        }
        Ok(())
    }

    /// The last slot that holds an entry, or that a snapshot stands for.
    pub fn last(&self) -> Slot {
        self.index.last()
    }

    /// Leaves out a safety line, for a test that must notice it.
    pub fn plant(&mut self, bug: PlantedBug) {
        self.planted = Some(bug);
    }

    /// The entries up to this slot are not in the log.
    pub fn floor(&self) -> Slot {
        self.index.floor
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
        let entries = self.entries(decided.next(), self.index.last(), usize::MAX)?;
        let membership = self.index.membership_at(decided);
        Ok(Durable { promised, decided, floor: self.index.floor, membership, entries })
    }

    /// The last membership that these records tell to be decided, and its slot.
    pub fn membership(&self) -> (Slot, Membership) {
        self.index.membership_at(self.index.decided)
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
        let packed = self.index.position(slot).ok_or(JournalError::NoEntry { slot })?;
        let position = Position::from_u64(packed);
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

/// Most slots without a record in the remains of a cut log, before the base that tells which were cut.
const GAP_SLOTS_MAX: u64 = 1 << 24;

/// Where everything is.
#[derive(Default)]
pub(crate) struct Index {
    /// A snapshot stands for the slots up to here.
    pub(crate) floor: Slot,
    /// The membership that governs after `floor`, and its slot.
    membership: (Slot, Membership),
    /// Where the last base is.
    base_position: u64,
    /// The slot of `positions[0]`: the one after `floor`, but while the remains of a cut log are read and its
    /// base is still to come.
    first: Slot,
    /// 0: not met yet, in the remains of a cut log.
    positions: VecDeque<u64>,
    memberships: BTreeMap<Slot, Membership>,
    pub(crate) promised: Ballot,
    pub(crate) decided: Slot,
    /// The log is being read and begins in the middle. A base that says what stood before is still to come: the
    /// last one, for earlier ones may be in what is left of the log, and entries between the two be gone.
    is_headless: bool,
}

impl Index {
    pub(crate) fn last(&self) -> Slot {
        match self.positions.len() as u64 {
            0 => self.floor,
            count => Slot(self.first.0 + count - 1),
        }
    }

    fn position(&self, slot: Slot) -> Option<u64> {
        let index = slot.0.checked_sub(self.first.0)?;
        self.positions.get(usize::try_from(index).ok()?).copied()
    }

    /// The membership that governs after `slot`, and its own slot.
    pub(crate) fn membership_at(&self, slot: Slot) -> (Slot, Membership) {
        match self.memberships.range(..=slot).next_back() {
            Some((slot, membership)) => (*slot, membership.clone()),
            None => self.membership.clone(),
        }
    }

    pub(crate) fn add(&mut self, position: Position, bytes: &[u8]) -> Result<Record, String> {
        let record = decode_record(Bytes::copy_from_slice(bytes)).map_err(|e| e.to_string())?;
        const FIRST_SEGMENT: u32 = 1;
        if self.is_empty() && position.segment > FIRST_SEGMENT {
            self.is_headless = true;
        }
        self.note(position, &record)?;
        Ok(record)
    }

    fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.base_position == 0
    }

    fn note(&mut self, position: Position, record: &Record) -> Result<(), String> {
        match record {
            Record::Promise(ballot) => self.promised = self.promised.max(*ballot),
            Record::Accept(slot, entry) => self.note_entry(position, *slot, entry)?,
            Record::Decided(slot) => {
                if *slot > self.last() && !self.is_headless {
                    return Err(format!("decides slot {slot}, which has no entry"));
                }
                self.decided = self.decided.max(*slot);
            }
            Record::Base(base) => self.note_base(position, base),
        }
        Ok(())
    }

    fn note_entry(&mut self, position: Position, slot: Slot, entry: &Entry) -> Result<(), String> {
        if slot == Slot::ZERO {
            return Err("is for slot 0".into());
        }
        if slot <= self.floor {
            return Ok(());
        }
        if self.positions.is_empty() {
            if slot > self.floor.next() && !self.is_headless {
                return Err(format!("leaves a gap before slot {slot}"));
            }
            self.first = slot;
        }
        // The remains of a cut log hold some records of slots that others, cut, stood beside.
        let gap = slot.0.saturating_sub(self.last().0 + 1).max(self.first.0.saturating_sub(slot.0));
        if gap > 0 && (!self.is_headless || gap > GAP_SLOTS_MAX) {
            return Err(format!("leaves a gap before slot {slot}"));
        }
        while slot < self.first {
            self.positions.push_front(0);
            self.first = self.first.previous();
        }
        while slot > self.last().next() {
            self.positions.push_back(0);
        }
        let index = (slot.0 - self.first.0) as usize;
        if index == self.positions.len() {
            self.positions.push_back(position.to_u64());
        } else {
            self.positions[index] = position.to_u64();
        }
        match &entry.payload {
            Payload::Membership(membership) => self.memberships.insert(slot, membership.clone()),
            _ => self.memberships.remove(&slot),
        };
        Ok(())
    }

    fn note_base(&mut self, position: Position, base: &Base) {
        self.promised = self.promised.max(base.promised);
        self.base_position = position.to_u64();
        if base.slot < self.floor {
            return;
        }
        self.floor = base.slot;
        self.membership = base.membership.clone();
        self.decided = self.decided.max(base.slot);
        while !self.positions.is_empty() && self.first <= base.slot {
            self.positions.pop_front();
            self.first = self.first.next();
        }
        if self.positions.is_empty() {
            self.first = base.slot.next();
        }
        self.memberships = self.memberships.split_off(&base.slot.next());
    }

    /// All is read: checks that it makes a whole.
    pub(crate) fn finish(&mut self) -> Result<(), JournalError> {
        let begins = self.positions.is_empty() || self.first == self.floor.next();
        let lacks_base = self.is_headless && self.base_position == 0;
        if lacks_base || !begins || self.decided > self.last() {
            return Err(JournalError::NoEntry { slot: self.floor.next() });
        }
        self.is_headless = false;
        match self.positions.iter().position(|packed| *packed == 0) {
            Some(index) => Err(JournalError::NoEntry { slot: Slot(self.first.0 + index as u64) }),
            None => Ok(()),
        }
    }
}
