//! Reading a segment's bytes in order, and judging what lies at its end: pure functions of bytes.

use crate::frame::{FRAME_ALIGNMENT_BYTES, FRAME_HEADER_BYTES, FrameKind, Identity};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::{Options, PlantedBug};

/// Where the unbroken run of valid frames of a segment ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ScanEnd {
    /// Offset of the first byte after the last valid frame.
    pub(crate) offset: u32,
    /// Start of the group that the last valid frame belongs to.
    pub(crate) group_start: u32,
    /// Whether the last valid frame is a mark.
    pub(crate) ends_with_mark: bool,
    /// Number of records.
    pub(crate) records: u64,
    /// Why the next frame is not one.
    pub(crate) stopped_by: &'static str,
}

/// Calls `each` with offset and payload of every record from the start of `segment` on, up to the first invalid frame.
pub(crate) fn scan<E>(
    identity: Identity,
    segment: &[u8],
    mut each: impl FnMut(u32, &[u8]) -> Result<(), E>,
) -> Result<ScanEnd, E> {
    let start = SEGMENT_HEADER_BYTES as u32;
    let mut end = ScanEnd {
        offset: start,
        group_start: start,
        ends_with_mark: false,
        records: 0,
        stopped_by: "",
    };
    loop {
        let frame = segment.get(end.offset as usize..).unwrap_or_default();
        let Some(header) = identity.decode_header(end.offset, frame) else {
            end.stopped_by = "the frame's header is damaged";
            return Ok(end);
        };
        if header.durable_before != end.group_start && header.durable_before != end.offset {
            end.stopped_by = "the frame belongs to another group than its neighbours";
            return Ok(end);
        }
        let Some(payload) = header.payload(frame) else {
            end.stopped_by = "the record's checksum does not match";
            return Ok(end);
        };
        if header.kind == FrameKind::Record {
            each(end.offset, payload)?;
            end.records += 1;
        }
        end.group_start = header.durable_before;
        end.ends_with_mark = header.kind == FrameKind::Mark;
        end.offset += header.frame_bytes() as u32;
    }
}

/// What lies behind the run of valid frames of the last segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Tail {
    /// No frame of this life of the segment: the log ends here.
    Clean,
    /// Remains of a group that never became durable, up to this offset.
    Torn { until: u32 },
    /// A frame that was written after everything before `durable_before` was durable.
    Corrupt { proof: u32, durable_before: u32 },
}

/// Searches everything from `broken` (where [`scan`] stopped) to the end of `segment` for frames of its identity.
pub(crate) fn judge_tail(
    identity: Identity,
    segment: &[u8],
    broken: u32,
    options: &Options,
) -> Tail {
    let mut tail = Tail::Clean;
    let last = segment.len().saturating_sub(FRAME_HEADER_BYTES);
    for offset in (broken as usize..=last).step_by(FRAME_ALIGNMENT_BYTES) {
        let Some(header) = identity.decode_header(offset as u32, &segment[offset..]) else {
            continue;
        };
        let durable = header.durable_before > broken
            || (options.plants(PlantedBug::IgnoreGroups) && offset as u32 > broken);
        if durable && !options.plants(PlantedBug::CutCorruption) {
            return Tail::Corrupt { proof: offset as u32, durable_before: header.durable_before };
        }
        let frame_end = (offset + header.frame_bytes()).min(segment.len()) as u32;
        let until = match tail {
            Tail::Torn { until } => until.max(frame_end),
            _ => frame_end,
        };
        tail = Tail::Torn { until };
    }
    tail
}
