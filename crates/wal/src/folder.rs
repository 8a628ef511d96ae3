//! [`FolderDisk`]: a [`Disk`] on a real folder, with the standard library alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Disk, DiskFile};

/// A folder of the file system. It takes no lock: keeping a second process out is the caller's part.
#[derive(Debug)]
pub struct FolderDisk {
    path: PathBuf,
    writable: bool,
}

impl FolderDisk {
    /// Uses the folder at `path`, which is made (durably) if its parent exists and it does not.
    ///
    /// # Errors
    /// Whatever the file system answers, for example that `path` is a file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<FolderDisk> {
        let path = path.as_ref().to_path_buf();
        match fs::create_dir(&path) {
            Ok(()) => sync_parent(&path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(FolderDisk { path, writable: true })
    }

    /// Uses the folder at `path` for [`crate::examine`] alone: nothing is made, no file is opened for writing.
    ///
    /// # Errors
    /// Whatever the file system answers, for example that `path` is not there.
    pub fn read_only(path: impl AsRef<Path>) -> io::Result<FolderDisk> {
        let path = path.as_ref().to_path_buf();
        fs::read_dir(&path)?;
        Ok(FolderDisk { path, writable: false })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

impl Disk for FolderDisk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of the log's, so it does not matter how it reads.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(self.writable).open(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl DiskFile for File {
    fn bytes_len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}
