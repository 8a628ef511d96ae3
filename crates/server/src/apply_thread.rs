//! The apply thread: owns the store. Applies what is queued, merged, and persists the store now and then.
//!
//! Its queue is bounded in bytes by the event loop (see [`Backlog`]).

use crate::backlog::Backlog;
use crate::cursors::Cursors;
use crate::error::ServerError;
use crate::inbox::{Alarm, Inbox};
use crate::queue::{Queue, Taken};
use crate::readers::SharedReader;
use crate::snapshot_thread::ReadyStore;
use crate::stores::Stores;
use crate::sync_thread::SyncAhead;
use crate::watch_thread::Watches;
use api::{Document, Value};
use paxos::Slot;
use replica::{Effect, RequestId};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use store::{Entry, Fatal, FjallEngine, Store};

/// Bytes of entries that are applied as one batch; a long batch keeps the answers of its first
/// entries waiting.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Most entries of one batch.
const BATCH_ENTRIES_MAX: usize = 1_024;
/// How long the store may go on without being persisted, while it is idle and while it is not: a
/// crash replays so much.
const PERSIST_IDLE: Duration = Duration::from_millis(500);
const PERSIST_WAIT: Duration = Duration::from_secs(10);
/// Bytes of entries after which it is persisted at the latest.
const PERSIST_BYTES: usize = 32 << 20;
/// Bytes of entries after which another thread lets the disk take them. Applying stands still while the store is
/// persisted, and whenever the engine begins another journal: for as long as the rest takes.
const SYNC_AHEAD_BYTES: usize = 2 << 20;

/// A decided entry: its slot, and what it does.
pub(crate) type Decided = (Slot, Effect);

/// What the apply thread is asked for.
#[derive(Debug)]
pub(crate) enum ApplyJob {
    /// Apply these.
    Entries(Vec<Decided>),
    /// The log was cut up to this slot.
    LogWasCut(Slot),
    /// Use the snapshot that is ready as the store from here on.
    Switch,
    /// Answer this status with the content hash in it.
    Hash {
        /// Whose question.
        id: RequestId,
        /// The rest of the answer.
        status: Document,
    },
}

/// What an entry costs in the [`Backlog`].
pub(crate) fn cost_bytes((_, effect): &Decided) -> usize {
    64 + effect.bytes()
}

pub(crate) struct ApplyThread {
    pub(crate) store: Store<FjallEngine>,
    pub(crate) reader: SharedReader,
    pub(crate) stores: Arc<Mutex<Stores>>,
    pub(crate) ready: ReadyStore,
    pub(crate) path: PathBuf,
    pub(crate) queue: Arc<Queue<ApplyJob>>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) sync_ahead: Arc<Queue<SyncAhead>>,
}

impl ApplyThread {
    /// Starts the thread. When its queue is closed it applies what is left, persists the store and ends.
    ///
    /// # Errors
    /// [`ServerError::Thread`].
    pub(crate) fn spawn(self) -> Result<JoinHandle<()>, ServerError> {
        let start = || {
            let _alarm = Alarm { inbox: Arc::clone(&self.inbox), part: "apply" };
            let (inbox, path) = (Arc::clone(&self.inbox), self.path.clone());
            let mut worker = Worker {
                thread: self,
                unpersisted_bytes: 0,
                unsynced_bytes: 0,
                persisted_at: Instant::now(),
            };
            if let Err(source) = worker.run() {
                inbox.fail(ServerError::Store { path, source });
            }
        };
        let spawned = thread::Builder::new().name("mondongo-apply".into()).spawn(start);
        spawned.map_err(|source| ServerError::Thread { what: "the apply thread", source })
    }
}

struct Worker {
    thread: ApplyThread,
    /// Bytes of entries applied since the store was persisted.
    unpersisted_bytes: usize,
    /// Those of them that the disk was not asked to take yet.
    unsynced_bytes: usize,
    persisted_at: Instant,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.thread.sync_ahead.close();
    }
}

impl Worker {
    fn run(&mut self) -> Result<(), Fatal> {
        loop {
            let wait = (self.unpersisted_bytes > 0).then_some(PERSIST_IDLE);
            match self.thread.queue.take(usize::MAX, wait) {
                Taken::Items(jobs) => self.carry_out(jobs)?,
                Taken::Nothing => self.persist()?,
                Taken::Closed => return self.persist(),
            }
            let is_long_ago = self.persisted_at.elapsed() >= PERSIST_WAIT;
            if self.unpersisted_bytes >= PERSIST_BYTES
                || (self.unpersisted_bytes > 0 && is_long_ago)
            {
                self.persist()?;
            }
        }
    }

    fn carry_out(&mut self, jobs: Vec<ApplyJob>) -> Result<(), Fatal> {
        let mut entries: Vec<Decided> = Vec::new();
        for job in jobs {
            match job {
                ApplyJob::Entries(more) if entries.is_empty() => entries = more,
                ApplyJob::Entries(mut more) => entries.append(&mut more),
                ApplyJob::LogWasCut(upto) => self.thread.store.log_was_cut(upto.0),
                ApplyJob::Switch => {
                    self.apply_all(&entries)?;
                    entries.clear();
                    self.switch()?;
                }
                ApplyJob::Hash { id, status } => {
                    self.apply_all(&entries)?;
                    entries.clear();
                    self.hash(id, status)?;
                }
            }
        }
        self.apply_all(&entries)
    }

    fn apply_all(&mut self, entries: &[Decided]) -> Result<(), Fatal> {
        let mut rest = entries;
        while !rest.is_empty() {
            let mut bytes = 0;
            let within = |entry: &&Decided| {
                bytes += cost_bytes(entry);
                bytes <= BATCH_BYTES_MAX
            };
            let count = rest.iter().take(BATCH_ENTRIES_MAX).take_while(within).count().max(1);
            let (batch, later) = rest.split_at(count);
            self.apply(batch)?;
            rest = later;
        }
        Ok(())
    }

    fn apply(&mut self, batch: &[Decided]) -> Result<(), Fatal> {
        let entries: Vec<Entry<'_>> =
            (batch.iter()).map(|(slot, effect)| effect.entry(*slot)).collect();
        let outcomes = self.thread.store.apply(&entries)?;
        let through = Slot(self.thread.store.applied_slot());
        let bytes = batch.iter().map(cost_bytes).sum();
        self.unpersisted_bytes += bytes;
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes >= SYNC_AHEAD_BYTES {
            self.unsynced_bytes = 0;
            self.thread.sync_ahead.push(SyncAhead);
        }
        self.thread.backlog.subtract(bytes);
        self.thread.watches.applied(batch);
        self.thread.inbox.put_applied(through, outcomes);
        Ok(())
    }

    /// Replaces the store by the snapshot that is ready, and removes the old one.
    fn switch(&mut self) -> Result<(), Fatal> {
        let ready = self.thread.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        let store = ready.expect("a snapshot is complete before the log names it");
        let slot = Slot(store.applied_slot());
        let io = |error: std::io::Error| Fatal::Engine(store::EngineError::Io(error.to_string()));
        let old = {
            let mut stores = self.thread.stores.lock().unwrap_or_else(PoisonError::into_inner);
            stores.switch().map_err(io)?
        };
        let cursors = &self.thread.cursors;
        // They see rows of the store that goes.
        self.thread.reader.replace(store.reader(), || cursors.clear());
        drop(std::mem::replace(&mut self.thread.store, store));
        self.thread.watches.switched();
        if let Err(error) = std::fs::remove_dir_all(&old) {
            // The next start does it.
            tracing::warn!(path = %old.display(), %error, "a store that was replaced cannot be removed");
        }
        tracing::info!(%slot, "a snapshot has taken the place of the store");
        self.unpersisted_bytes = 0;
        self.unsynced_bytes = 0;
        self.thread.inbox.put(|mail| {
            mail.switched = Some(slot);
            match &mut mail.applied {
                Some((through, _)) => *through = slot,
                none => *none = Some((slot, Vec::new())),
            }
        });
        Ok(())
    }

    fn persist(&mut self) -> Result<(), Fatal> {
        if self.unpersisted_bytes > 0 {
            self.thread.store.persist()?;
            self.unpersisted_bytes = 0;
            self.unsynced_bytes = 0;
            let stored = Slot(self.thread.store.applied_slot());
            self.thread.inbox.put(|mail| mail.stored = Some(stored));
        }
        self.persisted_at = Instant::now();
        Ok(())
    }

    fn hash(&self, id: RequestId, mut status: Document) -> Result<(), Fatal> {
        let (slot, hash) = self.thread.store.content_hash()?;
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        status.insert("hash", hash);
        status.insert("hash_slot", i64::try_from(slot).unwrap_or(i64::MAX));
        let answer = (id, Ok(Value::Document(status)));
        self.thread.inbox.put(|mail| mail.answers.push(answer));
        Ok(())
    }
}
