//! An engine in memory whose crashes are exact: the simulator's disk.

use super::{Batch, Direction, Engine, EngineError, Row, Rows, Snapshots, View};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

type Map = BTreeMap<Vec<u8>, Bytes>;

/// What survives a crash of a [`MemoryEngine`]; clones are handles to the same disk.
///
/// Each committed batch stays undoable until it is persisted, so whoever runs for long must
/// persist now and then.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<DiskState>>,
}

#[derive(Debug, Default)]
struct DiskState {
    /// Shared with the views that are alive; copied by the next commit only if there is one.
    rows: Arc<Map>,
    /// For each batch that is not persisted, oldest first, the rows as they were before it.
    unpersisted: VecDeque<Vec<(Vec<u8>, Option<Bytes>)>>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// An engine over this disk. As with a folder, only one should be in use at a time.
    pub fn engine(&self) -> MemoryEngine {
        MemoryEngine { disk: self.clone() }
    }

    /// How many batches a crash could lose.
    pub fn unpersisted_batches(&self) -> usize {
        self.state().unpersisted.len()
    }

    /// Loses the last `lost_batches` batches that were not persisted (all of them, if there are
    /// fewer) and makes what is left durable, as a restart after a crash does.
    pub fn crash(&self, lost_batches: usize) {
        let mut state = self.state();
        for _ in 0..lost_batches {
            let Some(before) = state.unpersisted.pop_back() else { break };
            let rows = Arc::make_mut(&mut state.rows);
            for (key, value) in before.into_iter().rev() {
                set(rows, key, value);
            }
        }
        state.unpersisted.clear();
    }

    /// A copy of the disk as it is now, unpersisted batches included.
    pub fn fork(&self) -> MemoryDisk {
        let state = self.state();
        let copy =
            DiskState { rows: Arc::clone(&state.rows), unpersisted: state.unpersisted.clone() };
        MemoryDisk { state: Arc::new(Mutex::new(copy)) }
    }

    /// Flips one bit of the value of the `index`th row (counted round), as a bad disk would.
    /// Answers whether there was a row with a value.
    pub fn flip_bit(&self, index: usize, bit: usize) -> bool {
        let mut state = self.state();
        let rows = Arc::make_mut(&mut state.rows);
        let count = rows.len().max(1);
        match rows.values_mut().nth(index % count) {
            Some(value) if !value.is_empty() => {
                let mut bytes = value.to_vec();
                let position = (bit / 8) % bytes.len();
                bytes[position] ^= 1 << (bit % 8);
                *value = Bytes::from(bytes);
                true
            }
            _ => false,
        }
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        // A panic elsewhere leaves the map whole: every change to it is finished under the lock.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn set(rows: &mut Map, key: Vec<u8>, value: Option<Bytes>) -> Option<Bytes> {
    match value {
        Some(value) => rows.insert(key, value),
        None => rows.remove(&key),
    }
}

/// An engine in memory over a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryEngine {
    disk: MemoryDisk,
}

impl Engine for MemoryEngine {
    type Snapshots = MemorySnapshots;

    fn snapshots(&self) -> MemorySnapshots {
        MemorySnapshots { disk: self.disk.clone() }
    }

    fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        let mut state = self.disk.state();
        let rows = Arc::make_mut(&mut state.rows);
        let mut before = Vec::new();
        for (key, value) in batch.changes {
            let old = set(rows, key.clone(), value);
            before.push((key, old));
        }
        state.unpersisted.push_back(before);
        Ok(())
    }

    fn ingest(&mut self, rows: impl Iterator<Item = Row>) -> Result<(), EngineError> {
        let changes = rows.map(|(key, value)| (key.to_vec(), Some(value))).collect();
        self.commit(Batch { changes })
    }

    fn persist(&mut self) -> Result<(), EngineError> {
        self.disk.state().unpersisted.clear();
        Ok(())
    }
}

/// Takes views of a [`MemoryEngine`].
#[derive(Clone, Debug)]
pub struct MemorySnapshots {
    disk: MemoryDisk,
}

impl Snapshots for MemorySnapshots {
    type View = MemoryView;

    fn view(&self) -> MemoryView {
        MemoryView { rows: Arc::clone(&self.disk.state().rows) }
    }
}

/// The rows of a [`MemoryEngine`] at one moment.
#[derive(Clone, Debug)]
pub struct MemoryView {
    rows: Arc<Map>,
}

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.rows.get(key).cloned())
    }

    fn range(&self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'_> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let rows = self
            .rows
            .range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)))
            .map(|(key, value)| Ok((Bytes::copy_from_slice(key), value.clone())));
        match direction {
            Direction::Forward => Box::new(rows),
            Direction::Backward => Box::new(rows.rev()),
        }
    }
}
