//! The file of lines that cannot be taken: one JSON object each.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reject {
    /// Its number.
    pub(crate) line: u64,
    /// Why.
    pub(crate) reason: String,
    /// What it says.
    pub(crate) text: String,
}

/// The file, made when the first line comes.
#[derive(Debug)]
pub(crate) struct Rejects {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
}

impl Rejects {
    /// The file at `path`, of which the first `bytes` are kept.
    ///
    /// # Errors
    /// If it cannot be cut there.
    pub(crate) fn open(path: &Path, bytes: u64) -> io::Result<Rejects> {
        let mut rejects = Rejects { path: path.to_path_buf(), file: None, bytes };
        if bytes == 0 {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(rejects),
            }
        }
        let mut file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() < bytes {
            return Err(io::Error::other("it is shorter than when the import stopped"));
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        rejects.file = Some(file);
        Ok(rejects)
    }

    /// Adds lines.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn add(&mut self, rejects: &[Reject]) -> io::Result<()> {
        if rejects.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        for Reject { line, reason, text } in rejects {
            let object = serde_json::json!({ "line": line, "reason": reason, "text": text });
            writeln!(out, "{object}")?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path)?),
        };
        file.write_all(&out)?;
        self.bytes += out.len() as u64;
        Ok(())
    }

    /// Makes all that was added durable; how long the file is.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) fn sync(&self) -> io::Result<u64> {
        if let Some(file) = &self.file {
            file.sync_data()?;
        }
        Ok(self.bytes)
    }
}
