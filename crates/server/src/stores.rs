//! Which of a folder's stores is the node's, and which is to take its place.
//!
//! A snapshot is taken in beside the store, in a folder of its own. `stores.json` names the store in use and,
//! once a snapshot is complete, the one that is ready to take its place when the log says so.
//!
//! Invariants:
//! 1. `stores.json` is replaced as a whole and durably. Without it the store is in `store`.
//! 2. What it names as ready is complete and durable. Whatever else looks like a store is the remains of a
//!    snapshot that was not finished, or of a store that was replaced, and is removed at start.

use crate::folder::write_durably;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) const NAMES: &str = "stores.json";
const FIRST: &str = "store";

/// The stores of one folder.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    folder: PathBuf,
    current: String,
    ready: Option<String>,
}

impl Stores {
    /// Reads which are named.
    ///
    /// # Errors
    /// Trouble of the disk, or a file that makes no sense.
    pub(crate) fn open(folder: &Path) -> io::Result<Stores> {
        let (mut current, mut ready) = (FIRST.to_owned(), None);
        match fs::read_to_string(folder.join(NAMES)) {
            Ok(text) => {
                let damaged =
                    || io::Error::new(io::ErrorKind::InvalidData, "stores.json is damaged");
                let value: Value = serde_json::from_str(&text).map_err(|_| damaged())?;
                let name =
                    |key: &str| value[key].as_str().filter(|n| is_store(n)).map(str::to_owned);
                current = name("current").ok_or_else(damaged)?;
                ready = name("ready");
                if value["checksum"].as_str() != Some(&*checksum(&current, ready.as_deref())) {
                    return Err(damaged());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Stores { folder: folder.into(), current, ready })
    }

    /// Where the store in use is.
    pub(crate) fn current(&self) -> PathBuf {
        self.folder.join(&self.current)
    }

    /// Where the one is that is ready to take its place.
    pub(crate) fn ready(&self) -> Option<PathBuf> {
        self.ready.as_ref().map(|name| self.folder.join(name))
    }

    /// A new empty place for a snapshot; nothing is ready any more.
    ///
    /// # Errors
    /// Trouble of the disk.
    pub(crate) fn begin(&mut self) -> io::Result<PathBuf> {
        if self.ready.take().is_some() {
            self.write()?;
        }
        self.remove_others()?;
        let number = |name: &str| name.strip_prefix("store-").and_then(|n| n.parse().ok());
        let last: u64 = number(&self.current).unwrap_or_default();
        Ok(self.folder.join(format!("{FIRST}-{}", last + 1)))
    }

    /// What was put into `place` is complete and durable.
    ///
    /// # Errors
    /// Trouble of the disk.
    pub(crate) fn set_ready(&mut self, place: &Path) -> io::Result<()> {
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned());
        self.ready = name;
        self.write()
    }

    /// The one that is ready is the store from here on; where the old one is.
    ///
    /// # Errors
    /// Trouble of the disk.
    ///
    /// # Panics
    /// If none is ready.
    pub(crate) fn switch(&mut self) -> io::Result<PathBuf> {
        let old = self.current();
        self.current = self.ready.take().expect("a snapshot is ready before it is used");
        self.write()?;
        Ok(old)
    }

    /// Removes every store that is neither in use nor ready.
    ///
    /// # Errors
    /// Trouble of the disk.
    pub(crate) fn remove_others(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if is_store(&name) && name != self.current && self.ready.as_ref() != Some(&name) {
                fs::remove_dir_all(self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let checksum = checksum(&self.current, self.ready.as_deref());
        let value = json!({ "current": self.current, "ready": self.ready, "checksum": checksum });
        write_durably(&self.folder, NAMES, format!("{value:#}\n").as_bytes())
    }
}

/// The CRC32C of the names, as hexadecimal digits: a name with a flipped bit would be that of an empty store.
fn checksum(current: &str, ready: Option<&str>) -> String {
    format!("{:08x}", crc32c::crc32c(format!("{current} {}", ready.unwrap_or("-")).as_bytes()))
}

/// Whether a folder of this name holds a store.
pub(crate) fn is_store(name: &str) -> bool {
    let numbered = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty();
    name == FIRST || name.strip_prefix("store-").is_some_and(numbered)
}
