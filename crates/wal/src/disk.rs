//! What the log asks of storage: the [`Disk`] and [`DiskFile`] traits, and reading to the last byte.

use std::io;

/// A folder of files. Real ones are [`crate::FolderDisk`]; the simulator brings [`crate::memory::MemoryDisk`].
///
/// What the log relies on (the numbered assumptions are in the crate's documentation):
/// a name change is durable once [`Disk::sync_folder`] has returned, and may or may not be before.
pub trait Disk {
    /// An open file of this folder.
    type File: DiskFile;

    /// The names of all files in the folder, sorted.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` if there is none of this name, and whatever the file system answers.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken, and whatever the file system answers.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name; open handles stay good.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every create, rename and remove done so far durable.
    ///
    /// # Errors
    /// Whatever the file system answers; the caller must not try again and trust the second answer.
    fn sync_folder(&self) -> io::Result<()>;
}

/// An open file of a [`Disk`], read and written at offsets in bytes.
pub trait DiskFile {
    /// The length of the file in bytes.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn bytes_len(&self) -> io::Result<u64>;

    /// Reads at most `buffer.len()` bytes at `offset`; 0 means the end of the file.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data` at `offset`; durable only after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// Whatever the file system answers; some of the bytes may have been written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts or grows the file to `bytes`; grown bytes read as zero.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes every byte written so far, and the length, durable.
    ///
    /// # Errors
    /// Whatever the file system answers; the caller must not try again and trust the second answer.
    fn sync_data(&self) -> io::Result<()>;
}

/// Reads until `buffer` is full or the file ends; answers the bytes read.
pub(crate) fn read_fully<F: DiskFile>(
    file: &F,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
