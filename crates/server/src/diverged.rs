//! The file in which a node keeps entries that are not in its group's log (passive policy, spec D14).
//!
//! One JSON object a line: slot, ballot, reference, and the request as a client would send it.

use paxos::{Entry, Payload, Slot};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use store::Command;

/// Where they are kept.
#[derive(Debug)]
pub(crate) struct DivergedFile {
    path: PathBuf,
}

impl DivergedFile {
    /// In `folder`; the name tells when this process began.
    pub(crate) fn new(folder: &Path, started_ms: u64) -> DivergedFile {
        DivergedFile { path: folder.join(format!("diverged-{started_ms}.jsonl")) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the commands among `entries`, durably; how many there were.
    ///
    /// # Errors
    /// Trouble of the disk.
    pub(crate) fn keep(&self, entries: &[(Slot, Entry)]) -> io::Result<usize> {
        let mut lines = Vec::new();
        for (slot, entry) in entries {
            if let Payload::Command(bytes) = &entry.payload {
                lines.push(line(*slot, entry, bytes));
            }
        }
        if lines.is_empty() {
            return Ok(0);
        }
        let mut file =
            BufWriter::new(OpenOptions::new().create(true).append(true).open(&self.path)?);
        for line in &lines {
            file.write_all(line.as_bytes())?;
        }
        file.flush()?;
        file.get_ref().sync_all()?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(lines.len())
    }
}

fn line(slot: Slot, entry: &Entry, bytes: &[u8]) -> String {
    let mut value = json!({ "slot": slot.0, "ballot": entry.ballot.to_string() });
    match Command::decode(bytes) {
        Ok(command) => {
            value["ref"] = command.reference.to_string().into();
            let call = api::Call { request: command.request, options: api::Options::default() };
            let mut text = Vec::new();
            api::encode::write_call(&call, &mut text);
            let request = serde_json::from_slice(&text);
            value["request"] =
                request.unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned().into());
        }
        Err(error) => value["unreadable"] = error.to_string().into(),
    }
    format!("{value}\n")
}
