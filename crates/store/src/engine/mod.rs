//! The engine below the store: an ordered map of bytes with atomic batches.
//!
//! The trait is narrow so that the simulator can run the same store over [`MemoryEngine`], whose
//! crashes are exact and repeatable, and a node over [`FjallEngine`], on disk.
//!
//! What the store relies on, and every engine must give:
//! 1. A batch is applied as a whole or not at all, also across a crash.
//! 2. After a crash the engine stands where some batch left it: no later batch without every
//!    earlier one, and none missing that a [`Engine::persist`] before the crash covered.
//! 3. A view never changes.

mod examine;
mod fjall;
mod journal;
mod layout;
mod memory;

pub use self::examine::{Examined, examine};
pub use self::fjall::{FjallEngine, FjallOptions, FjallSnapshots, FjallView};
pub use self::memory::{MemoryDisk, MemoryEngine, MemorySnapshots, MemoryView};

use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// Trouble of this node's own disk or memory; never the fault of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The operating system refused to read or write.
    #[error("store engine: {0}")]
    Io(String),
    /// The disk, or what this process may use of it, is full. Nothing is damaged.
    #[error("store engine: no space left: {0}; make room and start the node again")]
    NoSpace(String),
    /// Stored bytes are not what was written.
    #[error("store engine: damaged data: {0}")]
    Damaged(String),
}

/// An error of the operating system: `what` was being done.
fn io_error(what: &str, error: &std::io::Error) -> EngineError {
    by_kind(format!("{what}: {error}"), error)
}

fn by_kind(text: String, error: &std::io::Error) -> EngineError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            EngineError::NoSpace(text)
        }
        _ => EngineError::Io(text),
    }
}

/// A row of the engine: key and value.
pub type Row = (Bytes, Bytes);

/// Rows in key order, or in the opposite one.
pub type Rows<'view> = Box<dyn Iterator<Item = Result<Row, EngineError>> + 'view>;

/// Which way a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Greatest key first.
    Backward,
}

/// Reading rows as they were at one moment.
pub trait View {
    /// The value of `key`.
    ///
    /// # Errors
    /// Trouble of the disk, or damage found by a checksum.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The rows with `from <= key < to`. Each row read may fail as [`View::get`] may.
    fn range(&self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'_>;
}

/// Takes views from any thread while one thread commits.
pub trait Snapshots: Clone + Send + Sync + 'static {
    /// A consistent view.
    type View: View + Clone + Send + Sync + 'static;

    /// Everything committed before the call, and nothing later.
    fn view(&self) -> Self::View;
}

/// The view type of an engine.
pub type ViewOf<E> = <<E as Engine>::Snapshots as Snapshots>::View;

/// An ordered map of bytes with atomic batches.
pub trait Engine: Send + 'static {
    /// Takes views of this engine.
    type Snapshots: Snapshots;

    /// A handle that takes views from any thread.
    fn snapshots(&self) -> Self::Snapshots;

    /// A view of everything committed so far.
    fn view(&self) -> ViewOf<Self> {
        self.snapshots().view()
    }

    /// Applies a batch atomically; it is visible at once and durable after some later
    /// [`Engine::persist`].
    ///
    /// # Errors
    /// Trouble of the disk: the engine must not be used any more.
    fn commit(&mut self, batch: Batch) -> Result<(), EngineError>;

    /// Adds many rows at once, faster than a batch: for an import. The keys rise, and are greater
    /// than every key that an earlier call added. Not atomic: a crash may leave any part of the
    /// rows; but none unless everything committed before is durable.
    ///
    /// # Errors
    /// Trouble of the disk: the engine must not be used any more.
    fn ingest(&mut self, rows: impl Iterator<Item = Row>) -> Result<(), EngineError>;

    /// Makes everything committed and ingested so far durable.
    ///
    /// # Errors
    /// Trouble of the disk: the engine must not be used any more, nor the call be repeated.
    fn persist(&mut self) -> Result<(), EngineError>;
}

/// Changes to be made together: each key at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// New values; `None` removes the key.
    pub changes: BTreeMap<Vec<u8>, Option<Bytes>>,
}
