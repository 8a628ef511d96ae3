//! [`Position`]: where a record lies.

use std::fmt;

/// Where a record lies: the sequence number of its segment and the offset of its frame in it.
///
/// Positions grow with every record, so their order is the order of the log; they stay the same
/// across restarts and cuts.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// Sequence number of the segment, from 1, never used twice.
    pub segment: u32,
    /// Offset of the record's frame from the start of the segment, in bytes.
    pub offset: u32,
}

impl Position {
    /// The position as one number whose order is the same: segment in the upper half, offset in the lower.
    pub fn to_u64(self) -> u64 {
        (u64::from(self.segment) << 32) | u64::from(self.offset)
    }

    /// The inverse of [`Position::to_u64`].
    pub fn from_u64(packed: u64) -> Position {
        Position { segment: (packed >> 32) as u32, offset: packed as u32 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.segment, self.offset)
    }
}
