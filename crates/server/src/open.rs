//! Opening a folder's log and store, and bringing them to one state.

use crate::folder::{Identity, Stage};
use crate::stores::Stores;
use paxos::{Ballot, Durable, Membership, Record, Slot};
use replica::{Journal, Recovered, StartError};
use std::io;
use std::path::{Path, PathBuf};
use store::{EngineError, Fatal, FjallEngine, FjallOptions, Store};
use wal::{FolderDisk, LogId};

/// The largest record: a command, which is 16 MiB and a little at most, or a membership.
pub(crate) const RECORD_BYTES_MAX: u64 = 64 << 20;

/// What is opened, and how.
pub(crate) struct Opening {
    pub(crate) folder: PathBuf,
    pub(crate) log_path: PathBuf,
    pub(crate) identity: Identity,
    /// Where this node listens.
    pub(crate) address: String,
    /// The feature level of a group that is founded here; none: the newest.
    pub(crate) feature_level: Option<u32>,
    pub(crate) engine_options: FjallOptions,
    /// The time, in milliseconds since 1970: names the folder that a damaged store is moved to.
    pub(crate) now_ms: u64,
}

/// A log and a store that agree.
pub(crate) struct Opened {
    pub(crate) journal: Journal<FolderDisk>,
    pub(crate) store: Store<FjallEngine>,
    pub(crate) stores: Stores,
    pub(crate) durable: Durable,
}

impl Opening {
    /// Opens log and store, founds the group if that is what the folder is for, and replays into the
    /// store what it has missed.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn open(&self) -> Result<Opened, StartError> {
        let (journal, recovered) = self.open_log()?;
        let mut stores = Stores::open(&self.folder).map_err(|error| io_fatal(&error))?;
        let mut store = self.open_store(&mut stores, &recovered)?;
        let started = replica::start(&journal, &recovered, &mut store)?;
        // Not before it is sure that they are not needed.
        stores.remove_others().map_err(|error| io_fatal(&error))?;
        tracing::info!(
            promised = %recovered.promised,
            floor = %recovered.floor,
            last = %recovered.last,
            decided = %started.durable.decided,
            replayed = started.replayed,
            "log and store opened"
        );
        Ok(Opened { journal, store, stores, durable: started.durable })
    }

    fn open_log(&self) -> Result<(Journal<FolderDisk>, Recovered), StartError> {
        let identity = &self.identity;
        let is_new = identity.stage == Stage::New;
        let options = wal::Options {
            log_id: Some(LogId(identity.log)),
            create: is_new,
            record_bytes_max: RECORD_BYTES_MAX,
            ..wal::Options::default()
        };
        let disk = FolderDisk::open(&self.log_path).map_err(|source| {
            let name = self.log_path.display().to_string();
            StartError::Journal(wal::Error::Io { operation: "open", name, source }.into())
        })?;
        let (mut journal, mut recovered, recovery) = Journal::open(disk, options)?;
        if recovery.torn_bytes > 0 {
            tracing::warn!(
                bytes = recovery.torn_bytes,
                "cut a torn tail off the log: the remains of records that were never acknowledged"
            );
        }
        if is_new && identity.is_founder() && recovered.decided == Slot::ZERO {
            let ballot = Ballot { round: 1, node: identity.node };
            if recovered.last == Slot::ZERO {
                let founding = Membership::founding(identity.node, &*self.address, identity.policy);
                let level = self.feature_level.unwrap_or(founding.level);
                journal.found(ballot, Membership { level, ..founding })?;
            } else {
                // A crash while founding has left the first entry without the word that it is decided.
                journal.append(&[Record::Decided(Slot(1))])?;
                journal.flush()?;
            }
            recovered.promised = recovered.promised.max(ballot);
            (recovered.last, recovered.decided) = (recovered.last.max(Slot(1)), Slot(1));
        }
        Ok((journal, recovered))
    }

    /// Opens the store in use; or the snapshot that is ready, if the log says already that it stands for what
    /// was cut; or a new store, if the present one is damaged and the log holds everything.
    fn open_store(
        &self,
        stores: &mut Stores,
        recovered: &Recovered,
    ) -> Result<Store<FjallEngine>, StartError> {
        match self.open_at(&stores.current()) {
            Ok(store)
                if Slot(store.applied_slot()) < recovered.floor && stores.ready().is_some() =>
            {
                drop(store);
                let old = stores.switch().map_err(|error| io_fatal(&error))?;
                tracing::info!(
                    old = %old.display(),
                    "a snapshot takes the place of the store, as the log says"
                );
                Ok(self.open_at(&stores.current())?)
            }
            Err(error) if error.is_damage() && recovered.floor == Slot::ZERO => {
                let aside = self.folder.join(format!("damaged-{}", self.now_ms));
                tracing::error!(%error, kept = %aside.display(), "the store is made anew from the log");
                move_into(&stores.current(), &aside).map_err(|error| io_fatal(&error))?;
                Ok(self.open_at(&stores.current())?)
            }
            opened => Ok(opened?),
        }
    }

    fn open_at(&self, path: &Path) -> Result<Store<FjallEngine>, Fatal> {
        Store::open(FjallEngine::open(path, self.engine_options)?)
    }
}

fn move_into(path: &Path, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::rename(path, folder.join(path.file_name().unwrap_or_default()))
}

fn io_fatal(error: &io::Error) -> Fatal {
    Fatal::Engine(match error.kind() {
        io::ErrorKind::InvalidData => EngineError::Damaged(error.to_string()),
        _ => EngineError::Io(error.to_string()),
    })
}
