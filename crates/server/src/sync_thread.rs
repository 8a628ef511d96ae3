//! The sync thread: lets the disk take what the store has written, before the apply thread has to wait for it.
//!
//! Nothing hangs on it but time: what is durable is said by [`store::Store::persist`] alone. Its queue has a unit for each few
//! megabytes that were applied; however many there are, one sync does for all.

use crate::error::ServerError;
use crate::inbox::{Alarm, Inbox};
use crate::queue::{Queue, Taken};
use crate::stores::Stores;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use store::{Fatal, FjallEngine};

/// The order to sync what was written to the store in use.
#[derive(Debug)]
pub(crate) struct SyncAhead;

pub(crate) struct SyncThread {
    pub(crate) stores: Arc<Mutex<Stores>>,
    pub(crate) path: PathBuf,
    pub(crate) queue: Arc<Queue<SyncAhead>>,
    pub(crate) inbox: Arc<Inbox>,
}

impl SyncThread {
    /// Starts the thread; it ends when its queue is closed.
    ///
    /// # Errors
    /// [`ServerError::Thread`].
    pub(crate) fn spawn(self) -> Result<JoinHandle<()>, ServerError> {
        let start = move || {
            let _alarm = Alarm { inbox: Arc::clone(&self.inbox), part: "sync" };
            self.run();
        };
        let spawned = thread::Builder::new().name("mondongo-sync".into()).spawn(start);
        spawned.map_err(|source| ServerError::Thread { what: "the sync thread", source })
    }

    fn run(&self) {
        while let Taken::Items(_) = self.queue.take(usize::MAX, None) {
            let folder = self.stores.lock().unwrap_or_else(PoisonError::into_inner).current();
            if let Err(error) = FjallEngine::sync_ahead(&folder) {
                let source = Fatal::Engine(error);
                self.inbox.fail(ServerError::Store { path: self.path.clone(), source });
                return;
            }
        }
    }
}
