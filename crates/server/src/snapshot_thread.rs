//! The snapshot thread: reads chunks of this node's store for others, and takes in a snapshot of another's
//! beside the store.
//!
//! Its queue is bounded: each other node has one question under way, and this node asks for one chunk at a time.

use crate::error::ServerError;
use crate::inbox::{Alarm, Inbox};
use crate::queue::{Queue, Taken};
use crate::readers::SharedReader;
use crate::stores::Stores;
use bytes::Bytes;
use paxos::{NodeId, Slot};
use replica::Imported;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use store::{
    Cursor, Fatal, FjallEngine, FjallOptions, FjallView, Import, ImportError, Snapshot, Store,
};

/// Most views kept at a time; the oldest goes first.
const VIEWS_MAX: usize = 4;

/// What the snapshot thread is asked for.
#[derive(Debug)]
pub(crate) enum SnapshotJob {
    /// As [`replica::Output::ReadSnapshot`].
    Read { to: NodeId, slot: Slot, cursor: Bytes, bytes_max: usize },
    /// As [`replica::Output::DropSnapshot`].
    Drop { slot: Slot },
    /// As [`replica::Output::BeginImport`].
    Begin,
    /// As [`replica::Output::Import`].
    Import { chunk: Bytes },
    /// As [`replica::Output::FinishImport`].
    Finish,
}

/// A store that is ready to take the place of the one in use.
pub(crate) type ReadyStore = Arc<Mutex<Option<Store<FjallEngine>>>>;

pub(crate) struct SnapshotThread {
    pub(crate) reader: SharedReader,
    pub(crate) stores: Arc<Mutex<Stores>>,
    pub(crate) ready: ReadyStore,
    pub(crate) engine_options: FjallOptions,
    pub(crate) path: PathBuf,
    pub(crate) queue: Arc<Queue<SnapshotJob>>,
    pub(crate) inbox: Arc<Inbox>,
}

impl SnapshotThread {
    /// Starts the thread; it ends when its queue is closed.
    ///
    /// # Errors
    /// [`ServerError::Thread`].
    pub(crate) fn spawn(self) -> Result<JoinHandle<()>, ServerError> {
        let start = || {
            let _alarm = Alarm { inbox: Arc::clone(&self.inbox), part: "snapshot" };
            let (inbox, path) = (Arc::clone(&self.inbox), self.path.clone());
            let mut worker = Worker { thread: self, views: BTreeMap::new(), import: None };
            if let Err(source) = worker.run() {
                inbox.fail(ServerError::Store { path, source });
            }
        };
        let spawned = thread::Builder::new().name("mondongo-snapshot".into()).spawn(start);
        spawned.map_err(|source| ServerError::Thread { what: "the snapshot thread", source })
    }
}

struct Worker {
    thread: SnapshotThread,
    /// Views for others, by applied slot.
    views: BTreeMap<Slot, Snapshot<FjallView>>,
    import: Option<(PathBuf, Import<FjallEngine>)>,
}

impl Worker {
    fn run(&mut self) -> Result<(), Fatal> {
        while let Taken::Items(jobs) = self.thread.queue.take(1, None) {
            for job in jobs {
                match job {
                    SnapshotJob::Read { to, slot, cursor, bytes_max } => {
                        self.read(to, slot, &cursor, bytes_max)?;
                    }
                    SnapshotJob::Drop { slot } => drop(self.views.remove(&slot)),
                    SnapshotJob::Begin => self.begin(),
                    SnapshotJob::Import { chunk } => self.import(&chunk),
                    SnapshotJob::Finish => self.finish(),
                }
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        to: NodeId,
        slot: Slot,
        cursor: &[u8],
        bytes_max: usize,
    ) -> Result<(), Fatal> {
        // A view that is gone, or a place that makes no sense: from the start of a new one.
        let known = self.views.get(&slot).zip(Cursor::decode(cursor).ok());
        let chunk = match known {
            Some((view, cursor)) => view.chunk(&cursor, bytes_max)?,
            None => {
                let view = self.thread.reader.lock().snapshot()?;
                let chunk = view.chunk(&Cursor::start(), bytes_max)?;
                let slot = Slot(view.slot());
                tracing::info!(%slot, %to, "sends a snapshot");
                self.views.insert(slot, view);
                if self.views.len() > VIEWS_MAX {
                    self.views.pop_first();
                }
                return self.give(to, slot, chunk);
            }
        };
        self.give(to, slot, chunk)
    }

    fn give(&self, to: NodeId, slot: Slot, chunk: Bytes) -> Result<(), Fatal> {
        self.thread.inbox.put(|mail| mail.snapshot_reads.push((to, slot, chunk)));
        Ok(())
    }

    /// Forgets what was imported. Trouble shows when a chunk comes: the snapshot is then asked for again.
    fn begin(&mut self) {
        self.import = None;
        *self.thread.ready.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let opened = self.place();
        match opened {
            Ok(import) => self.import = Some(import),
            Err(error) => tracing::error!(%error, "cannot get ready for a snapshot"),
        }
    }

    fn place(&self) -> Result<(PathBuf, Import<FjallEngine>), ImportError> {
        let place = {
            let mut stores = self.thread.stores.lock().unwrap_or_else(PoisonError::into_inner);
            stores.begin().map_err(|error| io_fatal(&error))?
        };
        let engine = FjallEngine::open(&place, self.thread.engine_options)?;
        Ok((place, Import::begin(engine)?))
    }

    fn import(&mut self, chunk: &[u8]) {
        let imported = match &mut self.import {
            Some((_, import)) => match import.add(chunk) {
                Ok(progress) => Imported::Chunk {
                    slot: Slot(progress.slot.unwrap_or_default()),
                    cursor: progress.cursor.encode().into(),
                    is_complete: progress.is_complete,
                },
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "a chunk of a snapshot is asked for again");
                    Imported::Again
                }
                Err(error) => {
                    tracing::warn!(%error, "a snapshot is begun again");
                    Imported::Misfit
                }
            },
            None => Imported::Misfit,
        };
        self.thread.inbox.put(|mail| mail.imported.push(imported));
    }

    fn finish(&mut self) {
        let Some((place, import)) = self.import.take() else {
            return self.thread.inbox.put(|mail| mail.imported.push(Imported::Misfit));
        };
        let (rows, bytes) = (import.progress().rows, import.progress().bytes);
        let finished = import.finish().and_then(|store| {
            let mut stores = self.thread.stores.lock().unwrap_or_else(PoisonError::into_inner);
            stores.set_ready(&place).map_err(|error| io_fatal(&error))?;
            Ok(store)
        });
        match finished {
            Ok(store) => {
                let slot = Slot(store.applied_slot());
                let group = store.group().map(|(slot, bytes)| (Slot(slot), bytes));
                tracing::info!(%slot, rows, bytes, "a snapshot is complete");
                *self.thread.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(store);
                self.thread.inbox.put(|mail| mail.import_finished = Some((slot, group)));
            }
            Err(error) => {
                tracing::error!(%error, "a snapshot that was complete cannot be used");
                self.thread.inbox.put(|mail| mail.imported.push(Imported::Misfit));
            }
        }
    }
}

fn io_fatal(error: &std::io::Error) -> ImportError {
    ImportError::Fatal(Fatal::Engine(store::EngineError::Io(error.to_string())))
}
