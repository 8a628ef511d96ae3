//! [`LogReader`]: reading flushed records, also from other threads.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use crate::disk::read_fully;
use crate::error::io_error;
use crate::frame::{FRAME_ALIGNMENT_BYTES, FrameKind, Identity};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, segment_name};
use crate::{Disk, Error, LogId, Options, Position};

/// The first read of a record takes this many bytes; most records fit.
const FIRST_READ_BYTES: usize = 4096;

/// A handle that reads flushed records while the log goes on. Cheap to clone.
///
/// It goes on working when the log is poisoned: what it reads was durable before.
pub struct LogReader<D: Disk> {
    segments: Arc<RwLock<BTreeMap<u32, Segment<D::File>>>>,
    log_id: LogId,
    options: Arc<Options>,
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        LogReader {
            segments: Arc::clone(&self.segments),
            log_id: self.log_id,
            options: Arc::clone(&self.options),
        }
    }
}

impl<D: Disk> LogReader<D> {
    pub(crate) fn new(
        segments: BTreeMap<u32, Segment<D::File>>,
        log_id: LogId,
        options: Arc<Options>,
    ) -> LogReader<D> {
        LogReader { segments: Arc::new(RwLock::new(segments)), log_id, options }
    }

    /// Reads one flushed record and checks it.
    ///
    /// # Errors
    /// [`Error::NoRecord`] if it was cut or not flushed yet, [`Error::Corrupt`] if what lies there is not
    /// a valid record, [`Error::Io`] if the disk fails. None of these poisons the log.
    pub fn read(&self, position: Position) -> Result<Bytes, Error> {
        let (file, durable_end) = self.locate(position)?;
        let read = self.read_frame(file.as_ref(), position, durable_end);
        if read.is_err() {
            // The segment may have been cut and its file put to new use since it was looked up.
            self.locate(position)?;
        }
        read
    }

    /// Where the records that can be read end.
    pub fn durable_end(&self) -> Position {
        let segments = self.segments();
        let (&segment, last) = segments.last_key_value().expect("a log has a segment");
        Position { segment, offset: last.durable_end }
    }

    pub(crate) fn segments(&self) -> RwLockReadGuard<'_, BTreeMap<u32, Segment<D::File>>> {
        // Every change of the map is one step, so a panic elsewhere leaves it whole.
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn segments_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<u32, Segment<D::File>>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn identity(&self, sequence: u32) -> Identity {
        Identity::new(self.log_id, sequence, &self.options)
    }

    fn locate(&self, position: Position) -> Result<(Arc<D::File>, u32), Error> {
        let none = |reason| Err(Error::NoRecord { position, reason });
        let segments = self.segments();
        let Some(segment) = segments.get(&position.segment) else {
            return match segments.first_key_value() {
                Some((&first, _)) if position.segment < first => none("its segment was cut"),
                _ => none("it is past the end of the flushed log"),
            };
        };
        if position.offset >= segment.durable_end {
            return none("it is past the end of the flushed records of its segment");
        }
        if (position.offset as usize) < SEGMENT_HEADER_BYTES
            || !(position.offset as usize).is_multiple_of(FRAME_ALIGNMENT_BYTES)
        {
            return none("no record can begin there");
        }
        Ok((Arc::clone(&segment.file), segment.durable_end))
    }

    fn read_frame(
        &self,
        file: &D::File,
        position: Position,
        durable_end: u32,
    ) -> Result<Bytes, Error> {
        let available = (durable_end - position.offset) as usize;
        let mut frame = vec![0; available.min(FIRST_READ_BYTES)];
        self.fill(file, position, &mut frame, 0)?;
        let Some(header) = self.identity(position.segment).decode_header(position.offset, &frame)
        else {
            return Err(corrupt(position, "the frame's header is damaged"));
        };
        if header.kind == FrameKind::Mark {
            let reason = "a mark lies there, not a record";
            return Err(Error::NoRecord { position, reason });
        }
        if header.frame_bytes() > available {
            return Err(corrupt(position, "the record is longer than the log"));
        }
        let known = frame.len();
        if header.frame_bytes() > known {
            frame.resize(header.frame_bytes(), 0);
            self.fill(file, position, &mut frame, known)?;
        }
        match header.payload(&frame) {
            Some(payload) => Ok(Bytes::copy_from_slice(payload)),
            None => Err(corrupt(position, "the record's checksum does not match")),
        }
    }

    /// Fills `frame` from index `known` on with the bytes of the file behind `position`.
    fn fill(
        &self,
        file: &D::File,
        position: Position,
        frame: &mut [u8],
        known: usize,
    ) -> Result<(), Error> {
        let offset = u64::from(position.offset) + known as u64;
        let count = read_fully(file, offset, &mut frame[known..])
            .map_err(io_error("read", segment_name(position.segment)))?;
        if count == frame.len() - known {
            return Ok(());
        }
        Err(corrupt(position, "the file is cut short inside the record"))
    }
}

fn corrupt(position: Position, reason: &str) -> Error {
    Error::Corrupt {
        segment: position.segment,
        offset: u64::from(position.offset),
        reason: reason.into(),
    }
}
