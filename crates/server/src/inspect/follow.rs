//! The records of a log as they come, while a node writes it.

use super::log::{End, LogRecord, read_to_end, shown};
use super::{open_disk, options};
use crate::error::ServerError;
use crate::folder;
use paxos::Record;
use paxos::codec::decode_record;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};
use wal::{Disk, FolderDisk, Options, Position};

/// What is read while it is written, or cut, can look damaged: only what is so this often in a row is.
const LOOKS_AT_DAMAGE: u32 = 5;
/// A file that was changed this long ago is not changed in the same tick of the clock any more.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// As [`super::read_log`], and goes on with records as they are written: with `all_records` each, without each entry
/// as it is accepted, so that a slot whose entry is replaced is shown once more. `wait` is called between two looks;
/// when it answers false, or `each` does, that is the end.
///
/// # Errors
/// As [`super::read_log`].
pub fn follow_log(
    path: &Path,
    from: u64,
    upto: u64,
    all_records: bool,
    mut each: impl FnMut(LogRecord) -> bool,
    mut wait: impl FnMut() -> bool,
) -> Result<(), ServerError> {
    let options = options(Some(&folder::identity_of(path)?));
    let log = path.join("log");
    let mut wanted = true;
    let End { mut position, mut decided } =
        first_look(path, from, upto, all_records, &mut wait, &mut |record| {
            wanted = wanted && each(record);
            wanted
        })?;
    let (mut stamp, mut failures) = (None, 0);
    while wanted && wait() {
        let now = stamp_of(&log);
        if now.as_ref().is_some_and(is_settled) && now == stamp {
            continue;
        }
        // Taken before the look, so that what comes meanwhile is looked for again.
        stamp = now;
        let (mut found, mut latest) = (Vec::new(), decided);
        let looked = look(&log, &options, position, &mut |at, record| {
            if let Record::Decided(slot) = &record {
                latest = latest.max(*slot);
            }
            found.push((at, record));
        });
        match looked {
            // Were it there still, it would have been there all the time: segments go from the front.
            Ok(()) if !log.join(segment_name(position.segment)).exists() => {
                let what = "entries were cut before they were shown; follow anew";
                let source = io::Error::other(what);
                return Err(ServerError::Folder { operation: "follow", path: log, source });
            }
            Ok(()) => failures = 0,
            Err(error) if failures < LOOKS_AT_DAMAGE && is_passing(&error) => {
                (failures, stamp) = (failures + 1, None);
                continue;
            }
            Err(error) => {
                let source = replica::JournalError::from(error).into();
                return Err(ServerError::Start { path: path.to_path_buf(), source });
            }
        }
        decided = latest;
        for (at, record) in found {
            position = at;
            let is_shown = match &record {
                Record::Accept(slot, _) => (from..=upto).contains(&slot.0),
                Record::Decided(slot) => all_records && (from..=upto).contains(&slot.0),
                Record::Promise(_) | Record::Base(_) => all_records,
            };
            wanted = wanted && (!is_shown || each(shown(at, record, decided)));
        }
    }
    Ok(())
}

/// What stands in the log already; a node may be writing it.
fn first_look(
    path: &Path,
    from: u64,
    upto: u64,
    all_records: bool,
    wait: &mut dyn FnMut() -> bool,
    each: &mut dyn FnMut(LogRecord) -> bool,
) -> Result<End, ServerError> {
    // What an earlier look has shown is not shown again.
    let mut last = (0, 0);
    let mut look = || {
        read_to_end(path, from, upto, all_records, |record| {
            let place = (record.segment, record.offset);
            if place <= last {
                return true;
            }
            last = place;
            each(record)
        })
    };
    for _ in 0..LOOKS_AT_DAMAGE {
        match look() {
            Err(error) if !path.join("log").is_dir() => return Err(error),
            Err(_) if wait() => {}
            looked => return looked,
        }
    }
    look()
}

/// Calls `each` for the records behind `behind`, whose segment is still to be read.
fn look(
    log: &Path,
    options: &Options,
    behind: Position,
    each: &mut dyn FnMut(Position, Record),
) -> Result<(), wal::Error> {
    let disk = Tail { disk: open_disk(log)?, first: behind.segment };
    let show = |position: Position, bytes: &[u8]| {
        if position > behind {
            let record = decode_record(bytes::Bytes::copy_from_slice(bytes));
            each(position, record.map_err(|error| error.to_string())?);
        }
        Ok(())
    };
    wal::examine(&disk, options, show).map(drop)
}

/// Whether the error may come of reading what is being written.
fn is_passing(error: &wal::Error) -> bool {
    matches!(error, wal::Error::Corrupt { .. } | wal::Error::Io { .. } | wal::Error::Missing)
}

/// What changes whenever something is written to a log: its files with the times of their last changes.
type Stamp = Vec<(String, SystemTime)>;

/// Whether the last change is so long ago that a later one has another time, however coarse the clock of files.
fn is_settled(stamp: &Stamp) -> bool {
    let latest = stamp.iter().map(|(_, changed)| *changed).max();
    latest.is_none_or(|latest| latest.elapsed().is_ok_and(|age| age > SETTLED_AFTER))
}

fn stamp_of(log: &Path) -> Option<Stamp> {
    let mut stamp = Stamp::new();
    for entry in fs::read_dir(log).ok()? {
        let entry = entry.ok()?;
        let changed = entry.metadata().and_then(|metadata| metadata.modified()).ok()?;
        stamp.push((entry.file_name().to_string_lossy().into_owned(), changed));
    }
    stamp.sort();
    Some(stamp)
}

/// As the log names its files (`docs/design/wal-format.md`).
fn segment_name(number: u32) -> String {
    format!("segment-{number:010}.log")
}

/// A log without its segments before one, as if it had been cut there.
struct Tail {
    disk: FolderDisk,
    first: u32,
}

impl Disk for Tail {
    type File = <FolderDisk as Disk>::File;

    fn list(&self) -> io::Result<Vec<String>> {
        // Numbers have their zeros, so that names stand in their order.
        let first = segment_name(self.first);
        let mut names = self.disk.list()?;
        names.retain(|name| !name.starts_with("segment-") || *name >= first);
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        self.disk.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Self::File> {
        self.disk.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }
}
