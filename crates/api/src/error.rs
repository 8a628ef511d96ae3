//! The one error type that crosses the client boundary, with stable codes.

use std::fmt;

/// How the refusal of a node that does not lead begins; the leader's address follows.
const NOT_LEADER: &str = "writes go to the leader, ";
/// What stands before the cursor, at the end of the refusal of a long result.
const GO_ON: &str = "; to get it in parts send [\"next\", cursor] with the cursor ";

/// What went wrong, as a word that programs may branch on. Codes are never renamed or reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// The request is not well formed: broken JSON, wrong arity, wrong type of argument.
    BadRequest,
    /// The operation's name is not known.
    UnknownOperation,
    /// An option's name is not known, or it does not go with the operation.
    UnknownOption,
    /// A filter, an update or a sort specification is not valid.
    BadQuery,
    /// The collection does not exist.
    UnknownCollection,
    /// The collection exists already.
    CollectionExists,
    /// The index does not exist.
    UnknownIndex,
    /// An index of that name, or on those fields, exists already.
    IndexExists,
    /// A document does not fit the collection's schema.
    SchemaViolation,
    /// A unique index or the `_id` holds that value already.
    Duplicate,
    /// Something is over one of [`crate::limits`].
    TooLarge,
    /// The result does not fit the connection's frame.
    ResultTooLarge,
    /// A condition of a batch does not hold; nothing of the batch was done.
    ConditionFailed,
    /// The cursor is not at this node, or not any more; the search must be made again.
    CursorGone,
    /// The changes asked for are not kept any more at this node.
    Compacted,
    /// The reference was forgotten: whether its operation took effect can no longer be told.
    ForgottenReference,
    /// No quorum can be reached, the request had no effect; another member may do better.
    Down,
    /// The request was not finished in its time; it may take effect or not.
    Timeout,
    /// Another node leads and writes go to it alone (passive policy); the request had no effect.
    NotLeader,
    /// The membership may not be changed in this way; nothing was changed.
    Refused,
    /// The node's disk is full: it takes no writes until there is room; the request had no effect.
    DiskFull,
    /// Too many requests are under way at this node; the request had no effect.
    Busy,
    /// The node is stopping; the request had no effect.
    Stopping,
    /// The operation needs a node started with another option.
    Unavailable,
    /// The node cannot serve because of trouble of its own (disk, damage).
    Internal,
}

impl ErrorCode {
    /// Every code, in order of declaration.
    pub const ALL: [ErrorCode; 25] = [
        ErrorCode::BadRequest,
        ErrorCode::UnknownOperation,
        ErrorCode::UnknownOption,
        ErrorCode::BadQuery,
        ErrorCode::UnknownCollection,
        ErrorCode::CollectionExists,
        ErrorCode::UnknownIndex,
        ErrorCode::IndexExists,
        ErrorCode::SchemaViolation,
        ErrorCode::Duplicate,
        ErrorCode::TooLarge,
        ErrorCode::ResultTooLarge,
        ErrorCode::ConditionFailed,
        ErrorCode::CursorGone,
        ErrorCode::Compacted,
        ErrorCode::ForgottenReference,
        ErrorCode::Down,
        ErrorCode::Timeout,
        ErrorCode::NotLeader,
        ErrorCode::Refused,
        ErrorCode::DiskFull,
        ErrorCode::Busy,
        ErrorCode::Stopping,
        ErrorCode::Unavailable,
        ErrorCode::Internal,
    ];

    /// The stable word of this code, as it stands before the colon of a `ko` reason.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadRequest => "bad_request",
            ErrorCode::UnknownOperation => "unknown_operation",
            ErrorCode::UnknownOption => "unknown_option",
            ErrorCode::BadQuery => "bad_query",
            ErrorCode::UnknownCollection => "unknown_collection",
            ErrorCode::CollectionExists => "collection_exists",
            ErrorCode::UnknownIndex => "unknown_index",
            ErrorCode::IndexExists => "index_exists",
            ErrorCode::SchemaViolation => "schema_violation",
            ErrorCode::Duplicate => "duplicate",
            ErrorCode::TooLarge => "too_large",
            ErrorCode::ResultTooLarge => "result_too_large",
            ErrorCode::ConditionFailed => "condition_failed",
            ErrorCode::CursorGone => "cursor_gone",
            ErrorCode::Compacted => "compacted",
            ErrorCode::ForgottenReference => "forgotten_reference",
            ErrorCode::Down => "down",
            ErrorCode::Timeout => "timeout",
            ErrorCode::NotLeader => "not_leader",
            ErrorCode::Refused => "refused",
            ErrorCode::DiskFull => "disk_full",
            ErrorCode::Busy => "busy",
            ErrorCode::Stopping => "stopping",
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::Internal => "internal",
        }
    }

    /// The code whose stable word is `word`.
    pub fn parse(word: &str) -> Option<ErrorCode> {
        ErrorCode::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// Whether the request certainly had no effect and may be sent to another member at once.
    pub fn is_retryable_elsewhere(self) -> bool {
        matches!(
            self,
            ErrorCode::Down | ErrorCode::Busy | ErrorCode::Stopping | ErrorCode::DiskFull
        )
    }
}

/// A refusal: a code for programs and a sentence for people that names what, where and what to do.
///
/// On the wire it is the reason of `["ko", reason]`, written `code: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, where, and what to do, for people.
    pub message: String,
}

impl Error {
    /// An error of that code with that message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }

    /// The refusal of a node that does not lead: writes go to the one that listens at `leader`.
    pub fn not_leader(leader: &str) -> Error {
        Error::new(ErrorCode::NotLeader, format!("{NOT_LEADER}{leader}"))
    }

    /// The leader that such a refusal names.
    pub fn leader_address(&self) -> Option<&str> {
        (self.code == ErrorCode::NotLeader).then(|| self.message.strip_prefix(NOT_LEADER)).flatten()
    }

    /// The refusal of a result that does not fit an answer of `bytes_max` bytes, and is kept under `cursor`,
    /// unless there was no room for it.
    pub fn too_long_for_one_answer(bytes_max: usize, cursor: Option<&str>) -> Error {
        let go_on = match cursor {
            Some(cursor) => format!("{GO_ON}{cursor}"),
            None => "; too many cursors are open at this node to keep it: ask for less with limit, skip and \
                     fields, or close a cursor"
                .to_owned(),
        };
        let message = format!("the result does not fit an answer of {bytes_max} bytes{go_on}");
        Error::new(ErrorCode::ResultTooLarge, message)
    }

    /// The cursor under which the result is kept that such a refusal tells of.
    pub fn cursor(&self) -> Option<&str> {
        let is_it = self.code == ErrorCode::ResultTooLarge;
        is_it.then(|| self.message.rsplit_once(GO_ON).map(|(_, cursor)| cursor)).flatten()
    }

    /// The same refusal, of the request at `position` of a batch.
    #[must_use]
    pub fn at_position(mut self, position: usize, name: &str) -> Error {
        self.message = format!("batch: position {position} ({name}): {}", self.message);
        self
    }

    /// Reads a reason as [`fmt::Display`] writes it; a reason without a known code is `internal`.
    pub fn from_reason(reason: &str) -> Error {
        match reason.split_once(": ") {
            Some((word, message)) if ErrorCode::parse(word).is_some() => {
                Error::new(ErrorCode::parse(word).unwrap_or(ErrorCode::Internal), message)
            }
            _ => Error::new(ErrorCode::Internal, reason),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Error {}
