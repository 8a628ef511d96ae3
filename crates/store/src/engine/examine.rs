//! A look at every byte of fjall's files, without opening or changing any of them for it.
//!
//! Tables are compared with the checksums that their manifest has of them, so that the damaged file can be named; reading
//! rows finds damage too, but not where it is. The forms are those of fjall 3 (`docs/design/store-format.md`).

use super::{EngineError, journal, layout};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const BUFFER_BYTES: usize = 1 << 18;

/// What [`examine`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Files that are not as they were written, and how that is known.
    pub damaged: Vec<(PathBuf, String)>,
    /// The newest journal and the byte from which a crash has left less than a batch; the log has what was in it.
    pub torn: Option<(PathBuf, u64)>,
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// Reads everything in the folder of an engine. `watch` is told how many bytes were read since it was last called.
///
/// # Errors
/// [`EngineError::Io`] if the folder or a file cannot be read; damage is no error here.
pub fn examine(folder: &Path, watch: &mut dyn FnMut(u64)) -> Result<Examined, EngineError> {
    let mut found = Examined::default();
    journal::examine(folder, &mut found, watch)?;
    for keyspace in layout::keyspaces(folder)? {
        examine_keyspace(&keyspace, &mut found, watch)?;
    }
    Ok(found)
}

fn examine_keyspace(
    keyspace: &Path,
    found: &mut Examined,
    watch: &mut dyn FnMut(u64),
) -> Result<(), EngineError> {
    let tables = match layout::tables(keyspace) {
        Ok(Some(tables)) => tables,
        Ok(None) => return Ok(()),
        Err(EngineError::Damaged(reason)) => {
            found.damaged.push((keyspace.to_path_buf(), reason));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for (path, checksum) in tables {
        if !path.exists() {
            found.damaged.push((path, "the table is missing; the manifest names it".into()));
            continue;
        }
        let (sum, bytes) = checksum_of(&path, watch)?;
        found.files += 1;
        found.bytes += bytes;
        if sum != checksum {
            found.damaged.push((path, "the table does not match its checksum".into()));
        }
    }
    Ok(())
}

fn checksum_of(path: &Path, watch: &mut dyn FnMut(u64)) -> Result<(u128, u64), EngineError> {
    let error = |error| super::io_error(&path.display().to_string(), &error);
    let mut file = File::open(path).map_err(error)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut hasher, mut bytes) = (Xxh3::new(), 0);
    loop {
        let count = file.read(&mut buffer).map_err(error)?;
        if count == 0 {
            return Ok((hasher.digest128(), bytes));
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
        watch(count as u64);
    }
}
