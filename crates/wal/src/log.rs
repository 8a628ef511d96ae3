//! [`Log`]: the single writer.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::activate::{activate, retire};
use crate::error::io_error;
use crate::frame::{FrameKind, Identity, MARK_BYTES, frame_bytes};
use crate::options::PAGE_BYTES;
use crate::reader::LogReader;
use crate::recovery::{self, Recovery};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::spare::{Spare, SparePlan};
use crate::{Disk, DiskFile, Error, LogId, Options, PlantedBug, Position};

/// A buffer that grew beyond this many bytes for one large group is given back afterwards.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// A write-ahead log, open for appending. See the [crate's documentation](crate) for what it keeps and how.
///
/// Invariants:
/// 1. `pieces` is never empty. Its first piece belongs to the newest segment on the disk or to the one after it,
///    and each further one to the segment after its predecessor's.
/// 2. A piece starts where everything before it in its segment is durable.
/// 3. Behind every record there is room for a mark in the same segment.
pub struct Log<D: Disk> {
    disk: Arc<D>,
    options: Arc<Options>,
    log_id: LogId,
    /// Also owns the map of segments, which is shared with every reader.
    reader: LogReader<D>,
    pieces: VecDeque<Piece>,
    spares: VecDeque<Spare<D>>,
    spare_number_next: u64,
    /// Whether the last frame of the log, buffered ones included, is a mark.
    ends_with_mark: bool,
    poisoned_by: Option<String>,
}

/// The part of the buffered records that goes into one segment with one write and one sync: a group.
struct Piece {
    sequence: u32,
    segment_bytes: u64,
    identity: Identity,
    /// Offset in the segment at which `frames` will lie.
    start: u32,
    frames: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u32 {
        self.start + self.frames.len() as u32
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log in the folder, or makes one, and shows every record to `each` in order.
    ///
    /// A torn tail is cut and reported. When this returns, all that was shown is durable.
    /// After an error some records may have been shown; they count for nothing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names damage and changes nothing; [`Error::Version`], [`Error::WrongLog`],
    /// [`Error::Missing`], [`Error::Options`], [`Error::NoSpace`] (for the first segment), [`Error::Io`];
    /// [`Error::Rejected`] if `each` refuses a record.
    pub fn open(
        disk: D,
        options: Options,
        each: impl FnMut(Position, &[u8]) -> Result<(), String>,
    ) -> Result<(Log<D>, Recovery), Error> {
        let disk = Arc::new(disk);
        let opened = recovery::open(&disk, &options, each)?;
        let (options, end) = (Arc::new(options), opened.recovery.end);
        let log_id = opened.recovery.log_id;
        let last = &opened.segments[&end.segment];
        let piece = Piece {
            sequence: end.segment,
            segment_bytes: last.segment_bytes,
            identity: Identity::new(log_id, end.segment, &options),
            start: end.offset,
            frames: Vec::new(),
        };
        let log = Log {
            disk,
            log_id,
            reader: LogReader::new(opened.segments, log_id, Arc::clone(&options)),
            options,
            pieces: VecDeque::from([piece]),
            spares: opened.spares,
            spare_number_next: opened.spare_number_next,
            ends_with_mark: opened.recovery.sealed,
            poisoned_by: None,
        };
        Ok((log, opened.recovery))
    }

    /// Buffers a record; it may be empty. Nothing reaches the disk before [`Log::flush`], and the buffer has no
    /// bound of its own: whoever appends bounds it (see [`Log::buffered_bytes`]).
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Exhausted`], [`Error::Poisoned`]; the record is then not in the log.
    pub fn append(&mut self, record: &[u8]) -> Result<Position, Error> {
        self.check_poison()?;
        if record.len() as u64 > self.options.record_bytes_max {
            return Err(Error::TooLarge {
                bytes: record.len() as u64,
                bytes_max: self.options.record_bytes_max,
            });
        }
        let needed = (frame_bytes(record.len()) + MARK_BYTES) as u64;
        if u64::from(self.tail().end()) + needed > self.tail().segment_bytes {
            self.begin_piece(needed)?;
        }
        Ok(self.push_frame(FrameKind::Record, record))
    }

    /// Writes all that is buffered and makes it durable: one write and one sync for each segment it goes to,
    /// which is normally one. When this returns `Ok`, every record appended so far is durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if a further segment is needed and does not fit: nothing is lost, some of the records may be
    /// durable already, and `flush` may be called again once there is room. [`Error::Io`] poisons the log: whether
    /// the buffered records are durable shows when the log is opened again. [`Error::Poisoned`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.check_poison()?;
        let flushed = self.flush_pieces();
        self.poison_on_error(flushed)
    }

    /// Flushes, and then writes a mark that says that every record is durable, if the log does not end with one.
    ///
    /// Damage to the last flushed group cannot be told from a torn tail as long as nothing was written after it;
    /// the mark makes the difference. Meant for idle moments and an orderly stop: it costs a second write and sync.
    ///
    /// # Errors
    /// As [`Log::flush`].
    pub fn seal(&mut self) -> Result<(), Error> {
        self.flush()?;
        let empty = self.tail().end() as usize == SEGMENT_HEADER_BYTES;
        if self.ends_with_mark || empty {
            return Ok(());
        }
        self.push_frame(FrameKind::Mark, &[]);
        self.flush()
    }

    /// Reads a record, buffered or flushed, and checks it.
    ///
    /// # Errors
    /// As [`LogReader::read`], and [`Error::Poisoned`].
    pub fn read(&self, position: Position) -> Result<Bytes, Error> {
        self.check_poison()?;
        let buffered = |piece: &&Piece| {
            piece.sequence == position.segment
                && (piece.start..piece.end()).contains(&position.offset)
        };
        let Some(piece) = self.pieces.iter().find(buffered) else {
            return self.reader.read(position);
        };
        let frame = &piece.frames[(position.offset - piece.start) as usize..];
        piece
            .identity
            .decode_header(position.offset, frame)
            .and_then(|header| header.payload(frame))
            .map(Bytes::copy_from_slice)
            .ok_or(Error::NoRecord { position, reason: "no record begins there" })
    }

    /// A handle that reads flushed records, also from other threads.
    pub fn reader(&self) -> LogReader<D> {
        self.reader.clone()
    }

    /// Takes away every segment that holds only records before `position`, by reuse or removal.
    /// The newest segment always stays. Records before `position` in segments that stay are kept and shown again.
    ///
    /// # Errors
    /// [`Error::NoRecord`] if `position` is past the end; [`Error::Io`], which poisons the log; [`Error::Poisoned`].
    pub fn cut_before(&mut self, position: Position) -> Result<(), Error> {
        self.check_poison()?;
        if position > self.end() {
            let reason = "a cut must not reach past the end of the log";
            return Err(Error::NoRecord { position, reason });
        }
        loop {
            let (first, newest) = self.segment_range();
            if first >= position.segment.min(newest) {
                return Ok(());
            }
            let cut = self.cut_segment(first);
            self.poison_on_error(cut)?;
        }
    }

    /// A plan for a spare segment if there is none; see [`SparePlan`]. One plan at a time is enough.
    pub fn spare_wanted(&mut self) -> Option<SparePlan<D>> {
        let wanted =
            self.spares.is_empty() && self.options.spares_max > 0 && self.poisoned_by.is_none();
        wanted.then(|| self.plan_spare(self.options.segment_bytes))
    }

    /// Takes a spare that was made from a plan of this log. One too many is removed.
    ///
    /// # Errors
    /// [`Error::Poisoned`], or [`Error::Io`] if one too many cannot be removed; that poisons the log.
    pub fn adopt_spare(&mut self, spare: Spare<D>) -> Result<(), Error> {
        self.check_poison()?;
        if self.spares.len() < self.options.spares_max && spare.bytes == self.options.segment_bytes
        {
            self.spares.push_back(spare);
            return Ok(());
        }
        let removed = self.disk.remove(&spare.name);
        self.poison_on_error(removed.map_err(io_error("remove", spare.name)))
    }

    /// Makes a spare now, on this thread, if there is none.
    ///
    /// # Errors
    /// [`Error::NoSpace`], which leaves the log as it was; [`Error::Io`], which poisons it; [`Error::Poisoned`].
    pub fn prepare_next(&mut self) -> Result<(), Error> {
        self.check_poison()?;
        let Some(plan) = self.spare_wanted() else {
            return Ok(());
        };
        let made = plan.execute();
        let spare = self.poison_on_error(made)?;
        self.adopt_spare(spare)
    }

    /// The end of the log: every record so far, buffered ones included, lies before it, every later one at it or after.
    pub fn end(&self) -> Position {
        Position { segment: self.tail().sequence, offset: self.tail().end() }
    }

    /// The end of what is durable.
    pub fn durable_end(&self) -> Position {
        self.reader.durable_end()
    }

    /// Where the oldest segment begins: no record lies before it.
    pub fn first(&self) -> Position {
        Position { segment: self.segment_range().0, offset: SEGMENT_HEADER_BYTES as u32 }
    }

    /// Bytes of all segment files, spares included.
    pub fn bytes_on_disk(&self) -> u64 {
        let segments = self.reader.segments();
        let used: u64 = segments.values().map(|segment| segment.segment_bytes).sum();
        used + self.spares.iter().map(|spare| spare.bytes).sum::<u64>()
    }

    /// Bytes that the next flush will write.
    pub fn buffered_bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.frames.len()).sum()
    }

    /// The log's identity.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The first failure, if the log is poisoned.
    pub fn poisoned_by(&self) -> Option<&str> {
        self.poisoned_by.as_deref()
    }

    fn tail(&self) -> &Piece {
        self.pieces.back().expect("invariant 1: there is a piece")
    }

    /// The oldest and the newest segment on the disk.
    fn segment_range(&self) -> (u32, u32) {
        let segments = self.reader.segments();
        let first = segments.first_key_value().expect("a log has a segment");
        let newest = segments.last_key_value().expect("a log has a segment");
        (*first.0, *newest.0)
    }

    fn push_frame(&mut self, kind: FrameKind, payload: &[u8]) -> Position {
        let piece = self.pieces.back_mut().expect("invariant 1: there is a piece");
        let (segment, offset) = (piece.sequence, piece.end());
        piece.identity.encode(&mut piece.frames, offset, piece.start, kind, payload);
        assert!(u64::from(piece.end()) <= piece.segment_bytes, "a frame leaves its segment");
        self.ends_with_mark = kind == FrameKind::Mark;
        Position { segment, offset }
    }

    /// Starts buffering for the segment after the newest, which must have room for `needed` bytes of frames.
    fn begin_piece(&mut self, needed: u64) -> Result<(), Error> {
        let sequence = self.tail().sequence.checked_add(1).ok_or(Error::Exhausted)?;
        let own = (SEGMENT_HEADER_BYTES as u64 + needed).next_multiple_of(PAGE_BYTES);
        self.pieces.push_back(Piece {
            sequence,
            segment_bytes: own.max(self.options.segment_bytes),
            identity: self.reader.identity(sequence),
            start: SEGMENT_HEADER_BYTES as u32,
            frames: Vec::new(),
        });
        Ok(())
    }

    fn flush_pieces(&mut self) -> Result<(), Error> {
        loop {
            let newest = self.segment_range().1;
            if self.pieces[0].sequence != newest {
                assert_eq!(self.pieces[0].sequence, newest + 1, "invariant 1");
                self.begin_segment()?;
            }
            if !self.pieces[0].frames.is_empty() {
                self.write_group()?;
            }
            if self.pieces.len() == 1 {
                return Ok(());
            }
            self.pieces.pop_front();
        }
    }

    /// Writes the first piece and makes it durable; leaves it empty.
    fn write_group(&mut self) -> Result<(), Error> {
        let last = self.pieces.len() == 1;
        let piece = &mut self.pieces[0];
        let name = segment_name(piece.sequence);
        let file = Arc::clone(&self.reader.segments()[&piece.sequence].file);
        let (start, end) = (u64::from(piece.start), piece.end());
        // Whole pages: else the kernel would first have to read the rest of a page that it does not hold.
        // What lies behind the end counts for nothing, so zeros may be written there.
        let padded_end = u64::from(end).next_multiple_of(PAGE_BYTES).min(piece.segment_bytes);
        piece.frames.resize((padded_end - start) as usize, 0);
        file.write_at(start, &piece.frames).map_err(io_error("write", &name))?;
        let skipped = self.options.plants(PlantedBug::AcknowledgeWithoutSync)
            || (self.options.plants(PlantedBug::RollWithoutSync) && !last);
        if !skipped {
            sync(file.as_ref(), &self.options).map_err(io_error("sync", &name))?;
        }
        piece.frames.clear();
        piece.frames.shrink_to(BUFFER_BYTES_KEPT);
        piece.start = end;
        let mut segments = self.reader.segments_mut();
        let segment = segments.get_mut(&piece.sequence).expect("the newest segment stays");
        segment.durable_end = end;
        Ok(())
    }

    /// Makes the segment of the first piece. Everything before it is durable (invariant 3 of the crate's documentation).
    fn begin_segment(&mut self) -> Result<(), Error> {
        let (sequence, bytes) = (self.pieces[0].sequence, self.pieces[0].segment_bytes);
        let previous = self.durable_end();
        assert_eq!(previous.segment + 1, sequence);
        let fitting = self.spares.iter().position(|spare| spare.bytes == bytes);
        let spare = match fitting.and_then(|index| self.spares.remove(index)) {
            Some(spare) => spare,
            None => self.plan_spare(bytes).execute()?,
        };
        let header = SegmentHeader {
            sequence,
            log_id: self.log_id,
            segment_bytes: bytes,
            previous_end: previous.offset,
        };
        let segment = activate(self.disk.as_ref(), spare, &header, &self.options)?;
        self.reader.segments_mut().insert(sequence, segment);
        Ok(())
    }

    fn cut_segment(&mut self, sequence: u32) -> Result<(), Error> {
        let segment =
            self.reader.segments_mut().remove(&sequence).expect("the oldest segment is in the map");
        let reused = segment.segment_bytes == self.options.segment_bytes
            && self.spares.len() < self.options.spares_max;
        let number = reused.then(|| self.take_spare_number());
        let disk = self.disk.as_ref();
        let spare = retire(disk, sequence, &segment, number, &self.options)?;
        self.spares.extend(spare);
        Ok(())
    }

    fn plan_spare(&mut self, bytes: u64) -> SparePlan<D> {
        SparePlan { disk: Arc::clone(&self.disk), number: self.take_spare_number(), bytes }
    }

    fn take_spare_number(&mut self) -> u64 {
        self.spare_number_next += 1;
        self.spare_number_next - 1
    }

    fn check_poison(&self) -> Result<(), Error> {
        match &self.poisoned_by {
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Remembers the first failure; only a missing segment for want of space is not one.
    fn poison_on_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && !error.is_no_space()
            && self.poisoned_by.is_none()
        {
            self.poisoned_by = Some(error.to_string());
        }
        result
    }
}

impl<D: Disk> fmt::Debug for Log<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Log")
            .field("log_id", &self.log_id)
            .field("first", &self.first())
            .field("durable_end", &self.durable_end())
            .field("end", &self.end())
            .field("poisoned_by", &self.poisoned_by)
            .finish_non_exhaustive()
    }
}

fn sync<F: DiskFile>(file: &F, options: &Options) -> std::io::Result<()> {
    let synced = file.sync_data();
    if options.plants(PlantedBug::RetryFailedSync) {
        return synced.or_else(|_| file.sync_data());
    }
    synced
}
