//! A look at fjall's journals before it opens them, closing two holes of its recovery.
//!
//! fjall replays its journals in order and cuts each at the first entry that it cannot read.
//! - In the newest one that is right: only it can hold a batch that a crash tore. But a torn batch
//!   whose entries happen to be readable fails its checksum, and fjall then refuses to open; and a
//!   torn length can make it ask for gigabytes. So the newest journal is cut here, in front of the
//!   first batch that is not whole.
//! - In a sealed one it is wrong: it was synced before the next one was begun, so no crash tears it.
//!   What cannot be read there is damage, and cutting it would leave out some batches while keeping
//!   later ones. So a sealed journal that is not whole is reported.
//!
//! The format is that of fjall 3 (`docs/design/store-format.md` has the byte table); a test writes
//! journals with fjall and reads them here, so that a change of it is noticed.

use super::examine::Examined;
use super::{EngineError, layout};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const EXTENSION: &str = "jnl";
const LOCK_FILE: &str = "lock";
const VERSION_FILE: &str = "version";
const VERSION_BYTES: u64 = 4;
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";
const START_BYTES: usize = 12;
const ITEM_HEADER_BYTES: usize = 20;
const END_BYTES: usize = 12;
const CLEAR_BYTES: usize = 8;
const BUFFER_BYTES: usize = 1 << 18;

/// Checks the files in `folder`, and cuts the newest journal behind its last whole batch.
///
/// # Errors
/// If another process holds the folder, a sealed journal is damaged, a file is missing, or the disk fails.
pub(super) fn check(folder: &Path) -> Result<(), EngineError> {
    let Some(_lock) = lock(folder)? else { return Ok(()) };
    if is_unfinished(folder)? {
        return remove_unfinished(folder);
    }
    let mut journals = journals(folder)?;
    let newest = journals.pop();
    let mut sequence = None;
    for (_, path) in journals {
        sequence = check_sealed(&path, sequence)?;
    }
    let has_journal = newest.is_some();
    if let Some((_, path)) = newest {
        sequence = cut_newest(&path, sequence)?;
    }
    layout::check(folder, sequence.is_some(), has_journal)
}

/// Reads all journals, and the marker of the version, for [`super::examine`].
pub(super) fn examine(
    folder: &Path,
    found: &mut Examined,
    watch: &mut dyn FnMut(u64),
) -> Result<(), EngineError> {
    if !folder.join(LOCK_FILE).exists() {
        found.damaged.push((folder.to_path_buf(), "there is no store".into()));
        return Ok(());
    }
    let mut all = journals(folder)?;
    let newest = all.pop();
    let mut sequence = None;
    for (_, path) in all {
        let before = sequence;
        sequence = match check_sealed(&path, sequence) {
            Err(EngineError::Damaged(reason)) => {
                found.damaged.push((path.clone(), reason));
                before
            }
            checked => checked?,
        };
        tell(&path, found, watch)?;
    }
    let has_journal = newest.is_some();
    if let Some((_, path)) = newest {
        let mut journal = Journal::open(&path, sequence)?;
        let end = journal.last_whole_batch_end()?;
        sequence = journal.sequence;
        if !journal.is_zero_from(end)? {
            if has_batch_behind(&path, end)? {
                found.damaged.push((
                    path.clone(),
                    format!("it cannot be read at byte {end}, but batches behind it can"),
                ));
            } else {
                found.torn = Some((path.clone(), end));
            }
        }
        tell(&path, found, watch)?;
    }
    if is_unfinished(folder)? {
        if sequence.is_some() {
            let reason = format!("there is data but no file {VERSION_FILE:?}");
            found.damaged.push((folder.join(VERSION_FILE), reason));
        }
        return Ok(());
    }
    match layout::check(folder, sequence.is_some(), has_journal) {
        Err(EngineError::Damaged(reason)) => found.damaged.push((folder.to_path_buf(), reason)),
        checked => checked?,
    }
    Ok(())
}

fn tell(path: &Path, found: &mut Examined, watch: &mut dyn FnMut(u64)) -> Result<(), EngineError> {
    let bytes = std::fs::metadata(path).map_err(|error| io_error(path, &error))?.len();
    found.files += 1;
    found.bytes += bytes;
    watch(bytes);
    Ok(())
}

/// Whether a whole batch begins anywhere behind `end`.
fn has_batch_behind(path: &Path, end: u64) -> Result<bool, EngineError> {
    let bytes = std::fs::read(path).map_err(|error| io_error(path, &error))?;
    let rest = bytes.get(usize::try_from(end).unwrap_or(usize::MAX)..).unwrap_or_default();
    let starts = rest.iter().enumerate().skip(1).filter(|(_, byte)| **byte == START);
    Ok(starts.into_iter().any(|(start, _)| is_whole_batch(&rest[start..])))
}

/// Whether `bytes` begin with a whole batch of at least one entry.
fn is_whole_batch(bytes: &[u8]) -> bool {
    let whole = || {
        let count = bytes.get(1..5)?.try_into().ok().map(u32::from_le_bytes)?;
        let mut at = 1 + START_BYTES;
        let content = at;
        for _ in 0..count {
            at += match *bytes.get(at)? {
                ITEM => {
                    let header = bytes.get(at + 1..at + 1 + ITEM_HEADER_BYTES)?;
                    let key = usize::from(u16::from_le_bytes([header[10], header[11]]));
                    let stored = u32::from_le_bytes(header[16..20].try_into().ok()?);
                    1 + ITEM_HEADER_BYTES + key + usize::try_from(stored).ok()?
                }
                CLEAR => 1 + CLEAR_BYTES,
                _ => return None,
            };
        }
        let end = bytes.get(at..at + 1 + END_BYTES)?;
        let mut hasher = Xxh3::new();
        hasher.update(&bytes[content..at]);
        let is_whole =
            end[0] == END && end[1..9] == hasher.digest().to_le_bytes() && end[9..] == TRAILER;
        Some(count > 0 && is_whole)
    };
    whole().unwrap_or(false)
}

/// Takes the lock that fjall will take, so that nobody writes to the journals meanwhile. None if
/// there is no lock file, so that there is no store yet.
fn lock(folder: &Path) -> Result<Option<File>, EngineError> {
    let path = folder.join(LOCK_FILE);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&path, &error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(EngineError::Io(format!(
            "open {}: another process holds this folder; stop it first",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => Err(io_error(&path, &error)),
    }
}

/// Whether a crash interrupted the making of the store: fjall writes and syncs its version marker
/// last, before any data, but does not open what has none.
fn is_unfinished(folder: &Path) -> Result<bool, EngineError> {
    let path = folder.join(VERSION_FILE);
    match std::fs::metadata(&path) {
        Ok(metadata) => Ok(metadata.len() < VERSION_BYTES),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io_error(&path, &error)),
    }
}

fn remove_unfinished(folder: &Path) -> Result<(), EngineError> {
    // A store that lost its marker still has batches in a journal or tables: that is damage.
    for (_, path) in journals(folder)? {
        if Journal::open(&path, None)?.last_whole_batch_end()? > 0 {
            return Err(EngineError::Damaged(format!(
                "{} has data but no file {VERSION_FILE:?}; remove this node's data and let it \
                 join again",
                folder.display()
            )));
        }
        std::fs::remove_file(&path).map_err(|error| io_error(&path, &error))?;
    }
    match std::fs::remove_file(folder.join(VERSION_FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(folder, &error)),
        _ => Ok(()),
    }
}

/// The journals by number, oldest first.
/// Syncs the newest journal, while fjall may be appending to it. Whatever is gone, or no folder at all, needs no sync.
pub(super) fn sync_newest(folder: &Path) -> Result<(), EngineError> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    if !folder.exists() {
        return Ok(());
    }
    let Some((_, path)) = journals(folder)?.pop() else { return Ok(()) };
    match File::open(&path).and_then(|file| file.sync_data()) {
        Err(error) if !gone(&error) => Err(io_error(&path, &error)),
        _ => Ok(()),
    }
}

fn journals(folder: &Path) -> Result<Vec<(u64, PathBuf)>, EngineError> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| io_error(folder, &error))? {
        let path = entry.map_err(|error| io_error(folder, &error))?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(number), Some(EXTENSION)) =
            (number, path.extension().and_then(|extension| extension.to_str()))
        {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

/// Takes and answers the sequence number of the last batch so far.
fn check_sealed(path: &Path, sequence: Option<u64>) -> Result<Option<u64>, EngineError> {
    let mut journal = Journal::open(path, sequence)?;
    let end = journal.last_whole_batch_end()?;
    if journal.is_zero_from(end)? {
        return Ok(journal.sequence);
    }
    Err(EngineError::Damaged(format!(
        "journal {} cannot be read at byte {end}, and no crash can have done that; check the \
         disk, remove this node's data and let it join again",
        path.display()
    )))
}

/// Takes and answers the sequence number of the last batch so far.
fn cut_newest(path: &Path, sequence: Option<u64>) -> Result<Option<u64>, EngineError> {
    let mut journal = Journal::open(path, sequence)?;
    let end = journal.last_whole_batch_end()?;
    if journal.is_zero_from(end)? {
        return Ok(journal.sequence);
    }
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(end)?;
        file.sync_all()
    };
    cut().map_err(|error| io_error(path, &error))?;
    Ok(journal.sequence)
}

fn io_error(path: &Path, error: &std::io::Error) -> EngineError {
    super::io_error(&path.display().to_string(), error)
}

struct Journal<'p> {
    path: &'p Path,
    reader: BufReader<File>,
    length: u64,
    position: u64,
    /// The sequence number of the last whole batch, in this journal or an earlier one.
    sequence: Option<u64>,
}

impl<'p> Journal<'p> {
    fn open(path: &'p Path, sequence: Option<u64>) -> Result<Journal<'p>, EngineError> {
        let open = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            std::io::Result::Ok((file, length))
        };
        let (file, length) = open().map_err(|error| io_error(path, &error))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Journal { path, reader, length, position: 0, sequence })
    }

    fn last_whole_batch_end(&mut self) -> Result<u64, EngineError> {
        let mut end = 0;
        while self.read_batch()?.is_some() {
            end = self.position;
        }
        Ok(end)
    }

    /// Reads one batch; none if the bytes here are not a whole one.
    fn read_batch(&mut self) -> Result<Option<()>, EngineError> {
        let Some([START]) = self.read::<1>()? else { return Ok(None) };
        let Some(start) = self.read::<START_BYTES>()? else { return Ok(None) };
        let [c0, c1, c2, c3, s0, s1, s2, s3, s4, s5, s6, s7] = start;
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        // No checksum covers the sequence number; but it rises from batch to batch.
        let sequence = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        if self.sequence.is_some_and(|last| sequence <= last) {
            return Ok(None);
        }
        let mut hasher = Xxh3::new();
        for _ in 0..count {
            if self.read_entry(&mut hasher)?.is_none() {
                return Ok(None);
            }
        }
        let Some([END]) = self.read::<1>()? else { return Ok(None) };
        let Some(end) = self.read::<END_BYTES>()? else { return Ok(None) };
        let (checksum, trailer) = end.split_at(8);
        if checksum != hasher.digest().to_le_bytes() || trailer != TRAILER {
            return Ok(None);
        }
        self.sequence = Some(sequence);
        Ok(Some(()))
    }

    fn read_entry(&mut self, hasher: &mut Xxh3) -> Result<Option<()>, EngineError> {
        let Some([tag]) = self.read::<1>()? else { return Ok(None) };
        hasher.update(&[tag]);
        match tag {
            ITEM => {
                let Some(header) = self.read::<ITEM_HEADER_BYTES>()? else { return Ok(None) };
                hasher.update(&header);
                let key_length = u16::from_le_bytes([header[10], header[11]]);
                let stored = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
                self.read_content(u64::from(key_length) + u64::from(stored), hasher)
            }
            CLEAR => {
                let Some(keyspace) = self.read::<CLEAR_BYTES>()? else { return Ok(None) };
                hasher.update(&keyspace);
                Ok(Some(()))
            }
            _ => Ok(None),
        }
    }

    fn read_content(&mut self, length: u64, hasher: &mut Xxh3) -> Result<Option<()>, EngineError> {
        if length > self.length - self.position {
            return Ok(None);
        }
        let mut left = length;
        let mut buffer = [0; 4096];
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let bytes = &mut buffer[..part];
            self.reader.read_exact(bytes).map_err(|error| io_error(self.path, &error))?;
            hasher.update(bytes);
            left -= part as u64;
        }
        self.position += length;
        Ok(Some(()))
    }

    fn read<const N: usize>(&mut self) -> Result<Option<[u8; N]>, EngineError> {
        if N as u64 > self.length - self.position {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|error| io_error(self.path, &error))?;
        self.position += N as u64;
        Ok(Some(bytes))
    }

    /// Whether only the zeros follow with which fjall preallocates.
    fn is_zero_from(&mut self, start: u64) -> Result<bool, EngineError> {
        let error = |error| io_error(self.path, &error);
        self.reader.seek(SeekFrom::Start(start)).map_err(error)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = self.reader.read(&mut buffer).map_err(error)?;
            if count == 0 {
                return Ok(true);
            }
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
    }
}
