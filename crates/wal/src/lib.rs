//! A segmented write-ahead log of opaque records over a small [`Disk`] trait.
//!
//! One writer appends records to a buffer and flushes: everything queued goes out with one write and one sync
//! (*group commit*), then all of it is acknowledged. The log knows nothing of what its records mean. It uses no
//! clock, no thread and no randomness, so a simulator can run it on [`memory::MemoryDisk`], which tears, loses and flips.
//!
//! ```
//! use wal::{Log, Options, memory::MemoryDisk};
//!
//! let options = Options { segment_bytes: 64 << 10, ..Options::default() };
//! let (mut log, _) = Log::open(MemoryDisk::new(), options, |_, _| Ok(()))?;
//! let position = log.append(b"a record")?;
//! log.flush()?; // from here on the record is durable
//! assert_eq!(log.read(position)?, &b"a record"[..]);
//! # Ok::<(), wal::Error>(())
//! ```
//!
//! # Files
//!
//! The folder holds segments `segment-N.log`, numbered from 1 without gaps, and a few spares. A segment is
//! preallocated *and written with zeros* before its first use, because overwriting written blocks costs one disk
//! write per sync, while growing a file or filling `fallocate`d blocks also costs a journal commit. A segment that a
//! cut has freed becomes a spare and is used again under a new number. Making a fresh spare takes long; how to
//! keep the writer from waiting for it is told at [`SparePlan`]. Records do not cross segments; one that is too large
//! for the usual length gets a segment of its own size. The bytes are described in `docs/design/wal-format.md`.
//!
//! # What is relied on
//!
//! * **A1** When `sync_data` succeeds, every byte written to the file before it survives a power loss.
//! * **A2** When `sync_folder` succeeds, every name change before it survives.
//! * **A3** A write that was not synced may leave any mix of old and new sectors; a sector that is written again
//!   with some bytes unchanged keeps those bytes, whether the write survives, is lost, or is torn.
//! * **A4** Nothing else changes durable bytes, except damage, which the checksums are there for.
//!
//! # What is kept
//!
//! * **I1** *One group at a time.* A group (what one flush writes into one segment) is written only after everything before it
//!   is durable. Each frame carries the offset at which its group starts, so a valid frame proves: *everything before
//!   my group start was durable when I was written.*
//! * **I2** *Names first.* No frame of segment N is written before the header and the name of segment N are durable. A spare
//!   whose new name was lost therefore holds no frame of that number.
//! * **I3** *Segments in order.* Segment N+1 is begun only when all records of segment N are durable, and its
//!   header carries the offset at which they end.
//! * **I4** *One identity, one life.* A frame's checksum covers log id, segment number, offset and group start. CRC-32C
//!   finds every burst of up to 32 bits, and two lives of a file differ only in the 32 bits of the segment
//!   number: a frame of an earlier life at its old offset *never* passes. Numbers are not used twice.
//! * **I5** *Cut means gone.* Before anything is appended after a torn tail, every frame of it is zeroed and that is durable.
//! * **I6** *Shown means durable.* Before `open` returns, the last group is written and synced again, because it may have been
//!   read from memory only (process killed before its sync, or the sync failed and the pages count as clean).
//! * **I7** *No second try.* After a failed write, sync or name change the log is poisoned and does nothing more.
//! * **I8** *Cuts in order.* Segments are cut oldest first, each cut durable before the next, so that no gap can appear.
//!
//! # Torn tail or corruption
//!
//! Let X be the offset where the run of valid frames of a segment stops.
//!
//! * A later segment exists: by I3 everything up to the end it names was durable, so X before that end is **corruption**.
//! * A valid frame behind X has a group start greater than X: by I1 the bytes at X were durable: **corruption**.
//! * Every valid frame behind X has a group start at or before X: they belong to the group that X lies in. By I1
//!   nothing was written after that group, so it was the last, and a crash may leave any subset of its sectors (A3):
//!   a **torn tail**. Nobody was told that it was durable, unless it is damage to the last group.
//! * No valid frame behind X: the log **ends** there, or the whole last group is gone, which is the same case.
//!
//! So what is found without doubt is damage to anything but the last flushed group; what is left open is the last
//! group, until something is written after it. [`Log::seal`] writes a mark for that purpose when the log falls idle
//! or stops. What the log cannot notice by itself: that the newest segments, or the oldest ones, are missing as a
//! whole; the owner knows what it has acknowledged and where it has cut.

mod activate;
mod disk;
mod error;
mod folder;
mod frame;
mod log;
pub mod memory;
mod options;
mod position;
mod reader;
mod recovery;
mod scan;
mod segment;
mod spare;

pub use disk::{Disk, DiskFile};
pub use error::Error;
pub use folder::FolderDisk;
pub use log::Log;
pub use options::{LogId, Options, PAGE_BYTES, PlantedBug};
pub use position::Position;
pub use reader::LogReader;
pub use recovery::{Recovery, examine};
pub use segment::FORMAT_VERSION;
pub use spare::{Spare, SparePlan};
