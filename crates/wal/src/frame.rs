//! Frames: the bytes around one record. The table is in `docs/design/wal-format.md`.

use crate::segment::SEGMENT_HEADER_BYTES;
use crate::{LogId, Options, PlantedBug};

/// Length of a frame's header in bytes.
pub(crate) const FRAME_HEADER_BYTES: usize = 16;

/// Frames begin at multiples of this many bytes.
pub(crate) const FRAME_ALIGNMENT_BYTES: usize = 8;

/// The bit of the length field that tells a mark from a record.
const MARK_BIT: u32 = 1 << 31;

/// Room kept free behind every record so that a mark always fits after it.
pub(crate) const MARK_BYTES: usize = FRAME_HEADER_BYTES;

/// The whole length of a frame with a payload of this length, padding included.
pub(crate) const fn frame_bytes(payload_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + payload_bytes.next_multiple_of(FRAME_ALIGNMENT_BYTES)
}

/// What a frame holds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum FrameKind {
    /// A record of the caller's.
    Record,
    /// Nothing; its durable-before field says that all records before it are durable.
    Mark,
}

/// A frame's header whose checksum was right.
#[derive(Copy, Clone, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) payload_bytes: usize,
    /// Start of the group the frame was flushed with: all before this offset was durable when it was written.
    pub(crate) durable_before: u32,
    payload_checksum: u32,
}

/// What ties a frame to one life of one segment of one log: the checksum of log id and sequence number.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Identity {
    seed: u32,
}

impl Identity {
    pub(crate) fn new(log_id: LogId, sequence: u32, options: &Options) -> Identity {
        if options.plants(PlantedBug::SeedWithoutIdentity) {
            return Identity { seed: 0 };
        }
        let seed = crc32c::crc32c_append(crc32c::crc32c(&log_id.0), &sequence.to_le_bytes());
        Identity { seed }
    }

    /// Appends a frame to `buffer`; `offset` is where it will lie in the segment.
    pub(crate) fn encode(
        self,
        buffer: &mut Vec<u8>,
        offset: u32,
        durable_before: u32,
        kind: FrameKind,
        payload: &[u8],
    ) {
        assert!((offset as usize).is_multiple_of(FRAME_ALIGNMENT_BYTES));
        assert!(durable_before as usize >= SEGMENT_HEADER_BYTES && durable_before <= offset);
        let length = u32::try_from(payload.len()).expect("record_bytes_max is below 2^30");
        assert!(length & MARK_BIT == 0);
        let length = match kind {
            FrameKind::Record => length,
            FrameKind::Mark => length | MARK_BIT,
        };
        let mut header = [0; FRAME_HEADER_BYTES];
        header[0..4].copy_from_slice(&length.to_le_bytes());
        header[4..8].copy_from_slice(&durable_before.to_le_bytes());
        header[8..12].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        let checksum = self.header_checksum(offset, &header);
        header[12..16].copy_from_slice(&checksum.to_le_bytes());
        let begin = buffer.len();
        buffer.extend_from_slice(&header);
        buffer.extend_from_slice(payload);
        buffer.resize(begin + frame_bytes(payload.len()), 0);
    }

    /// Reads the frame header at `offset` of the segment, or `None` if there is no valid one.
    pub(crate) fn decode_header(self, offset: u32, bytes: &[u8]) -> Option<FrameHeader> {
        let header: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
        let durable_before = word(header, 4);
        // Cheap and first: it makes the search through 64 MiB of zeros or of an earlier life quick.
        if (durable_before as usize) < SEGMENT_HEADER_BYTES
            || durable_before > offset
            || word(header, 12) != self.header_checksum(offset, header)
        {
            return None;
        }
        let length = word(header, 0);
        let kind = match length & MARK_BIT {
            0 => FrameKind::Record,
            _ => FrameKind::Mark,
        };
        Some(FrameHeader {
            kind,
            payload_bytes: (length & !MARK_BIT) as usize,
            durable_before,
            payload_checksum: word(header, 8),
        })
    }

    fn header_checksum(self, offset: u32, header: &[u8; FRAME_HEADER_BYTES]) -> u32 {
        let mut covered = [0; 16];
        covered[..4].copy_from_slice(&offset.to_le_bytes());
        covered[4..].copy_from_slice(&header[..12]);
        crc32c::crc32c_append(self.seed, &covered)
    }
}

impl FrameHeader {
    /// Length of the whole frame in bytes, padding included.
    pub(crate) fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes)
    }

    /// The payload in `frame` (which starts with this header), if it is whole and its checksum right.
    pub(crate) fn payload<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let frame = frame.get(..self.frame_bytes())?;
        let (payload, padding) = frame[FRAME_HEADER_BYTES..].split_at(self.payload_bytes);
        let whole = crc32c::crc32c(payload) == self.payload_checksum
            && padding.iter().all(|&byte| byte == 0);
        whole.then_some(payload)
    }
}

fn word(bytes: &[u8; FRAME_HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
