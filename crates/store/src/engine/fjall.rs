//! The engine on disk: fjall, one keyspace (see `docs/decisions/0002-engine.md`).

use super::{Batch, Direction, Engine, EngineError, Row, Rows, Snapshots, View, journal};
use bytes::Bytes;
use fjall::config::RestartIntervalPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// All rows live in one keyspace: several would be flushed one by one, and after a power loss one
/// could be ahead of another.
const KEYSPACE: &str = "store";

/// Written to see whether there is room, and removed.
const PROBE_FILE: &str = "probe";
/// The size of a memtable and what comes with it as a table.
const PROBE_BYTES: usize = 64 << 20;

/// Rows of a block from one key that is written in full to the next: those between are read one by one, which is
/// what looking up a row costs most.
const RESTART_INTERVAL: u8 = 4;

/// How much memory and disk the engine may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FjallOptions {
    /// Blocks kept in memory.
    pub cache_bytes: u64,
    /// Size at which rows in memory are written out as a table; up to four times as much may wait.
    pub memtable_bytes: u64,
    /// Size of all journals at which tables are written out ahead of time; at least 64 MiB.
    pub journal_bytes_max: u64,
    /// Files held open.
    pub open_files_max: usize,
}

impl Default for FjallOptions {
    fn default() -> FjallOptions {
        FjallOptions {
            cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            journal_bytes_max: 128 << 20,
            open_files_max: 256,
        }
    }
}

/// An engine in a folder.
pub struct FjallEngine {
    snapshots: FjallSnapshots,
    folder: PathBuf,
}

impl FjallEngine {
    /// Opens the engine in `folder`, making it if it is not there.
    ///
    /// # Errors
    /// If the folder cannot be used, another process holds it, or its content is damaged.
    pub fn open(folder: &Path, options: FjallOptions) -> Result<FjallEngine, EngineError> {
        journal::check(folder)?;
        let error = |error| engine_error(folder, "open", &error);
        let database = Database::builder(folder)
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes_max.max(64 << 20))
            .max_cached_files(Some(options.open_files_max.max(16)))
            .worker_threads(1)
            .open()
            .map_err(error)?;
        let settings = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(options.memtable_bytes)
                .data_block_restart_interval_policy(RestartIntervalPolicy::all(RESTART_INTERVAL))
                .manual_journal_persist(false)
        };
        let keyspace = database.keyspace(KEYSPACE, settings).map_err(error)?;
        let snapshots = FjallSnapshots { database, keyspace };
        Ok(FjallEngine { snapshots, folder: folder.to_owned() })
    }

    /// Lets the disk take what was committed so far to the engine in `folder`, from another thread than that
    /// which commits. It promises nothing: [`Engine::persist`] does, and has little left to do then. The
    /// engine syncs its journal, then and when it begins another, with all commits waiting; what has gathered
    /// by then is how long they wait.
    ///
    /// # Errors
    /// Trouble of the disk: the engine must not be used any more. A folder that goes away meanwhile is none.
    pub fn sync_ahead(folder: &Path) -> Result<(), EngineError> {
        journal::sync_newest(folder)
    }

    /// Bytes taken on disk, journals included.
    ///
    /// # Errors
    /// If the folder cannot be looked at.
    pub fn disk_bytes(&self) -> Result<u64, EngineError> {
        let database = &self.snapshots.database;
        database.disk_space().map_err(|error| engine_error(&self.folder, "measure", &error))
    }
}

fn engine_error(folder: &Path, step: &str, error: &fjall::Error) -> EngineError {
    let text = format!("{step} {}: {}", folder.display(), describe(error));
    match error {
        fjall::Error::Locked => EngineError::Io(text),
        fjall::Error::Poisoned if is_full(folder) => EngineError::NoSpace(text),
        fjall::Error::Poisoned => EngineError::Io(text),
        fjall::Error::Io(error) => classify(text, error),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => classify(text, error),
        _ => EngineError::Damaged(text),
    }
}

/// A file that is too short, or not there, is no trouble of the system but damage.
fn classify(text: String, error: &io::Error) -> EngineError {
    match error.kind() {
        ErrorKind::UnexpectedEof
        | ErrorKind::InvalidData
        | ErrorKind::InvalidInput
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists => EngineError::Damaged(text),
        _ => super::by_kind(text, error),
    }
}

/// Whether there is no room for one more table: when a write behind the scenes has failed, fjall
/// does not keep the reason.
fn is_full(folder: &Path) -> bool {
    let path = folder.join(PROBE_FILE);
    let written = std::fs::write(&path, vec![0x55; PROBE_BYTES]);
    let _ = std::fs::remove_file(&path);
    written.is_err_and(|error| {
        matches!(super::by_kind(String::new(), &error), EngineError::NoSpace(_))
    })
}

fn describe(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Locked => "another process holds this folder; stop it first".to_owned(),
        fjall::Error::Poisoned => "an earlier write failed, see the log; check the disk and \
                                   restart the node"
            .to_owned(),
        fjall::Error::Io(error) => error.to_string(),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
        fjall::Error::Storage(error) => format!("{error:?}"),
        error => format!("{error:?}"),
    }
}

fn read_error(error: &fjall::Error) -> EngineError {
    engine_error(Path::new("rows"), "read", error)
}

impl Engine for FjallEngine {
    type Snapshots = FjallSnapshots;

    fn snapshots(&self) -> FjallSnapshots {
        self.snapshots.clone()
    }

    fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        let FjallSnapshots { database, keyspace } = &self.snapshots;
        // `Buffer` hands the batch to the operating system: a killed process loses nothing.
        let mut changes = database.batch().durability(Some(PersistMode::Buffer));
        for (key, value) in batch.changes {
            match value {
                Some(value) => changes.insert(keyspace, Slice::from(key), Slice::from(value)),
                None => changes.remove(keyspace, Slice::from(key)),
            }
        }
        changes.commit().map_err(|error| engine_error(&self.folder, "write to", &error))
    }

    fn ingest(&mut self, rows: impl Iterator<Item = Row>) -> Result<(), EngineError> {
        let error = |error| engine_error(&self.folder, "write to", &error);
        // Rows go straight into tables, which are synced one by one; `finish` first writes out the
        // rows in memory, and then names all tables in the manifest, durably.
        let mut ingestion = self.snapshots.keyspace.start_ingestion().map_err(error)?;
        for (key, value) in rows {
            ingestion.write(Slice::from(key), Slice::from(value)).map_err(error)?;
        }
        ingestion.finish().map_err(error)
    }

    fn persist(&mut self) -> Result<(), EngineError> {
        let database = &self.snapshots.database;
        database
            .persist(PersistMode::SyncAll)
            .map_err(|error| engine_error(&self.folder, "sync", &error))
    }
}

/// Takes views of a [`FjallEngine`].
#[derive(Clone)]
pub struct FjallSnapshots {
    database: Database,
    keyspace: Keyspace,
}

impl Snapshots for FjallSnapshots {
    type View = FjallView;

    fn view(&self) -> FjallView {
        FjallView { snapshot: self.database.snapshot(), keyspace: self.keyspace.clone() }
    }
}

/// The rows of a [`FjallEngine`] at one moment. While it lives, what it sees is kept on disk.
#[derive(Clone)]
pub struct FjallView {
    snapshot: fjall::Snapshot,
    keyspace: Keyspace,
}

impl View for FjallView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.snapshot.get(&self.keyspace, key).map_err(|error| read_error(&error))?;
        Ok(value.map(Bytes::from))
    }

    fn range(&self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'_> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let rows = self.snapshot.range(&self.keyspace, from..to);
        let read = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(|error| read_error(&error))?;
            Ok((Bytes::from(key), Bytes::from(value)))
        };
        match direction {
            Direction::Forward => Box::new(rows.map(read)),
            Direction::Backward => Box::new(rows.rev().map(read)),
        }
    }
}
