//! The receiving side: chunks into an empty engine.

use super::chunk::{Chunk, Cursor};
use crate::engine::{Batch, Direction, Engine, EngineError, Row, View};
use crate::failure::Fatal;
use crate::feed::ChangeRows;
use crate::keys::{self, family};
use crate::store::{Meta, Store};
use bytes::Bytes;

/// Rows of chunks are handed to the engine when they take this much: large enough that its syncs do
/// not count, small enough to be held in memory.
pub const INGEST_BYTES: usize = 32 << 20;

/// Why a chunk, or an import, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The bytes are not as they were made.
    #[error("snapshot: a chunk of {bytes} bytes is damaged: {reason}; ask for it again")]
    Damaged {
        /// How many bytes came.
        bytes: usize,
        /// What shows it.
        reason: &'static str,
    },
    /// The chunk is of another format.
    #[error("snapshot: the chunk has format {found}, this program reads format {known}; update it")]
    Version {
        /// Format of the chunk.
        found: u16,
        /// Format of this program.
        known: u16,
    },
    /// The chunk has the right checksum, but is none that this version makes.
    #[error("snapshot: the sender made a chunk that cannot be read: {reason}")]
    Malformed {
        /// What is wrong, and where.
        reason: String,
    },
    /// The chunk is of a snapshot at another slot.
    #[error("snapshot: a chunk of the snapshot at slot {found} came into that of slot {expected}")]
    OtherSnapshot {
        /// The slot of this import.
        expected: u64,
        /// The slot of the chunk.
        found: u64,
    },
    /// The chunk is not the next one.
    #[error("snapshot: chunk {found} came where chunk {expected} follows; ask for that one")]
    WrongOrder {
        /// The number of the next chunk.
        expected: u64,
        /// The number of the chunk that came.
        found: u64,
    },
    /// The chunk follows other chunks than those that were taken.
    #[error("snapshot: chunk {number} follows other chunks than those that came; ask for it again")]
    BrokenChain {
        /// Its number.
        number: u64,
    },
    /// The import was told to finish before its last chunk came.
    #[error("snapshot: chunk {next} and what follows it have not come yet")]
    Incomplete {
        /// The number of the next chunk.
        next: u64,
    },
    /// The engine holds something already.
    #[error("snapshot: the store's folder is not empty; remove it and begin the import again")]
    NotEmpty,
    /// This node's own trouble: the import cannot go on.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl ImportError {
    /// Whether the import can go on if the chunk at its cursor is asked for again.
    pub fn is_retryable(&self) -> bool {
        match self {
            ImportError::Damaged { .. }
            | ImportError::OtherSnapshot { .. }
            | ImportError::WrongOrder { .. }
            | ImportError::BrokenChain { .. }
            | ImportError::Incomplete { .. } => true,
            ImportError::Version { .. }
            | ImportError::Malformed { .. }
            | ImportError::NotEmpty
            | ImportError::Fatal(_) => false,
        }
    }
}

impl From<EngineError> for ImportError {
    fn from(error: EngineError) -> ImportError {
        ImportError::Fatal(Fatal::Engine(error))
    }
}

/// How far an import has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Behind what was taken: the place to ask for next.
    pub cursor: Cursor,
    /// The slot of the snapshot; none before the first chunk.
    pub slot: Option<u64>,
    /// Rows taken.
    pub rows: u64,
    /// Bytes of chunks taken.
    pub bytes: u64,
    /// Whether the last chunk was taken.
    pub is_complete: bool,
}

/// A store being made from the chunks of a snapshot: an [`ImportChecker`] and an [`ImportWriter`] in one, for who
/// does both in one thread.
///
/// Invariants:
/// 1. From before the first row to after the last the engine holds a mark, and [`Store::open`]
///    refuses what holds it. So an import that was broken off is never taken for a store.
/// 2. The mark goes in the batch that brings the applied slot, when all other rows are durable.
/// 3. A chunk is taken as a whole or not at all; a refused one changes nothing.
/// 4. The keys of all rows rise, so no row comes twice.
pub struct Import<E: Engine> {
    checker: ImportChecker,
    writer: ImportWriter<E>,
}

impl<E: Engine> Import<E> {
    /// As [`ImportWriter::begin`].
    ///
    /// # Errors
    /// [`ImportError::NotEmpty`], or this node's trouble.
    pub fn begin(engine: E) -> Result<Import<E>, ImportError> {
        let writer = ImportWriter::begin(engine)?;
        Ok(Import { checker: ImportChecker::new(), writer })
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        self.checker.progress()
    }

    /// Takes the next chunk. The bytes may come from anybody.
    ///
    /// # Errors
    /// As [`ImportChecker::add`] and [`ImportWriter::write`].
    pub fn add(&mut self, bytes: &[u8]) -> Result<&Progress, ImportError> {
        self.writer.check_usable()?;
        self.checker.add(&Bytes::copy_from_slice(bytes))?;
        if let Some(rows) = self.checker.take_due() {
            self.writer.write(rows)?;
        }
        Ok(self.checker.progress())
    }

    /// Makes the store durable and opens it.
    ///
    /// # Errors
    /// [`ImportError::Incomplete`] before the last chunk has come; this node's trouble; or rows that
    /// are no store.
    pub fn finish(self) -> Result<Store<E>, ImportError> {
        self.writer.check_usable()?;
        self.writer.finish(self.checker.finish()?)
    }

    /// Plants a bug, for a test that must notice it.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: crate::PlantedBug) {
        self.checker.planted = Some(bug);
    }
}

/// Rows that were checked, for an [`ImportWriter`]: as many as it should be given at a time.
#[derive(Debug)]
pub struct ImportRows(Vec<Row>);

/// What an import ends with: the last rows, and those that make a store of them all.
#[derive(Debug)]
pub struct ImportEnd {
    rows: ImportRows,
    /// The rows of the META family: they come last.
    meta: Vec<Row>,
    slot: u64,
}

/// The half of an import that checks chunks and says which one is next. It writes nothing, so that the next chunk can
/// be on its way while an [`ImportWriter`] in another thread waits for the disk.
#[derive(Debug)]
pub struct ImportChecker {
    progress: Progress,
    meta: Vec<Row>,
    /// Rows that no writer has been given yet.
    pending: Vec<Row>,
    pending_bytes: usize,
    #[cfg(feature = "planted-bugs")]
    planted: Option<crate::PlantedBug>,
}

impl Default for ImportChecker {
    fn default() -> ImportChecker {
        ImportChecker::new()
    }
}

impl ImportChecker {
    /// Before the first chunk.
    pub fn new() -> ImportChecker {
        let cursor = Cursor::start();
        ImportChecker {
            progress: Progress { cursor, slot: None, rows: 0, bytes: 0, is_complete: false },
            meta: Vec::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes the next chunk. The bytes may come from anybody.
    ///
    /// # Errors
    /// Why the chunk is refused; the import then stands where it stood, and if the error
    /// [is retryable](ImportError::is_retryable) it goes on with the chunk at its cursor.
    pub fn add(&mut self, bytes: &Bytes) -> Result<&Progress, ImportError> {
        let chunk = Chunk::decode(bytes)?;
        self.check(&chunk)?;
        self.take(bytes, &chunk);
        self.progress.bytes += bytes.len() as u64;
        Ok(&self.progress)
    }

    /// The rows taken so far, once they are many enough to be written: at most [`INGEST_BYTES`] and one chunk.
    pub fn take_due(&mut self) -> Option<ImportRows> {
        (self.pending_bytes >= INGEST_BYTES).then(|| self.take_pending())
    }

    fn take_pending(&mut self) -> ImportRows {
        self.pending_bytes = 0;
        ImportRows(std::mem::take(&mut self.pending))
    }

    /// What the writer needs to finish, after the last chunk.
    ///
    /// # Errors
    /// [`ImportError::Incomplete`] before the last chunk has come.
    pub fn finish(mut self) -> Result<ImportEnd, ImportError> {
        if !self.progress.is_complete {
            return Err(ImportError::Incomplete { next: self.progress.cursor.number });
        }
        let rows = self.take_pending();
        let slot = self.progress.slot.unwrap_or_default();
        Ok(ImportEnd { rows, meta: self.meta, slot })
    }

    fn check(&self, chunk: &Chunk<'_>) -> Result<(), ImportError> {
        let Progress { cursor, slot, is_complete, .. } = &self.progress;
        let (expected, found) = (cursor.number, chunk.number);
        if let Some(expected) = *slot
            && chunk.slot != expected
        {
            return Err(ImportError::OtherSnapshot { expected, found: chunk.slot });
        }
        if found != expected || *is_complete {
            return Err(ImportError::WrongOrder { expected, found });
        }
        if chunk.chain_before != cursor.chain && !self.ignores_chain() {
            return Err(ImportError::BrokenChain { number: found });
        }
        check_content(chunk, cursor)
            .map_err(|reason| ImportError::Malformed { reason: reason.to_owned() })
    }

    fn ignores_chain(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.planted == Some(crate::PlantedBug::ChunkChainIgnored) {
            return true;
        }
        false
    }

    /// Takes over rows that are parts of `bytes`.
    fn take(&mut self, bytes: &Bytes, chunk: &Chunk<'_>) {
        let progress = &mut self.progress;
        for (key, value) in chunk.iter() {
            let is_meta = key.first() == Some(&family::META);
            let rows = if is_meta { &mut self.meta } else { &mut self.pending };
            rows.push((bytes.slice_ref(key), bytes.slice_ref(value)));
        }
        if let Some((key, _)) = chunk.iter().last() {
            progress.cursor.key = key.to_vec();
        }
        self.pending_bytes += bytes.len();
        progress.cursor.number += 1;
        progress.cursor.chain = chunk.chain;
        progress.slot = Some(chunk.slot);
        progress.rows += u64::from(chunk.rows);
        progress.is_complete = chunk.is_last;
    }
}

/// The half of an import that writes what an [`ImportChecker`] has let through, in the order in which it did.
pub struct ImportWriter<E: Engine> {
    engine: E,
    failed: bool,
}

impl<E: Engine> ImportWriter<E> {
    /// Begins over an empty engine; what a broken import left is not empty.
    ///
    /// # Errors
    /// [`ImportError::NotEmpty`], or this node's trouble.
    pub fn begin(mut engine: E) -> Result<ImportWriter<E>, ImportError> {
        if let Some(row) = engine.view().range(&[], &[keys::AFTER], Direction::Forward).next() {
            row?;
            return Err(ImportError::NotEmpty);
        }
        let mut batch = Batch::default();
        batch.changes.insert(keys::import(), Some(Bytes::new()));
        engine.commit(batch)?;
        engine.persist()?;
        Ok(ImportWriter { engine, failed: false })
    }

    /// Writes rows; they are durable when it returns.
    ///
    /// # Errors
    /// This node's trouble; after it every call fails.
    pub fn write(&mut self, rows: ImportRows) -> Result<(), ImportError> {
        self.check_usable()?;
        let result = self.engine.ingest(rows.0.into_iter());
        self.failed = result.is_err();
        Ok(result?)
    }

    /// Makes the store durable and opens it.
    ///
    /// # Errors
    /// This node's trouble; or rows that are no store.
    pub fn finish(mut self, end: ImportEnd) -> Result<Store<E>, ImportError> {
        let ImportEnd { rows, meta, slot } = end;
        self.write(rows)?;
        self.engine.persist()?;
        let mut batch = Batch::default();
        batch.changes.insert(keys::import(), None);
        let meta = meta.into_iter().map(|(key, value)| (key.to_vec(), Some(value)));
        batch.changes.extend(meta);
        // What the entries before it changed is told by stores that applied them.
        let rows = ChangeRows { trimmed: slot, bytes: 0 };
        batch.changes.insert(keys::change_rows(), Some(Bytes::from(rows.encode())));
        self.engine.commit(batch)?;
        self.engine.persist()?;
        Ok(Store::open(self.engine)?)
    }

    fn check_usable(&self) -> Result<(), ImportError> {
        if self.failed { Err(Fatal::Stopped.into()) } else { Ok(()) }
    }
}

/// Whether the rows can be a part of a store at this place.
fn check_content(chunk: &Chunk<'_>, cursor: &Cursor) -> Result<(), &'static str> {
    if chunk.rows == 0 && !chunk.is_last {
        return Err("it has no rows and is not the last");
    }
    let Some((first, value)) = chunk.iter().next() else {
        return if chunk.number > 0 || chunk.slot == 0 { Ok(()) } else { Err("there are no rows") };
    };
    if first <= &cursor.key[..] {
        return Err("its keys are not behind those of the chunk before");
    }
    if chunk.number == 0 {
        let meta = (first == keys::meta()).then(|| Meta::decode(value));
        match meta {
            Some(Ok(meta)) if meta.applied_slot == chunk.slot => {}
            // Another format is told when the store is opened.
            Some(Err(Fatal::Format { .. })) => {}
            _ => return Err("it does not begin with the row of its slot"),
        }
    }
    if chunk.iter().all(|(key, _)| is_sent(key)) { Ok(()) } else { Err("it has a row of no kind") }
}

fn is_sent(key: &[u8]) -> bool {
    match key.first() {
        Some(&family::META) => key == keys::meta() || key == keys::group(),
        Some(kind) => matches!(
            *kind,
            family::CATALOG
                | family::COUNT
                | family::BUILD
                | family::DOCUMENT
                | family::INDEX
                | family::PAIR
                | family::REFERENCE
                | family::CLIENT
        ),
        None => false,
    }
}
