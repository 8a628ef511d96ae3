//! The snapshot thread: reads chunks of this node's store for others, and takes in a snapshot of another's
//! beside the store.
//!
//! Its queue is bounded: each other node has one question under way, and this node asks for one chunk at a time.

use crate::error::ServerError;
use crate::importing::{Importing, io_fatal};
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
use store::{Cursor, Fatal, FjallEngine, FjallOptions, FjallView, ImportError, Snapshot, Store};

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
            let mut worker = Worker {
                thread: self,
                views: BTreeMap::new(),
                ahead: BTreeMap::new(),
                import: None,
            };
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
    /// For each view at most one chunk that will probably be asked for next.
    ahead: BTreeMap<Slot, Ahead>,
    import: Option<Importing>,
}

/// A chunk that was read before it was asked for.
struct Ahead {
    cursor: Cursor,
    bytes_max: usize,
    chunk: Bytes,
    next: Option<Cursor>,
}

impl Worker {
    fn run(&mut self) -> Result<(), Fatal> {
        while let Taken::Items(jobs) = self.thread.queue.take(1, None) {
            for job in jobs {
                match job {
                    SnapshotJob::Read { to, slot, cursor, bytes_max } => {
                        self.read(to, slot, &cursor, bytes_max)?;
                    }
                    SnapshotJob::Drop { slot } => {
                        drop((self.views.remove(&slot), self.ahead.remove(&slot)));
                    }
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
        let cursor = Cursor::decode(cursor).ok().filter(|_| self.views.contains_key(&slot));
        let (slot, cursor) = match cursor {
            Some(cursor) => (slot, cursor),
            None => {
                let view = self.thread.reader.lock().snapshot()?;
                let slot = Slot(view.slot());
                tracing::info!(%slot, %to, "sends a snapshot");
                self.views.insert(slot, view);
                if self.views.len() > VIEWS_MAX {
                    let first = self.views.pop_first().map(|(slot, _)| slot);
                    self.ahead.retain(|slot, _| Some(*slot) != first);
                }
                (slot, Cursor::start())
            }
        };
        let Some(view) = self.views.get(&slot) else { return Ok(()) };
        let ahead = self.ahead.remove(&slot);
        let ahead = ahead.filter(|a| a.cursor == cursor && a.bytes_max == bytes_max);
        let (chunk, next) = match ahead {
            Some(Ahead { chunk, next, .. }) => (chunk, next),
            None => view.chunk_and_next(&cursor, bytes_max)?,
        };
        self.thread.inbox.put(|mail| mail.snapshot_reads.push((to, slot, chunk)));
        // While that one is on its way.
        if let Some(cursor) = next {
            let (chunk, next) = view.chunk_and_next(&cursor, bytes_max)?;
            self.ahead.insert(slot, Ahead { cursor, bytes_max, chunk, next });
        }
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

    fn place(&self) -> Result<Importing, ImportError> {
        let place = {
            let mut stores = self.thread.stores.lock().unwrap_or_else(PoisonError::into_inner);
            stores.begin().map_err(|error| io_fatal(&error))?
        };
        let engine = FjallEngine::open(&place, self.thread.engine_options)?;
        Importing::begin(place, engine)
    }

    fn import(&mut self, chunk: &Bytes) {
        let imported = match self.import.as_mut().map(|import| import.add(chunk)) {
            Some(Ok(progress)) => Imported::Chunk {
                slot: Slot(progress.slot.unwrap_or_default()),
                cursor: progress.cursor.encode().into(),
                is_complete: progress.is_complete,
            },
            Some(Err(error)) if error.is_retryable() => {
                tracing::warn!(%error, "a chunk of a snapshot is asked for again");
                Imported::Again
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a snapshot is begun again");
                Imported::Misfit
            }
            None => Imported::Misfit,
        };
        // The next one is asked for before this one is written.
        self.thread.inbox.put(|mail| mail.imported.push(imported));
        if let Some(Err(error)) = self.import.as_mut().map(Importing::write_due) {
            tracing::error!(%error, "a snapshot cannot be written");
            // The chunk that comes next will not fit.
            self.import = None;
        }
    }

    fn finish(&mut self) {
        let Some(import) = self.import.take() else {
            return self.thread.inbox.put(|mail| mail.imported.push(Imported::Misfit));
        };
        let (rows, bytes) = (import.progress().rows, import.progress().bytes);
        let place = import.place().to_owned();
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
