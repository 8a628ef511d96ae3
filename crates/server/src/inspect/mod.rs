//! Looking into the folder of a node without running it: its log as text, and whether all of it is sound.
//!
//! Nothing here changes the folder, so that what is found stays as it was found.

mod audit;
mod follow;
mod log;
mod scratch;
mod verify;

pub use follow::follow_log;
pub use log::{Body, EntryBody, LogRecord, MemberShown, MembershipShown, read_log};
pub use verify::{Finding, Progress, Report, Severity, verify};

use crate::error::ServerError;
use crate::folder::Identity;
use crate::open::RECORD_BYTES_MAX;
use paxos::Record;
use replica::Examined;
use std::path::Path;
use wal::{FolderDisk, LogId, Position};

/// Reads the log of the node in `folder`, without changing it, and shows every record to `each`.
pub(crate) fn examine_log(
    folder: &Path,
    identity: &Identity,
    each: impl FnMut(Position, Record) -> Result<(), String>,
) -> Result<Examined, ServerError> {
    let path = folder.join("log");
    let failed = |source: replica::JournalError| ServerError::Start {
        path: folder.to_path_buf(),
        source: source.into(),
    };
    let disk = open_disk(&path).map_err(|error| failed(error.into()))?;
    replica::examine(&disk, &options(Some(identity)), each).map_err(failed)
}

fn open_disk(path: &Path) -> Result<FolderDisk, wal::Error> {
    FolderDisk::read_only(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => wal::Error::Missing,
        _ => wal::Error::Io { operation: "read", name: path.display().to_string(), source },
    })
}

fn options(identity: Option<&Identity>) -> wal::Options {
    wal::Options {
        log_id: identity.map(|identity| LogId(identity.log)),
        create: false,
        record_bytes_max: RECORD_BYTES_MAX,
        ..wal::Options::default()
    }
}
