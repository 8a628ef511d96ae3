//! [`Options`] of a log, its [`LogId`], and the [`PlantedBug`]s that tests switch on.

use std::fmt;

use crate::Error;

/// Segment lengths are multiples of this many bytes, the page that a write is rounded up to.
pub const PAGE_BYTES: u64 = 4096;

/// The largest segment and the largest record, in bytes.
const SEGMENT_BYTES_LIMIT: u64 = 1 << 30;

/// The identity of a log: random 128 bits drawn by whoever makes it. Every checksum covers it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a segment file in bytes; a multiple of [`PAGE_BYTES`], at most 1 GiB. May differ from one opening to the next.
    pub segment_bytes: u64,
    /// The largest record in bytes, at most 1 GiB less 2 pages. A record that does not fit into
    /// `segment_bytes` gets a segment of its own size.
    pub record_bytes_max: u64,
    /// The identity a new log gets and an existing one must have. `None`: an existing log is opened
    /// whatever its identity, a new one gets the zero identity and can then not be told from another such log.
    pub log_id: Option<LogId>,
    /// Whether an empty folder becomes a new log (else [`Error::Missing`]). A node that had a log
    /// before should say `false`, so that a lost log is not mistaken for a new one.
    pub create: bool,
    /// How many cut or prepared segments are kept for reuse.
    pub spares_max: usize,
    /// For tests only: one safety line is left out.
    pub planted: Option<PlantedBug>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            record_bytes_max: 64 << 20,
            log_id: None,
            create: true,
            spares_max: 2,
            planted: None,
        }
    }
}

impl Options {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let refuse = |name, value, reason| Err(Error::Options { name, value, reason });
        if self.segment_bytes == 0 || !self.segment_bytes.is_multiple_of(PAGE_BYTES) {
            let reason = "it must be a multiple of 4096";
            return refuse("segment_bytes", self.segment_bytes, reason);
        }
        if self.segment_bytes > SEGMENT_BYTES_LIMIT {
            return refuse("segment_bytes", self.segment_bytes, "it must be at most 1 GiB");
        }
        if self.record_bytes_max > SEGMENT_BYTES_LIMIT - 2 * PAGE_BYTES {
            let reason = "it must be at most 1 GiB less 8192";
            return refuse("record_bytes_max", self.record_bytes_max, reason);
        }
        Ok(())
    }

    pub(crate) fn plants(&self, bug: PlantedBug) -> bool {
        self.planted == Some(bug)
    }
}

/// A safety line that a test leaves out, to show that another test would notice (see `tests/planted.rs`).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PlantedBug {
    /// `flush` returns before the data is durable.
    AcknowledgeWithoutSync,
    /// Checksums do not cover log id and segment number, so a recycled segment's old records look new.
    SeedWithoutIdentity,
    /// A torn tail is cut in memory only; its bytes stay on the disk.
    KeepCutTail,
    /// Damage before durable records is cut like a torn tail.
    CutCorruption,
    /// A hole in the last, unsynced group is called corruption as soon as any valid record follows it.
    IgnoreGroups,
    /// Name changes are not made durable.
    SkipFolderSync,
    /// What recovery read from the last group is believed durable without writing it again.
    TrustPageCache,
    /// After a failed sync the log goes on, and the next sync is believed.
    RetryFailedSync,
    /// The next segment is begun before the last group of the one before is durable.
    RollWithoutSync,
}

impl PlantedBug {
    /// Every planted bug, for tests that go through them all.
    pub const ALL: [PlantedBug; 9] = [
        PlantedBug::AcknowledgeWithoutSync,
        PlantedBug::SeedWithoutIdentity,
        PlantedBug::KeepCutTail,
        PlantedBug::CutCorruption,
        PlantedBug::IgnoreGroups,
        PlantedBug::SkipFolderSync,
        PlantedBug::TrustPageCache,
        PlantedBug::RetryFailedSync,
        PlantedBug::RollWithoutSync,
    ];
}
