//! Threads that answer queries from the store.
//!
//! Their queue is bounded by the number of requests under way, which the event loop limits.

use crate::cursors::Cursors;
use crate::error::ServerError;
use crate::inbox::{Alarm, Inbox};
use crate::queue::{Queue, Taken};
use api::{Error, ErrorCode, Request};
use gateway::Origin;
use replica::RequestId;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use store::{FjallEngine, Reader};

/// How many threads there are: one long query must not keep the others waiting.
const READERS: usize = 2;
/// Queries that a reader takes, and answers, at once.
const QUERIES_MAX: usize = 32;

/// A query that may be answered now.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) id: RequestId,
    pub(crate) request: Request,
    /// When it was handed over.
    pub(crate) since: Instant,
    /// When nobody waits for it any more.
    pub(crate) deadline: Instant,
    /// Whence it came.
    pub(crate) origin: Origin,
    /// About how much memory the request takes.
    pub(crate) bytes: usize,
}

/// The way to the store in use, which a snapshot may replace.
#[derive(Clone)]
pub(crate) struct SharedReader(Arc<RwLock<Reader<FjallEngine>>>);

impl SharedReader {
    pub(crate) fn new(reader: Reader<FjallEngine>) -> SharedReader {
        SharedReader(Arc::new(RwLock::new(reader)))
    }

    /// The store in use; it is not replaced while the guard lives.
    pub(crate) fn lock(&self) -> RwLockReadGuard<'_, Reader<FjallEngine>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless it would have to be waited for.
    pub(crate) fn try_lock(&self) -> Option<RwLockReadGuard<'_, Reader<FjallEngine>>> {
        match self.0.try_read() {
            Ok(reader) => Some(reader),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Lets later queries go to another store; returns when the earlier ones are answered. `while_nobody_reads`
    /// is called in between.
    pub(crate) fn replace(&self, reader: Reader<FjallEngine>, while_nobody_reads: impl FnOnce()) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        while_nobody_reads();
        *current = reader;
    }
}

pub(crate) struct Readers {
    pub(crate) reader: SharedReader,
    pub(crate) path: PathBuf,
    pub(crate) queue: Arc<Queue<Query>>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) cursors: Arc<Cursors>,
}

impl Readers {
    /// Starts the threads; they end when the queue is closed.
    ///
    /// # Errors
    /// [`ServerError::Thread`].
    pub(crate) fn spawn(self) -> Result<Vec<JoinHandle<()>>, ServerError> {
        let shared = Arc::new(self);
        let spawn = |number| {
            let readers = Arc::clone(&shared);
            let start = move || {
                let _alarm = Alarm { inbox: Arc::clone(&readers.inbox), part: "reader" };
                readers.run();
            };
            let spawned =
                thread::Builder::new().name(format!("mondongo-read-{number}")).spawn(start);
            spawned.map_err(|source| ServerError::Thread { what: "a reader thread", source })
        };
        (1..=READERS).map(spawn).collect()
    }

    fn run(&self) {
        loop {
            let queries = match self.queue.take(QUERIES_MAX, self.cursors.wait()) {
                Taken::Items(queries) => queries,
                Taken::Nothing => {
                    self.cursors.expire(Instant::now());
                    continue;
                }
                Taken::Closed => return,
            };
            let mut answers = Vec::with_capacity(queries.len());
            for query in queries {
                if Instant::now() >= query.deadline {
                    answers.push((query.id, Err(not_begun())));
                    continue;
                }
                // Held while a cursor is read, too: its rows are those of the store in use.
                let reader = self.reader.lock();
                let answer = self.cursors.answer(&reader, &query.request, query.origin);
                drop(reader);
                match answer {
                    Ok(answer) => answers.push((query.id, answer)),
                    Err(source) => {
                        self.inbox.fail(ServerError::Store { path: self.path.clone(), source });
                        return;
                    }
                }
            }
            self.inbox.put(|mail| mail.answers.append(&mut answers));
        }
    }
}

/// The answer to a query whose deadline passed while it waited.
pub(crate) fn not_begun() -> Error {
    Error::new(ErrorCode::Timeout, "the query was not begun in its time; it had no effect")
}
