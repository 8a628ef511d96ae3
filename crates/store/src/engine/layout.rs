//! A look at which of fjall's files are there, before fjall opens them.
//!
//! What fjall does not find it makes anew, as after a crash while a store is being made; what else is
//! there and does not fit it removes. If a file is lost later, that would give an empty store, or an
//! old one, in silence. But a crash cannot leave just anything: fjall makes its files in an order, and
//! syncs each folder before it goes on.
//! 1. The first journal is there before any keyspace is; a later one before an earlier one goes.
//! 2. Keyspace 0, which names the others, has its manifest before there is any other keyspace.
//! 3. The keyspace of the rows has its manifest before keyspace 0 has a table, and before there is any
//!    batch in a journal.
//! 4. A keyspace has its manifest before it has a table.
//!
//! So where a batch or a table is, everything named here must be.
//!
//! The manifest of a keyspace, `vN`, lists its tables. The file `current` names the manifest, with its
//! checksum, and is written when the manifest is durable. fjall does not look at that checksum, and
//! trusts what it reads: a changed bit can make it ask for all memory, or take an old table for a new
//! one. So the checksum is compared here.

use super::EngineError;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

const KEYSPACES_FOLDER: &str = "keyspaces";
const TABLES_FOLDER: &str = "tables";
const MANIFEST: &str = "current";
/// The kind of checksum that `current` has: its bytes are the manifest's number u64 LE, its checksum
/// u128 LE, and this.
const XXH3: u8 = 0;
/// The keyspace that names the others.
const NAMES: &str = "0";

/// Whether nothing is missing that a crash cannot have taken away, and the manifests are whole.
///
/// # Errors
/// What is missing or changed, as damage; or the folder cannot be read.
pub(super) fn check(folder: &Path, has_batch: bool, has_journal: bool) -> Result<(), EngineError> {
    let keyspaces = entries(&folder.join(KEYSPACES_FOLDER))?;
    let mut has_table = false;
    let mut has_rows = false;
    for keyspace in &keyspaces {
        let has_manifest = keyspace.join(MANIFEST).exists();
        if has_manifest {
            check_manifest(keyspace)?;
        }
        if entries(&keyspace.join(TABLES_FOLDER))?.is_empty() {
            has_rows |= has_manifest && !keyspace.ends_with(NAMES);
            continue;
        }
        has_table = true;
        has_rows |= !keyspace.ends_with(NAMES);
        if !has_manifest {
            return Err(missing(&keyspace.join(MANIFEST)));
        }
    }
    let names = folder.join(KEYSPACES_FOLDER).join(NAMES).join(MANIFEST);
    if (has_table || has_batch || has_rows) && !names.exists() {
        return Err(missing(&names));
    }
    if (has_table || has_batch) && !has_rows {
        return Err(missing(&folder.join(KEYSPACES_FOLDER)));
    }
    if has_table && !has_journal {
        return Err(missing(&folder.join("*.jnl")));
    }
    Ok(())
}

fn check_manifest(keyspace: &Path) -> Result<(), EngineError> {
    manifest(keyspace).map(drop)
}

/// Where the manifest of a keyspace is, and its bytes, which are whole.
fn manifest(keyspace: &Path) -> Result<(PathBuf, Vec<u8>), EngineError> {
    let path = keyspace.join(MANIFEST);
    let current = read(&path)?;
    let Some((number, checksum)) = parse(&current) else { return Err(changed(&path)) };
    let manifest = keyspace.join(format!("v{number}"));
    if !manifest.exists() {
        return Err(changed(&path));
    }
    let bytes = read(&manifest)?;
    if xxh3_128(&bytes) != checksum {
        return Err(changed(&manifest));
    }
    Ok((manifest, bytes))
}

/// The folders of the keyspaces.
pub(super) fn keyspaces(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let mut keyspaces = entries(&folder.join(KEYSPACES_FOLDER))?;
    keyspaces.sort();
    Ok(keyspaces)
}

/// The tables that the manifest of a keyspace names, with their checksums; none without a manifest.
///
/// # Errors
/// Damage, or the folder cannot be read.
pub(super) fn tables(keyspace: &Path) -> Result<Option<Vec<(PathBuf, u128)>>, EngineError> {
    if !keyspace.join(MANIFEST).exists() {
        return Ok(None);
    }
    let (path, bytes) = manifest(keyspace)?;
    let listed = section(&bytes, b"tables").and_then(read_tables).ok_or_else(|| changed(&path))?;
    let place = |(number, checksum): (u64, u128)| {
        (keyspace.join(TABLES_FOLDER).join(number.to_string()), checksum)
    };
    Ok(Some(listed.into_iter().map(place).collect()))
}

/// A section of a manifest, which is an archive with its table of contents at the end.
fn section<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let reader = sfa::Reader::from_reader(&mut std::io::Cursor::new(bytes)).ok()?;
    let entry = reader.toc().section(name)?;
    let start = usize::try_from(entry.pos()).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(entry.len()).ok()?)?)
}

/// Levels u8, of each the runs u8, of each the tables u32: number u64, kind of checksum u8, checksum u128, sequence u64.
fn read_tables(mut bytes: &[u8]) -> Option<Vec<(u64, u128)>> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (taken, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(*taken)
    }
    let mut tables = Vec::new();
    for _ in 0..take::<1>(&mut bytes)?[0] {
        for _ in 0..take::<1>(&mut bytes)?[0] {
            for _ in 0..u32::from_le_bytes(take(&mut bytes)?) {
                let number = u64::from_le_bytes(take(&mut bytes)?);
                (take(&mut bytes)? == [XXH3]).then_some(())?;
                let checksum = u128::from_le_bytes(take(&mut bytes)?);
                take::<8>(&mut bytes)?;
                tables.push((number, checksum));
            }
        }
    }
    Some(tables)
}

/// Number and checksum of the manifest.
fn parse(current: &[u8]) -> Option<(u64, u128)> {
    let (number, rest) = current.split_first_chunk()?;
    let (checksum, kind) = rest.split_first_chunk()?;
    (kind == [XXH3]).then(|| (u64::from_le_bytes(*number), u128::from_le_bytes(*checksum)))
}

fn read(path: &Path) -> Result<Vec<u8>, EngineError> {
    std::fs::read(path).map_err(|error| super::io_error(&path.display().to_string(), &error))
}

fn changed(path: &Path) -> EngineError {
    EngineError::Damaged(format!(
        "{} is not as it was written; check the disk, remove this node's data and let it join again",
        path.display()
    ))
}

fn missing(path: &Path) -> EngineError {
    EngineError::Damaged(format!(
        "{} or a part of it is missing, and no crash can have done that; check the disk, remove this \
         node's data and let it join again",
        path.display()
    ))
}

/// What is in a folder; nothing, if it is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let error = |error| super::io_error(&folder.display().to_string(), &error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(absent) if absent.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(trouble) => return Err(error(trouble)),
    };
    entries.map(|entry| Ok(entry.map_err(error)?.path())).collect()
}
