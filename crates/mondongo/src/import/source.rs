//! The bytes of an input: plain or decompressed, from any position on.

use super::options::ImportArguments;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 18;
/// The bytes at the beginning by which an input is known again.
const HEAD_BYTES: usize = 4096;

/// Reads an input, decompressed.
pub(crate) type Reader = Box<dyn BufRead + Send>;

/// An input, opened.
pub(crate) struct Source {
    /// Decompressed.
    pub(crate) reader: Reader,
    /// Bytes as they lie in the file, if it is one.
    pub(crate) bytes_total: Option<u64>,
    /// How many of these were read.
    pub(crate) bytes_read: Arc<AtomicU64>,
    /// Held, so that nobody else imports the file.
    pub(crate) held: Option<File>,
}

/// How a file is compressed, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Source {
    /// Opens the input and passes over its first `skip` bytes, counted as they are decompressed.
    ///
    /// # Errors
    /// In words: it cannot be read, it is shorter than that, or another import has it.
    pub(crate) fn open(arguments: &ImportArguments, skip: u64) -> Result<Source, String> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        if arguments.is_stdin() {
            let input = Counted { inner: io::stdin(), count: Arc::clone(&bytes_read) };
            let mut reader = BufReader::with_capacity(BUFFER_BYTES, input);
            let first = reader.fill_buf().map_err(|error| format!("standard input: {error}"))?;
            let compression = compression(first);
            let mut reader = decompressed(reader, compression).map_err(|e| e.to_string())?;
            pass_over(&mut reader, skip).map_err(|error| format!("standard input: {error}"))?;
            return Ok(Source { reader, bytes_total: None, bytes_read, held: None });
        }
        Source::open_file(&arguments.file, skip, bytes_read)
            .map_err(|error| format!("{}: {error}", arguments.file.display()))
    }

    fn open_file(path: &Path, skip: u64, bytes_read: Arc<AtomicU64>) -> io::Result<Source> {
        let mut file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::other("it is a folder"));
        }
        let held = file.try_clone()?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another import has it; wait until that has ended"));
            }
            // A file system without locks: then nobody is kept out.
            Err(TryLockError::Error(_)) => {}
        }
        let bytes_total = file.metadata()?.len();
        let compression = compression(&head(&mut file)?);
        let mut skip = skip;
        if compression == Compression::None {
            if skip > bytes_total {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.seek(SeekFrom::Start(skip))?;
            bytes_read.store(skip, Ordering::Relaxed);
            skip = 0;
        }
        let input = Counted { inner: file, count: Arc::clone(&bytes_read) };
        let mut reader = decompressed(BufReader::with_capacity(BUFFER_BYTES, input), compression)?;
        pass_over(&mut reader, skip)?;
        Ok(Source { reader, bytes_total: Some(bytes_total), bytes_read, held: Some(held) })
    }
}

/// By what a file is known again: the checksum of its first bytes. The standard input is not.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn fingerprint(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    Ok(format!("{:08x}", crc32c::crc32c(&head(&mut file)?)))
}

fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(head)
}

fn compression(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

fn decompressed(
    reader: impl BufRead + Send + 'static,
    compression: Compression,
) -> io::Result<Reader> {
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(reader);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(reader);
            let decoder = decoder.map_err(|error| io::Error::other(error.to_string()))?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    })
}

fn pass_over(reader: &mut impl Read, bytes: u64) -> io::Result<()> {
    let passed = io::copy(&mut reader.take(bytes), &mut io::sink())?;
    if passed < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
