//! Opening a log: finding its segments, checking every byte that counts, cutting a torn tail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::activate::{activate, sync_folder};
use crate::disk::read_fully;
use crate::error::io_error;
use crate::frame::Identity;
use crate::scan::{ScanEnd, Tail, judge_tail, scan};
use crate::segment::{
    FileKind, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, making_name, parse_name, read_header,
    segment_name, spare_name,
};
use crate::spare::{Spare, SparePlan};
use crate::{Disk, DiskFile, Error, LogId, Options, PlantedBug, Position};

/// What opening a log found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// Whether there was no log and a new one was made.
    pub created: bool,
    /// The log's identity.
    pub log_id: LogId,
    /// Number of segments.
    pub segments: usize,
    /// Number of records, all of which were shown to the caller.
    pub records: u64,
    /// Where the oldest segment's records begin.
    pub first: Position,
    /// Where the last segment's records end.
    pub end: Position,
    /// Length of what was cut: remains of a group that never became durable, so that nobody was told it was.
    /// 0 after a clean end. (A group of which no frame header reached the disk leaves no trace.)
    pub torn_bytes: u64,
    /// Whether the log ends with a mark, see [`crate::Log::seal`]: then its end is known to be complete.
    pub sealed: bool,
}

/// A log just opened, before it is wrapped up as a [`crate::Log`].
pub(crate) struct Opened<D: Disk> {
    pub(crate) segments: BTreeMap<u32, Segment<D::File>>,
    pub(crate) spares: VecDeque<Spare<D>>,
    pub(crate) spare_number_next: u64,
    pub(crate) recovery: Recovery,
}

pub(crate) fn open<D: Disk>(
    disk: &Arc<D>,
    options: &Options,
    mut each: impl FnMut(Position, &[u8]) -> Result<(), String>,
) -> Result<Opened<D>, Error> {
    options.validate()?;
    let files = list(disk.as_ref())?;
    let spare_number_next = 1 + files.spares.iter().chain(&files.makings).max().unwrap_or(&0);
    if files.segments.is_empty() {
        return create(disk, options, &files, spare_number_next);
    }
    let mut found = open_segments(disk.as_ref(), &files.segments)?;
    let log_id = check_headers(&found, options)?;

    let mut records = 0;
    let mut buffer = Vec::new();
    for index in 0..found.len() - 1 {
        let end = found[index + 1].header.previous_end;
        records += read_full_segment(&found[index], end, options, &mut buffer, &mut each)?;
        found[index].durable_end = end;
    }
    let last = found.last_mut().expect("the folder has segments");
    let (end, torn_bytes) = read_last_segment(last, options, &mut buffer, &mut each)?;
    last.durable_end = end.offset;
    records += end.records;

    let spares = open_spares(disk.as_ref(), options, &files)?;
    // A name that this process sees may be durable or not; from here on they all are.
    sync_folder(disk.as_ref(), options)?;
    let recovery = Recovery {
        created: false,
        log_id,
        segments: found.len(),
        records,
        first: position(found[0].header.sequence, SEGMENT_HEADER_BYTES as u32),
        end: position(found[found.len() - 1].header.sequence, end.offset),
        torn_bytes,
        sealed: end.ends_with_mark,
    };
    let segments = found.into_iter().map(Found::into_segment).collect();
    Ok(Opened { segments, spares, spare_number_next, recovery })
}

/// Reads a log as opening it would, shows every record to `each`, and changes nothing: a torn tail is told in
/// [`Recovery::torn_bytes`] and stays. The log need not be closed, but what is appended or cut meanwhile may be seen in part.
///
/// # Errors
/// As those of [`crate::Log::open`]; an empty folder is [`Error::Missing`].
pub fn examine<D: Disk>(
    disk: &D,
    options: &Options,
    mut each: impl FnMut(Position, &[u8]) -> Result<(), String>,
) -> Result<Recovery, Error> {
    let files = list(disk)?;
    if files.segments.is_empty() {
        return Err(Error::Missing);
    }
    let found = open_segments(disk, &files.segments)?;
    let log_id = check_headers(&found, options)?;
    let mut records = 0;
    let mut buffer = Vec::new();
    for pair in found.windows(2) {
        let end = pair[1].header.previous_end;
        records += read_full_segment(&pair[0], end, options, &mut buffer, &mut each)?;
    }
    let last = found.last().expect("the folder has segments");
    let (end, torn_until) = judge_last_segment(last, options, &mut buffer, &mut each)?;
    Ok(Recovery {
        created: false,
        log_id,
        segments: found.len(),
        records: records + end.records,
        first: position(found[0].header.sequence, SEGMENT_HEADER_BYTES as u32),
        end: position(last.header.sequence, end.offset),
        torn_bytes: u64::from(torn_until - end.offset),
        sealed: end.ends_with_mark,
    })
}

fn create<D: Disk>(
    disk: &Arc<D>,
    options: &Options,
    files: &Files,
    spare_number: u64,
) -> Result<Opened<D>, Error> {
    if !options.create {
        return Err(Error::Missing);
    }
    let mut spares = open_spares(disk.as_ref(), options, files)?;
    let spare = match spares.pop_front() {
        Some(spare) => spare,
        None => {
            SparePlan { disk: Arc::clone(disk), number: spare_number, bytes: options.segment_bytes }
                .execute()?
        }
    };
    let header = SegmentHeader {
        sequence: 1,
        log_id: options.log_id.unwrap_or_default(),
        segment_bytes: options.segment_bytes,
        previous_end: 0,
    };
    let segment = activate(disk.as_ref(), spare, &header, options)?;
    let begin = position(1, segment.durable_end);
    Ok(Opened {
        segments: BTreeMap::from([(1, segment)]),
        spares,
        spare_number_next: spare_number + 1,
        recovery: Recovery {
            created: true,
            log_id: header.log_id,
            segments: 1,
            records: 0,
            first: begin,
            end: begin,
            torn_bytes: 0,
            sealed: false,
        },
    })
}

/// The log's files in the folder, by kind, in order.
struct Files {
    segments: Vec<u32>,
    spares: Vec<u64>,
    makings: Vec<u64>,
}

fn list<D: Disk>(disk: &D) -> Result<Files, Error> {
    let mut files = Files { segments: Vec::new(), spares: Vec::new(), makings: Vec::new() };
    for name in disk.list().map_err(io_error("list", "the folder"))? {
        match parse_name(&name) {
            Some(FileKind::Segment(sequence)) => files.segments.push(sequence),
            Some(FileKind::Spare(number)) => files.spares.push(number),
            Some(FileKind::Making(number)) => files.makings.push(number),
            None => {}
        }
    }
    files.segments.sort_unstable();
    files.spares.sort_unstable();
    files.makings.sort_unstable();
    Ok(files)
}

/// A segment of the folder with its header read.
struct Found<F> {
    header: SegmentHeader,
    file: Arc<F>,
    durable_end: u32,
}

impl<F> Found<F> {
    fn into_segment(self) -> (u32, Segment<F>) {
        let segment = Segment {
            file: self.file,
            segment_bytes: self.header.segment_bytes,
            durable_end: self.durable_end,
        };
        (self.header.sequence, segment)
    }
}

fn open_segments<D: Disk>(disk: &D, sequences: &[u32]) -> Result<Vec<Found<D::File>>, Error> {
    for pair in sequences.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(Error::Corrupt {
                segment: pair[0] + 1,
                offset: 0,
                reason: format!(
                    "the segment is missing: segments {} and {} are there",
                    pair[0], pair[1]
                ),
            });
        }
    }
    let mut found = Vec::new();
    for &sequence in sequences {
        let name = segment_name(sequence);
        let file = disk.open(&name).map_err(io_error("open", &name))?;
        let header = read_header(&file, sequence)?;
        found.push(Found { header, file: Arc::new(file), durable_end: 0 });
    }
    Ok(found)
}

/// Checks the headers against each other and against the options; answers the log's identity.
fn check_headers<F>(found: &[Found<F>], options: &Options) -> Result<LogId, Error> {
    let log_id = found[0].header.log_id;
    if let Some(expected) = options.log_id
        && expected != log_id
    {
        return Err(Error::WrongLog { expected, found: log_id });
    }
    for pair in found.windows(2) {
        let (before, header) = (&pair[0].header, &pair[1].header);
        let corrupt =
            |offset, reason| Err(Error::Corrupt { segment: header.sequence, offset, reason });
        if header.log_id != log_id {
            let reason = format!(
                "the segment belongs to log {}, the ones before it to log {log_id}",
                header.log_id
            );
            return corrupt(16, reason);
        }
        let end = u64::from(header.previous_end);
        if end < SEGMENT_HEADER_BYTES as u64 || end > before.segment_bytes {
            let reason = format!("the header says that the segment before ends at {end}");
            return corrupt(40, reason);
        }
    }
    Ok(log_id)
}

/// Reads a segment that another one follows: every byte up to `end` was durable before that one was made.
fn read_full_segment<F: DiskFile>(
    found: &Found<F>,
    end: u32,
    options: &Options,
    buffer: &mut Vec<u8>,
    each: &mut impl FnMut(Position, &[u8]) -> Result<(), String>,
) -> Result<u64, Error> {
    let sequence = found.header.sequence;
    read_segment(found, u64::from(end), buffer)?;
    let identity = Identity::new(found.header.log_id, sequence, options);
    let scanned =
        scan(identity, buffer, |offset, record| show(each, position(sequence, offset), record))?;
    if scanned.offset == end {
        return Ok(scanned.records);
    }
    Err(Error::Corrupt {
        segment: sequence,
        offset: u64::from(scanned.offset),
        reason: format!(
            "{}; segment {} was begun when everything up to offset {end} was durable",
            scanned.stopped_by,
            sequence + 1
        ),
    })
}

/// Reads the segment that the log ends in and makes its end good; answers the end and the bytes cut.
fn read_last_segment<F: DiskFile>(
    found: &Found<F>,
    options: &Options,
    buffer: &mut Vec<u8>,
    each: &mut impl FnMut(Position, &[u8]) -> Result<(), String>,
) -> Result<(ScanEnd, u64), Error> {
    let (end, torn_until) = judge_last_segment(found, options, buffer, each)?;
    repair(found, &end, torn_until, options, buffer)?;
    let torn_bytes = u64::from(torn_until - end.offset);
    Ok((end, torn_bytes))
}

/// Reads the segment that the log ends in; answers the end, and the offset at which the remains behind it end.
fn judge_last_segment<F: DiskFile>(
    found: &Found<F>,
    options: &Options,
    buffer: &mut Vec<u8>,
    each: &mut impl FnMut(Position, &[u8]) -> Result<(), String>,
) -> Result<(ScanEnd, u32), Error> {
    let sequence = found.header.sequence;
    read_segment(found, found.header.segment_bytes, buffer)?;
    let identity = Identity::new(found.header.log_id, sequence, options);
    let end =
        scan(identity, buffer, |offset, record| show(each, position(sequence, offset), record))?;
    let torn_until = match judge_tail(identity, buffer, end.offset, options) {
        Tail::Clean => end.offset,
        Tail::Torn { until } => until,
        Tail::Corrupt { proof, durable_before } => {
            return Err(Error::Corrupt {
                segment: sequence,
                offset: u64::from(end.offset),
                reason: format!(
                    "{}; the frame at offset {proof} was written when everything before offset {durable_before} was durable",
                    end.stopped_by
                ),
            });
        }
    };
    Ok((end, torn_until))
}

/// Makes the end of the log durable as it was read: the last group is written again, what was cut is zeroed.
///
/// The last group may have been read from the memory of the operating system, without being on the disk: its
/// process was killed before the sync, or the sync failed (then the pages count as clean, and a sync alone
/// would not write them). Without this, a record that the caller was shown could be gone after a power loss.
fn repair<F: DiskFile>(
    found: &Found<F>,
    end: &ScanEnd,
    torn_until: u32,
    options: &Options,
    segment: &mut [u8],
) -> Result<(), Error> {
    let mut from = end.group_start as usize;
    let mut until = torn_until as usize;
    if options.plants(PlantedBug::TrustPageCache) {
        from = end.offset as usize;
    }
    if options.plants(PlantedBug::KeepCutTail) {
        until = end.offset as usize;
    }
    let name = segment_name(found.header.sequence);
    if until > end.offset as usize {
        segment[end.offset as usize..until].fill(0);
    }
    if from < until {
        found
            .file
            .write_at(from as u64, &segment[from..until])
            .map_err(io_error("write", &name))?;
    }
    found.file.sync_data().map_err(io_error("sync", &name))
}

fn read_segment<F: DiskFile>(
    found: &Found<F>,
    bytes: u64,
    buffer: &mut Vec<u8>,
) -> Result<(), Error> {
    let sequence = found.header.sequence;
    buffer.clear();
    buffer.resize(bytes as usize, 0);
    let count = read_fully(found.file.as_ref(), 0, buffer)
        .map_err(io_error("read", segment_name(sequence)))?;
    if count == buffer.len() {
        return Ok(());
    }
    Err(Error::Corrupt {
        segment: sequence,
        offset: count as u64,
        reason: "the file became shorter while it was read".into(),
    })
}

/// Opens the spares that can be used and removes the others, and what was left half made.
fn open_spares<D: Disk>(
    disk: &D,
    options: &Options,
    files: &Files,
) -> Result<VecDeque<Spare<D>>, Error> {
    let mut spares = VecDeque::new();
    for &number in &files.makings {
        let name = making_name(number);
        disk.remove(&name).map_err(io_error("remove", &name))?;
    }
    for &number in &files.spares {
        let name = spare_name(number);
        let file = disk.open(&name).map_err(io_error("open", &name))?;
        let bytes = file.bytes_len().map_err(io_error("measure", &name))?;
        if bytes == options.segment_bytes && spares.len() < options.spares_max {
            spares.push_back(Spare { name, file: Arc::new(file), bytes });
        } else {
            disk.remove(&name).map_err(io_error("remove", &name))?;
        }
    }
    Ok(spares)
}

fn show(
    each: &mut impl FnMut(Position, &[u8]) -> Result<(), String>,
    position: Position,
    record: &[u8],
) -> Result<(), Error> {
    each(position, record).map_err(|reason| Error::Rejected { position, reason })
}

fn position(segment: u32, offset: u32) -> Position {
    Position { segment, offset }
}
