//! Snapshots: the rows of a store at one applied slot, in chunks, out of one store ([`Snapshot`]) and
//! into another ([`Import`]).
//!
//! The receiver pulls: it hands the [`Cursor`] of the last chunk it took, and gets the next one. The
//! sender keeps nothing between two chunks but the view, and the same cursor gives the same bytes
//! while the view lives; so a lost chunk is asked for again, and a broken connection goes on where
//! it stood. Both sides hold a bounded number of rows in memory, however large the store.
//!
//! Only rows that the content depends on are sent: not those of destroyed collections, which go at a
//! pace that depends on batching. So the snapshots of two nodes at one slot are the same bytes, if
//! asked for in chunks of the same size, and any of them can go on with what another began.
//!
//! The bytes are in `docs/design/snapshot-format.md`.

mod chunk;
mod export;
mod import;

pub use chunk::{Chunk, Cursor, SNAPSHOT_VERSION};
pub use export::Snapshot;
pub use import::{
    INGEST_BYTES, Import, ImportChecker, ImportEnd, ImportError, ImportRows, ImportWriter, Progress,
};
