//! A copy of a store that may be opened: opening a store tidies up, and what is examined must not change.
//!
//! Tables never change once they are written, so the copy has links to them; everything else is small and is copied.

use crate::process::random_number;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

/// The folders whose files never change.
const UNCHANGING: [&str; 2] = ["tables", "blobs"];
/// Deeper than a store is.
const DEPTH_MAX: usize = 8;

/// A copy that goes when the value does.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Copies the store at `store` into the folder for temporary files.
    ///
    /// # Errors
    /// Trouble of the disk.
    pub(crate) fn of(store: &Path) -> io::Result<Scratch> {
        let number = random_number().map_err(io::Error::other)?;
        let path = std::env::temp_dir().join(format!("mondongo-verify-{number:016x}"));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let scratch = Scratch { path };
        copy(&store.canonicalize()?, &scratch.path, false, DEPTH_MAX)?;
        Ok(scratch)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is in the folder for temporary files: what cannot be removed goes with the others.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn copy(from: &Path, to: &Path, link: bool, depth_left: usize) -> io::Result<()> {
    if depth_left == 0 {
        return Err(io::Error::other(format!("{} is too deep for a store", from.display())));
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let target = to.join(&name);
        if kind.is_dir() {
            fs::create_dir(&target)?;
            let link = UNCHANGING.iter().any(|unchanging| name == *unchanging);
            copy(&entry.path(), &target, link, depth_left - 1)?;
        } else if link {
            symlink(entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
