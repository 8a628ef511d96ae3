//! A snapshot on its way into a store beside this node's: chunks are checked in the snapshot thread, and what they hold
//! is written by a thread of its own, so that the next chunks come while the disk is busy.
//!
//! The rows of one write wait at most while those of another are written, so both sides hold twice
//! [`store::INGEST_BYTES`] and a chunk between them.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use store::{
    Fatal, FjallEngine, ImportChecker, ImportError, ImportRows, ImportWriter, Progress, Store,
};

type Writer = ImportWriter<FjallEngine>;

/// A snapshot being taken in.
pub(crate) struct Importing {
    place: PathBuf,
    checker: ImportChecker,
    /// None once the writer has ended, or is to.
    rows: Option<SyncSender<ImportRows>>,
    writing: Option<JoinHandle<Result<Writer, ImportError>>>,
}

impl Importing {
    /// Begins in the empty engine at `place`.
    ///
    /// # Errors
    /// Trouble of this node.
    pub(crate) fn begin(place: PathBuf, engine: FjallEngine) -> Result<Importing, ImportError> {
        let writer = ImportWriter::begin(engine)?;
        // Handed over from hand to hand: nothing waits in between.
        let (sender, receiver) = sync_channel(0);
        let spawned = thread::Builder::new()
            .name("mondongo-import".into())
            .spawn(move || write(writer, &receiver));
        let writing = spawned.map_err(|error| io_fatal(&error))?;
        let (rows, writing) = (Some(sender), Some(writing));
        Ok(Importing { place, checker: ImportChecker::new(), rows, writing })
    }

    /// Where it is taken in.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> &Progress {
        self.checker.progress()
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// As [`ImportChecker::add`].
    pub(crate) fn add(&mut self, chunk: &bytes::Bytes) -> Result<&Progress, ImportError> {
        self.checker.add(chunk)
    }

    /// Hands what has gathered to the writer, if it is enough; waits while it is busy.
    ///
    /// # Errors
    /// Trouble of this node, perhaps from an earlier write. The import cannot go on.
    pub(crate) fn write_due(&mut self) -> Result<(), ImportError> {
        let Some(rows) = self.checker.take_due() else { return Ok(()) };
        let is_sent = self.rows.as_ref().is_some_and(|sender| sender.send(rows).is_ok());
        if is_sent { Ok(()) } else { self.end().map(drop) }
    }

    /// Makes the store durable and opens it.
    ///
    /// # Errors
    /// As [`ImportWriter::finish`].
    pub(crate) fn finish(mut self) -> Result<Store<FjallEngine>, ImportError> {
        let writer = self.end()?;
        writer.finish(std::mem::take(&mut self.checker).finish()?)
    }

    /// Lets the writer write what it was given, and ends it.
    fn end(&mut self) -> Result<Writer, ImportError> {
        drop(self.rows.take());
        match self.writing.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(Fatal::Stopped.into()),
        }
    }
}

impl Drop for Importing {
    /// Nobody else may be in the folder once it is to be removed.
    fn drop(&mut self) {
        if self.writing.is_some() {
            // What becomes of an import that is given up is of no interest.
            drop(self.end());
        }
    }
}

fn write(mut writer: Writer, rows: &Receiver<ImportRows>) -> Result<Writer, ImportError> {
    for rows in rows {
        writer.write(rows)?;
    }
    Ok(writer)
}

pub(crate) fn io_fatal(error: &std::io::Error) -> ImportError {
    ImportError::Fatal(Fatal::Engine(store::EngineError::Io(error.to_string())))
}
