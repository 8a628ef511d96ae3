//! Segment files: their names and their header. The table is in `docs/design/wal-format.md`.

use std::sync::Arc;

use crate::disk::read_fully;
use crate::error::io_error;
use crate::{DiskFile, Error, LogId};

/// Length of the segment header in bytes; the first frame begins here.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

/// The format version that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"mdb-wal\n";

/// The first bytes of a segment file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) sequence: u32,
    pub(crate) log_id: LogId,
    /// Length of the file.
    pub(crate) segment_bytes: u64,
    /// Where the records of the segment before end; 0 in the first segment of a log.
    pub(crate) previous_end: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log_id.0);
        bytes[32..40].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.previous_end.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header of the segment that its name says is number `sequence`.
    fn decode(sequence: u32, bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<SegmentHeader, Error> {
        let corrupt = |offset, reason| Error::Corrupt { segment: sequence, offset, reason };
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        if bytes[..8] != MAGIC {
            return Err(corrupt(0, "the header's magic bytes are damaged".into()));
        }
        if crc32c::crc32c(&bytes[..60]) != word(60) {
            return Err(corrupt(0, "the header's checksum does not match".into()));
        }
        if word(8) != FORMAT_VERSION {
            return Err(Error::Version {
                segment: sequence,
                found: word(8),
                known: FORMAT_VERSION,
            });
        }
        if word(12) != sequence {
            let reason = format!("the header says that this is segment {}", word(12));
            return Err(corrupt(12, reason));
        }
        Ok(SegmentHeader {
            sequence,
            log_id: LogId(bytes[16..32].try_into().expect("16 bytes")),
            segment_bytes: u64::from_le_bytes(bytes[32..40].try_into().expect("8 bytes")),
            previous_end: word(40),
        })
    }
}

/// An open segment.
pub(crate) struct Segment<F> {
    pub(crate) file: Arc<F>,
    pub(crate) segment_bytes: u64,
    /// All records before this offset are durable.
    pub(crate) durable_end: u32,
}

/// Reads and checks the header of segment `sequence`, and the length of its file against it.
pub(crate) fn read_header<F: DiskFile>(file: &F, sequence: u32) -> Result<SegmentHeader, Error> {
    let name = segment_name(sequence);
    let file_bytes = file.bytes_len().map_err(io_error("measure", &name))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let count = read_fully(file, 0, &mut bytes).map_err(io_error("read", &name))?;
    let corrupt = |offset, reason| Error::Corrupt { segment: sequence, offset, reason };
    if count < bytes.len() {
        let reason = format!("the file is cut short inside its header, to {file_bytes} bytes");
        return Err(corrupt(file_bytes, reason));
    }
    let header = SegmentHeader::decode(sequence, &bytes)?;
    if header.segment_bytes != file_bytes {
        let reason =
            format!("the file has {file_bytes} bytes, its header says {}", header.segment_bytes);
        return Err(corrupt(file_bytes.min(header.segment_bytes), reason));
    }
    Ok(header)
}

/// What a file of the log's folder is, by its name.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    Segment(u32),
    Spare(u64),
    /// A spare that was not finished.
    Making(u64),
}

pub(crate) fn segment_name(sequence: u32) -> String {
    format!("segment-{sequence:010}.log")
}

pub(crate) fn spare_name(number: u64) -> String {
    format!("spare-{number:010}.log")
}

pub(crate) fn making_name(number: u64) -> String {
    format!("making-{number:010}.log")
}

/// Tells the log's files from others (a lock, an editor's leftovers), which are left alone.
pub(crate) fn parse_name(name: &str) -> Option<FileKind> {
    let (kind, number) = name.strip_suffix(".log")?.split_once('-')?;
    if number.len() < 10 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match kind {
        "segment" => number.parse().ok().map(FileKind::Segment),
        "spare" => number.parse().ok().map(FileKind::Spare),
        "making" => number.parse().ok().map(FileKind::Making),
        _ => None,
    }
}
