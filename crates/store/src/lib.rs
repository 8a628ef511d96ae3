//! The deterministic state machine: collections, indexes, key-value map and references over an
//! embedded ordered engine.
//!
//! A [`Store`] applies decided log entries in order. Each entry's [`Command`] is carried out over an
//! overlay of changes; the changes of a whole batch of entries, the first answers of their
//! references and the applied slot go to the [`engine`] as one atomic batch. So whatever a crash
//! leaves, the store stands at exactly one applied slot, and replaying the log from there gives the
//! same content: [`Store::content_hash`] says so. A [`Reader`] answers queries meanwhile on other
//! threads.
//!
//! | module | job |
//! | --- | --- |
//! | `command` | the log entry's payload |
//! | `validate` | what can be refused before it costs a log entry |
//! | `store`, `apply` | entries to effects and answers |
//! | `batch` | several writes as one |
//! | `changes`, `documents`, `schema` | changes to documents and their index entries |
//! | `pairs` | the key-value map |
//! | `references` | first answers, so that a retry has no second effect |
//! | `reader`, `search`, `plan`, `union` | queries, in the language of [`query`] |
//! | `scan`, `merge`, `rank` | what plans name is read, by several at once, and sorted |
//! | `feed`, `interest` | what each entry changed, and who asks for it |
//! | `sweep` | rows of what was destroyed or dropped |
//! | `pages` | long results, part by part |
//! | `snapshot` | the rows at one slot, in chunks, out of one store and into another |
//! | `catalog`, `keys`, `codec`, `overlay` | rows and their bytes |
//! | `verify` | whether indexes and counts are those of the documents |
//! | `engine` | the ordered map below: on disk, and in memory for the simulator |
//!
//! **Invariants of absence.** No clock, no randomness, no thread, no iteration in the order of a
//! hash: the same entries give the same rows and the same answers on every node. A refusal
//! ([`api::Error`]) depends on the log alone and is an answer; this node's own trouble ([`Fatal`])
//! is never an answer.

pub mod engine;
pub mod keys;

mod alter;
mod apply;
mod batch;
mod bounds;
mod builds;
mod catalog;
mod changes;
mod codec;
mod command;
mod documents;
mod failure;
mod feed;
mod form;
mod implied;
mod index;
mod interest;
mod merge;
mod overlay;
mod pages;
mod pairs;
mod plan;
mod rank;
mod reader;
mod references;
mod scan;
mod schema;
mod search;
mod snapshot;
mod store;
mod sweep;
mod union;
mod validate;
mod verify;

pub use alter::{ALTER_BYTES_MAX, ALTER_DOCUMENTS_MAX};
pub use builds::{BUILD_FIRST_DOCUMENTS, BUILD_STEP_BYTES, BUILD_STEP_DOCUMENTS};
pub use command::{COMMAND_VERSION, Command, DecodeError};
pub use documents::{ID_KEY_BYTES_MAX, WRITTEN_BYTES_MAX};
pub use engine::{
    Batch, Engine, EngineError, FjallEngine, FjallOptions, FjallView, MemoryDisk, MemoryEngine,
    View,
};
pub use failure::Fatal;
pub use feed::{CHANGE_ROWS_BYTES_MAX, Change, Feed};
pub use index::{INDEX_ENTRIES_BYTES_MAX, INDEX_KEY_BYTES_MAX};
pub use interest::Interest;
pub use pages::{PAGES_KEY_BYTES_MAX, Page, PageLimits, PageStart, Pages};
pub use reader::{Found, Glance, GlanceLimits, Reader};
pub use references::{REFERENCES_BYTES_MAX, REFERENCES_MAX};
pub use snapshot::{
    Chunk, Cursor, INGEST_BYTES, Import, ImportChecker, ImportEnd, ImportError, ImportRows,
    ImportWriter, Progress, SNAPSHOT_VERSION, Snapshot,
};
pub use store::{ContentHash, Effect, Entry, FORMAT_VERSION, Outcome, Store};
pub use validate::validate;

/// Safety lines that a test switches off to show that another test would notice.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// The applied slot is committed in a batch after the effects.
    SlotInAnotherBatch,
    /// First answers are not kept.
    ReferencesNotWritten,
    /// A unique index is looked up in the engine only, not in the batch under way.
    UniqueIgnoresOverlay,
    /// An exported snapshot lacks the references.
    SnapshotWithoutReferences,
    /// An import does not compare what a chunk says came before it.
    ChunkChainIgnored,
    /// An update leaves the index entries of old values.
    OldIndexEntriesStay,
    /// What a refused batch did before its refusal stays.
    BatchStays,
    /// That an insert or a write was refused or repeated is not noted for those who follow the store.
    RefusalsLookDone,
    /// A write does not maintain an index that is being built, wherever the build is.
    BuildForgetsWrites,
    /// Two tests on a field with lists narrow one another.
    MultikeyIntersected,
    /// A partial or sparse index serves queries about documents that it leaves out.
    PartialWithoutImplication,
    /// The last byte of a key is not inverted where the field descends.
    DescendingKeyHalfInverted,
    /// A document that several branches of a union find counts at each.
    UnionCountsTwice,
    /// An update that changes nothing of an entry but its form leaves the entry as it is.
    OldFormStays,
    /// A field that an update adds is not taken for one that it changes.
    AddedFieldsUnnoticed,
}

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<PlantedBug>> = const { std::cell::Cell::new(None) };
    static FIRST_DOCUMENTS: std::cell::Cell<usize> =
        const { std::cell::Cell::new(BUILD_FIRST_DOCUMENTS) };
    static VERIFY_WAITING_BYTES: std::cell::Cell<Option<usize>> =
        const { std::cell::Cell::new(None) };
}

/// Another number of documents that an index takes in when it is made in this thread, for tests.
#[cfg(feature = "planted-bugs")]
pub fn set_first_documents_in_thread(documents: usize) {
    FIRST_DOCUMENTS.set(documents);
}

/// Other bytes of entries that a check holds at most in this thread, for tests.
#[cfg(feature = "planted-bugs")]
pub fn set_verify_bytes_in_thread(bytes: usize) {
    VERIFY_WAITING_BYTES.set(Some(bytes));
}

/// Plants a bug in whatever this thread does, where no store is at hand: in plans and keys.
#[cfg(feature = "planted-bugs")]
pub fn plant_in_thread(bug: Option<PlantedBug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "planted-bugs")]
fn planted(bug: PlantedBug) -> bool {
    PLANTED.get() == Some(bug)
}
