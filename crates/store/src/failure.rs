//! The two kinds of failure: a rejection is part of the replicated result, a fatal one is not.

use crate::command::DecodeError;
use crate::engine::EngineError;
use api::{Error, ErrorCode};

pub(crate) use query::{bad_query, show};

/// This node's own trouble: it must halt, and may come back after a restart or a repair. Never
/// caused by what a client asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The engine could not read or write, or found damage.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A row does not have the form in which the store writes it.
    #[error("store: damaged data: {0}; remove this node's data and let it join again")]
    Damaged(String),
    /// The data was written by another version.
    #[error(
        "store: the data has format {found}, this program reads format {known}; use the version that wrote it"
    )]
    Format {
        /// Format of the data.
        found: u16,
        /// Format of this program.
        known: u16,
    },
    /// A log entry's payload cannot be read: the log is damaged, or a newer version wrote it.
    #[error("store: the command at slot {slot} cannot be read: {error}")]
    Command {
        /// Its position in the log.
        slot: u64,
        /// Why.
        error: DecodeError,
    },
    /// The data is what an import of a snapshot left that did not come to its end.
    #[error(
        "store: the import of a snapshot into this folder was never finished; remove the folder and import again"
    )]
    UnfinishedImport,
    /// An earlier call failed, and what is in memory may be ahead of the engine.
    #[error("store: an earlier failure stopped it; restart the node")]
    Stopped,
}

impl Fatal {
    /// Whether what was stored is damaged: only other nodes can have it.
    pub fn is_damage(&self) -> bool {
        match self {
            Fatal::Engine(error) => matches!(error, EngineError::Damaged(_)),
            Fatal::Damaged(_) | Fatal::UnfinishedImport | Fatal::Command { .. } => true,
            Fatal::Format { .. } | Fatal::Stopped => false,
        }
    }

    /// Whether the disk is full: nothing is damaged, and with more room the node can start again.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Fatal::Engine(EngineError::NoSpace(_)))
    }
}

/// Why an operation did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The operation is refused; every node refuses it alike.
    Rejected(Error),
    /// The node halts.
    Fatal(Fatal),
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Rejected(error)
    }
}

impl From<Fatal> for Failure {
    fn from(fatal: Fatal) -> Failure {
        Failure::Fatal(fatal)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        Failure::Fatal(Fatal::Engine(error))
    }
}

/// Splits a result into the answer and this node's trouble.
pub(crate) fn split<T>(result: Outcome<T>) -> Result<Result<T, Error>, Fatal> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::Rejected(error)) => Ok(Err(error)),
        Err(Failure::Fatal(fatal)) => Err(fatal),
    }
}

pub(crate) fn bad_request(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BadRequest, message)
}

pub(crate) fn too_large(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::TooLarge, message)
}
