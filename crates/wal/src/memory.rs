//! [`MemoryDisk`]: a [`Disk`] in memory that crashes, tears, loses, flips and fails on demand.
//!
//! Deterministic: the same calls and seeds give the same bytes. It keeps apart what a program sees and what
//! would survive a power loss: for every sector written since the last sync it remembers the durable bytes, and
//! for the folder the durable names and the changes since. A failed sync behaves as on Linux: the sectors count as clean
//! afterwards, so a later sync reports success without them (only writing them again helps).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskFile};

/// The unit in which data survives a crash or does not, in bytes.
pub const SECTOR_BYTES: usize = 512;

type Sector = [u8; SECTOR_BYTES];

const ZEROS: Sector = [0; SECTOR_BYTES];

/// A folder in memory. Clones are handles of the same folder; [`MemoryDisk::fork`] makes an independent copy.
///
/// After [`MemoryDisk::crash`] or [`MemoryDisk::restart`] every older handle and open file answers
/// with an error, as the process that held it is dead.
#[derive(Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
    epoch: u64,
}

/// An open file of a [`MemoryDisk`].
pub struct MemoryFile {
    state: Arc<Mutex<State>>,
    epoch: u64,
    id: u64,
}

/// What a [`MemoryDisk`] was asked so far.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Writes, length changes, syncs and name changes: all that the index of a fault counts.
    pub operations: u64,
    /// Calls of `write_at`.
    pub writes: u64,
    /// Bytes given to `write_at`.
    pub bytes_written: u64,
    /// Calls of `sync_data`.
    pub syncs: u64,
    /// Calls of `sync_folder`.
    pub folder_syncs: u64,
}

/// The kinds of operation that are counted.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Operation {
    Write,
    SetLen,
    Sync,
    Names,
    SyncFolder,
}

#[derive(Clone, Default)]
struct State {
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    name_changes: Vec<NameChange>,
    files: BTreeMap<u64, FileState>,
    file_id_next: u64,
    epoch: u64,
    counts: Counts,
    faults: BTreeMap<u64, io::ErrorKind>,
    halt_at: Option<u64>,
    halted: bool,
    capacity_bytes: Option<u64>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

/// A file: what is seen of it, and what would be left of it.
#[derive(Clone, Default)]
struct FileState {
    /// The bytes seen; everything behind its end up to `bytes_len` is zero.
    data: Vec<u8>,
    bytes_len: u64,
    durable_len: u64,
    /// Durable bytes of the sectors written since the last sync.
    unsynced: BTreeMap<u64, Box<Sector>>,
    /// Durable bytes of the sectors that a failed sync gave up on.
    abandoned: BTreeMap<u64, Box<Sector>>,
}

impl Default for MemoryDisk {
    fn default() -> MemoryDisk {
        MemoryDisk::new()
    }
}

impl MemoryDisk {
    /// An empty folder.
    pub fn new() -> MemoryDisk {
        MemoryDisk { state: Arc::default(), epoch: 0 }
    }

    /// An independent copy of the folder with all its faults and unsynced data.
    pub fn fork(&self) -> MemoryDisk {
        MemoryDisk { state: Arc::new(Mutex::new(lock(&self.state).clone())), epoch: self.epoch }
    }

    /// The power fails: of all that is not synced, any part survives, chosen by `seed`; one sector may be torn in the
    /// middle. Only this handle is good afterwards. Faults still ahead are forgotten.
    pub fn crash(&mut self, seed: u64) {
        let mut random = Random(seed);
        let state = &mut *lock(&self.state);
        let survival = Survival::choose(&mut random);
        for change in std::mem::take(&mut state.name_changes) {
            if survival.survives(&mut random) {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
        for file in state.files.values_mut() {
            file.crash(survival, &mut random);
        }
        state.forget_unnamed_files();
        state.begin_epoch(&mut self.epoch);
    }

    /// The process is killed, the machine goes on: nothing is lost, and nothing becomes durable.
    /// Only this handle is good afterwards. Faults still ahead are forgotten.
    pub fn restart(&mut self) {
        lock(&self.state).begin_epoch(&mut self.epoch);
    }

    /// From operation number `operation` on (see [`Counts::operations`]) nothing is carried out any more, as if the
    /// machine had died just before it; to be followed by [`MemoryDisk::crash`].
    pub fn halt_at(&self, operation: u64) {
        lock(&self.state).halt_at = Some(operation);
    }

    /// Whether an operation was refused because of [`MemoryDisk::halt_at`].
    pub fn is_halted(&self) -> bool {
        lock(&self.state).halted
    }

    /// Lets operation number `operation` fail with `kind`, once. A failing write writes its first half; a failing
    /// `sync_data` gives its sectors up; a failing name change does nothing.
    pub fn fail_at(&self, operation: u64, kind: io::ErrorKind) {
        lock(&self.state).faults.insert(operation, kind);
    }

    /// Limits the lengths of all files together, in bytes; writes beyond fail with `StorageFull`.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        lock(&self.state).capacity_bytes = capacity_bytes;
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    /// Flips one bit of a file, in what is seen and in what is durable.
    ///
    /// # Panics
    /// If there is no such file or it is not that long.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) {
        let state = &mut *lock(&self.state);
        let id = state.names[name];
        let file = state.files.get_mut(&id).expect("a name belongs to a file");
        assert!(offset < file.bytes_len, "{name} has no byte {offset}");
        file.grow_data(offset as usize + 1);
        file.data[offset as usize] ^= 1 << bit;
        let (sector, within) = (offset / SECTOR_BYTES as u64, offset as usize % SECTOR_BYTES);
        for old in [&mut file.unsynced, &mut file.abandoned] {
            if let Some(old) = old.get_mut(&sector) {
                old[within] ^= 1 << bit;
            }
        }
    }

    /// All bytes of a file as they are seen.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = lock(&self.state);
        let file = &state.files[&state.names[name]];
        let mut bytes = file.data.clone();
        bytes.resize(file.bytes_len as usize, 0);
        bytes
    }

    /// Puts a file there, durable, replacing one of the same name.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let state = &mut *lock(&self.state);
        let id = state.new_file();
        let file = state.files.get_mut(&id).expect("just made");
        file.data = bytes.to_vec();
        file.bytes_len = bytes.len() as u64;
        file.durable_len = file.bytes_len;
        state.names.insert(name.to_owned(), id);
        state.durable_names.insert(name.to_owned(), id);
    }

    /// Takes a file away, durably.
    pub fn take_away(&self, name: &str) {
        let state = &mut *lock(&self.state);
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    fn change_names(
        &self,
        change: impl FnOnce(&mut State) -> io::Result<NameChange>,
    ) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.begin(self.epoch, Operation::Names)?;
        let change = change(state)?;
        change.apply(&mut state.names);
        state.name_changes.push(change);
        Ok(())
    }

    fn file(&self, id: u64) -> MemoryFile {
        MemoryFile { state: Arc::clone(&self.state), epoch: self.epoch, id }
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let state = lock(&self.state);
        state.check_alive(self.epoch)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let state = lock(&self.state);
        state.check_alive(self.epoch)?;
        match state.names.get(name) {
            Some(&id) => Ok(self.file(id)),
            None => Err(not_found(name)),
        }
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut created = 0;
        self.change_names(|state| {
            if state.names.contains_key(name) {
                let message = format!("{name} is already there");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            created = state.new_file();
            Ok(NameChange::Create(name.to_owned(), created))
        })?;
        Ok(self.file(created))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_names(|state| match state.names.contains_key(from) {
            true => Ok(NameChange::Rename(from.to_owned(), to.to_owned())),
            false => Err(not_found(from)),
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change_names(|state| match state.names.contains_key(name) {
            true => Ok(NameChange::Remove(name.to_owned())),
            false => Err(not_found(name)),
        })
    }

    fn sync_folder(&self) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.counts.folder_syncs += 1;
        state.begin(self.epoch, Operation::SyncFolder)?;
        state.name_changes.clear();
        state.durable_names = state.names.clone();
        state.forget_unnamed_files();
        Ok(())
    }
}

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *lock(&self.state);
        state.check_alive(self.epoch)?;
        if !state.files.contains_key(&self.id) {
            return Err(not_found("the file, which was removed,"));
        }
        act(state, self.id)
    }
}

impl DiskFile for MemoryFile {
    fn bytes_len(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(state.files[&id].bytes_len))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|state, id| Ok(state.files[&id].read(offset, buffer)))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|state, id| {
            state.counts.writes += 1;
            state.counts.bytes_written += data.len() as u64;
            let begun = state.begin(self.epoch, Operation::Write);
            if state.halted {
                return begun;
            }
            let written = match &begun {
                Ok(()) => data,
                Err(_) => &data[..data.len() / 2],
            };
            state.check_capacity(id, offset + written.len() as u64)?;
            let file = state.files.get_mut(&id).expect("looked up before");
            file.write(offset, written);
            begun
        })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.with(|state, id| {
            state.begin(self.epoch, Operation::SetLen)?;
            state.check_capacity(id, bytes)?;
            let file = state.files.get_mut(&id).expect("looked up before");
            file.set_len(bytes);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state, id| {
            state.counts.syncs += 1;
            let begun = state.begin(self.epoch, Operation::Sync);
            if state.halted {
                return begun;
            }
            let file = state.files.get_mut(&id).expect("looked up before");
            match begun {
                Ok(()) => file.sync(),
                Err(_) => file.fail_sync(),
            }
            begun
        })
    }
}

impl State {
    fn check_alive(&self, epoch: u64) -> io::Result<()> {
        if self.halted || epoch != self.epoch {
            return Err(io::Error::other("the machine has crashed"));
        }
        Ok(())
    }

    /// Counts an operation and answers its planned fault.
    fn begin(&mut self, epoch: u64, operation: Operation) -> io::Result<()> {
        self.check_alive(epoch)?;
        let index = self.counts.operations;
        if self.halt_at.is_some_and(|halt_at| index >= halt_at) {
            self.halted = true;
        }
        self.check_alive(epoch)?;
        self.counts.operations += 1;
        match self.faults.remove(&index) {
            Some(kind) => Err(io::Error::new(
                kind,
                format!("injected fault at operation {index} ({operation:?})"),
            )),
            None => Ok(()),
        }
    }

    fn begin_epoch(&mut self, epoch: &mut u64) {
        self.epoch += 1;
        *epoch = self.epoch;
        self.halted = false;
        self.halt_at = None;
        self.faults.clear();
    }

    fn new_file(&mut self) -> u64 {
        self.file_id_next += 1;
        self.files.insert(self.file_id_next, FileState::default());
        self.file_id_next
    }

    fn check_capacity(&self, id: u64, bytes_len: u64) -> io::Result<()> {
        let Some(capacity_bytes) = self.capacity_bytes else {
            return Ok(());
        };
        let other =
            |(&other, file): (&u64, &FileState)| if other == id { 0 } else { file.bytes_len };
        let others: u64 = self.files.iter().map(other).sum();
        let grows = bytes_len > self.files[&id].bytes_len;
        if grows && others + bytes_len > capacity_bytes {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"));
        }
        Ok(())
    }

    fn forget_unnamed_files(&mut self) {
        let (names, durable_names) = (&self.names, &self.durable_names);
        self.files.retain(|id, _| {
            names.values().any(|named| named == id)
                || durable_names.values().any(|named| named == id)
        });
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            NameChange::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl FileState {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let count = self.bytes_len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let stored = self.data.get(offset as usize..).unwrap_or_default();
        let stored = &stored[..stored.len().min(count)];
        buffer[..stored.len()].copy_from_slice(stored);
        buffer[stored.len()..count].fill(0);
        count
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        self.bytes_len = self.bytes_len.max(offset + data.len() as u64);
        let mut done = 0;
        while done < data.len() {
            let at = offset as usize + done;
            let count = (SECTOR_BYTES - at % SECTOR_BYTES).min(data.len() - done);
            self.write_in_sector(at, &data[done..done + count]);
            done += count;
        }
    }

    fn write_in_sector(&mut self, at: usize, data: &[u8]) {
        if at >= self.data.len() && *data == ZEROS[..data.len()] {
            return;
        }
        let index = (at / SECTOR_BYTES) as u64;
        self.grow_data((index as usize + 1) * SECTOR_BYTES);
        if let Some(old) = self.abandoned.remove(&index) {
            self.unsynced.entry(index).or_insert(old);
        }
        if self.data[at..at + data.len()] != *data {
            if !self.unsynced.contains_key(&index) {
                self.unsynced.insert(index, self.sector(index));
            }
            self.data[at..at + data.len()].copy_from_slice(data);
        }
    }

    fn set_len(&mut self, bytes: u64) {
        let from = (bytes as usize).min(self.data.len());
        let zeros = vec![0; self.data.len() - from];
        self.write(from as u64, &zeros);
        self.bytes_len = bytes;
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_len = self.bytes_len;
    }

    fn fail_sync(&mut self) {
        for (index, old) in std::mem::take(&mut self.unsynced) {
            self.abandoned.entry(index).or_insert(old);
        }
    }

    fn crash(&mut self, survival: Survival, random: &mut Random) {
        let mut pending = std::mem::take(&mut self.abandoned);
        // A sector in both was given up first and written again later: the older bytes are the durable ones.
        for (index, old) in std::mem::take(&mut self.unsynced) {
            pending.entry(index).or_insert(old);
        }
        let torn = match survival {
            Survival::Some { .. } if !pending.is_empty() => random.below(2 * pending.len() as u64),
            _ => u64::MAX,
        };
        for (number, (index, old)) in pending.into_iter().enumerate() {
            let begin = index as usize * SECTOR_BYTES;
            let kept = if number as u64 == torn {
                random.below(SECTOR_BYTES as u64) as usize
            } else if survival.survives(random) {
                SECTOR_BYTES
            } else {
                0
            };
            self.data[begin + kept..begin + SECTOR_BYTES].copy_from_slice(&old[kept..]);
        }
        if self.bytes_len != self.durable_len && !survival.survives(random) {
            self.bytes_len = self.durable_len;
            let end = self.data.len().min(self.bytes_len as usize);
            self.data[end..].fill(0);
        }
        self.durable_len = self.bytes_len;
    }

    fn sector(&self, index: u64) -> Box<Sector> {
        let begin = index as usize * SECTOR_BYTES;
        let sector: &Sector =
            self.data[begin..begin + SECTOR_BYTES].try_into().expect("data holds whole sectors");
        Box::new(*sector)
    }

    fn grow_data(&mut self, bytes: usize) {
        let bytes = bytes.next_multiple_of(SECTOR_BYTES);
        if self.data.len() < bytes {
            self.data.resize(bytes, 0);
        }
    }
}

/// What one crash leaves of the unsynced.
#[derive(Copy, Clone)]
enum Survival {
    Nothing,
    Everything,
    /// Each piece with this many chances out of 8.
    Some {
        chances: u64,
    },
}

impl Survival {
    fn choose(random: &mut Random) -> Survival {
        match random.below(8) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Some { chances: 1 + random.below(7) },
        }
    }

    fn survives(self, random: &mut Random) -> bool {
        match self {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Some { chances } => random.below(8) < chances,
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014): enough randomness for choosing what a crash leaves.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn lock(state: &Arc<Mutex<State>>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there"))
}
