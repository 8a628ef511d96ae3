//! [`Error`]: everything that can go wrong with the log, in words for an operator.

use std::io;

use crate::{LogId, Position};

/// Why an operation of the log failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused an operation. If it was a write, a sync or a name change of the open log, the log is poisoned.
    #[error("log: cannot {operation} {name}: {source}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file, or "the folder".
        name: String,
        /// The answer of the disk.
        source: io::Error,
    },
    /// There is no room for another segment. Nothing is lost and the log is not poisoned:
    /// what is buffered stays buffered, and `flush` may be called again once there is room.
    #[error(
        "log: no space for a new segment of {bytes} bytes ({name}): {source}; free space and try again"
    )]
    NoSpace {
        /// The file that was being made.
        name: String,
        /// How large it should have become, in bytes.
        bytes: u64,
        /// The answer of the disk.
        source: io::Error,
    },
    /// Bytes that were durable are damaged or gone. Nothing was changed.
    #[error("log: segment {segment} is corrupt at offset {offset}: {reason}")]
    Corrupt {
        /// Sequence number of the damaged segment.
        segment: u32,
        /// Offset of the first damaged structure, in bytes.
        offset: u64,
        /// What is wrong and how that is known.
        reason: String,
    },
    /// The segment was written by a version of this program with another format.
    #[error(
        "log: segment {segment} has format version {found}, this program knows only version {known}; use the program that wrote it"
    )]
    Version {
        /// Sequence number of the segment.
        segment: u32,
        /// The version found.
        found: u32,
        /// The version this program writes and reads.
        known: u32,
    },
    /// The folder holds another log than the one asked for.
    #[error("log: the folder holds log {found}, not log {expected}")]
    WrongLog {
        /// The id in [`crate::Options::log_id`].
        expected: LogId,
        /// The id in the segments.
        found: LogId,
    },
    /// There is no log in the folder and [`crate::Options::create`] is off.
    #[error("log: the folder holds no log, and making one was not allowed")]
    Missing,
    /// The record is larger than [`crate::Options::record_bytes_max`]; it was not appended.
    #[error("log: a record of {bytes} bytes is larger than the largest allowed, {bytes_max}")]
    TooLarge {
        /// Size of the record in bytes.
        bytes: u64,
        /// The limit in bytes.
        bytes_max: u64,
    },
    /// There is no record at this position.
    #[error("log: no record at {position}: {reason}")]
    NoRecord {
        /// The position asked for.
        position: Position,
        /// Why there is none.
        reason: &'static str,
    },
    /// An option has a value that makes no sense.
    #[error("log: option {name} is {value}: {reason}")]
    Options {
        /// The field of [`crate::Options`].
        name: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        reason: &'static str,
    },
    /// The caller of `open` refused a record.
    #[error("log: the record at {position} was refused: {reason}")]
    Rejected {
        /// The record's position.
        position: Position,
        /// The caller's words.
        reason: String,
    },
    /// All 2³² segment numbers are used.
    #[error("log: all segment numbers are used")]
    Exhausted,
    /// An earlier write, sync or name change failed; nobody can tell what is on the disk until the log is opened again.
    #[error("log: stopped by an earlier failure: {cause}")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
}

impl Error {
    /// True if there was no room for another segment; see [`Error::NoSpace`].
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }
}

/// Names the operation and the file of a failed disk operation.
pub(crate) fn io_error(
    operation: &'static str,
    name: impl Into<String>,
) -> impl FnOnce(io::Error) -> Error {
    let name = name.into();
    move |source| Error::Io { operation, name, source }
}
