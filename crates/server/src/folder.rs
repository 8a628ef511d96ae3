//! The folder of a node: who it is, and that nobody else uses it.
//!
//! ```text
//! identity.json   format version, node, cluster, policy, log id; written once, then once more
//! log/            the write-ahead log
//! store/          the store; store-N/ after a snapshot has taken its place
//! stores.json     which store is in use (`stores`)
//! members.json    where the other members were last; a hint for starting over
//! start-over.json the data cannot be used any more: the node is to join anew, and why
//! damaged-N/      what was there before it started over, N: milliseconds since 1970; or diverged-N/
//! lock            locked while a process uses the folder; says which
//! ```
//!
//! Invariants:
//! 1. `identity.json` is replaced as a whole and durably, so a crash leaves the old or the new one.
//! 2. Its stage is `new` until the log exists (and, in the folder of a founder, holds the first entry),
//!    `ready` from then on. A folder that is `ready` never gets a new log: without one, what the node
//!    has promised is forgotten, and it must not come back as its old self.

use crate::error::ServerError;
use crate::process::{random_bytes, random_number};
use paxos::{NodeId, Policy};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The version of the folder's layout and of `identity.json`.
pub const FORMAT_VERSION: u64 = 2;

pub(crate) const IDENTITY: &str = "identity.json";
const IDENTITY_NEW: &str = "identity.json.new";
const LOCK: &str = "lock";
pub(crate) const MEMBERS: &str = "members.json";
pub(crate) const START_OVER: &str = "start-over.json";
const STORES: &str = "stores.json";

/// A group's name: random, drawn by its founder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterId(pub [u8; 16]);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How far the making of a folder has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The log may not exist yet.
    New,
    /// The log exists.
    Ready,
}

/// Who the node of a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its group.
    pub cluster: ClusterId,
    /// By which rule the group decides.
    pub policy: Policy,
    /// The identity of its log.
    pub log: [u8; 16],
    /// Addresses of members through which it joined; none: it founded the group.
    pub seeds: Vec<String>,
    /// How far the folder is made.
    pub stage: Stage,
}

impl Identity {
    /// A node that founds a group.
    ///
    /// # Errors
    /// [`ServerError::Random`].
    pub fn founding(policy: Policy) -> Result<Identity, ServerError> {
        let (node, cluster) = (NodeId(random_number()?), ClusterId(random_bytes()?));
        Identity::joining(node, cluster, policy, Vec::new())
    }

    /// A node that joins a group through one of `seeds`.
    ///
    /// # Errors
    /// [`ServerError::Random`].
    pub fn joining(
        node: NodeId,
        cluster: ClusterId,
        policy: Policy,
        seeds: Vec<String>,
    ) -> Result<Identity, ServerError> {
        Ok(Identity { node, cluster, policy, log: random_bytes()?, seeds, stage: Stage::New })
    }

    /// Whether this node founded its group.
    pub fn is_founder(&self) -> bool {
        self.seeds.is_empty()
    }

    fn to_json(&self) -> String {
        let stage = match self.stage {
            Stage::New => "new",
            Stage::Ready => "ready",
        };
        let mut value = json!({
            "format": FORMAT_VERSION,
            "node": self.node.to_string(),
            "cluster": self.cluster.to_string(),
            "policy": self.policy.to_string(),
            "log": hex(&self.log),
            "seeds": self.seeds,
            "stage": stage,
        });
        value["checksum"] = checksum(&value).into();
        format!("{value:#}\n")
    }

    fn from_json(folder: &Path, text: &str) -> Result<Identity, ServerError> {
        let damaged =
            |reason: String| ServerError::Identity { path: folder.join(IDENTITY), reason };
        let mut value: Value = serde_json::from_str(text)
            .map_err(|error| damaged(format!("it is no JSON: {error}")))?;
        let found = value["format"].as_u64();
        let found = found.ok_or_else(|| damaged("it names no format version".into()))?;
        if found != FORMAT_VERSION {
            return Err(ServerError::Version { path: folder.into(), found, known: FORMAT_VERSION });
        }
        let told = value.as_object_mut().and_then(|fields| fields.remove("checksum"));
        let bytes = |name: &str| {
            let number = value[name].as_str().and_then(unhex::<16>);
            number.ok_or_else(|| damaged(format!("{name} is no number of 32 hexadecimal digits")))
        };
        let node = value["node"].as_str().and_then(unhex::<8>).map(u64::from_be_bytes);
        let node = node.filter(|node| *node != 0);
        let node =
            node.ok_or_else(|| damaged("node is no number of 16 hexadecimal digits".into()))?;
        let policy = match value["policy"].as_str() {
            Some("paxos") => Policy::Paxos,
            Some("passive") => Policy::Passive,
            _ => return Err(damaged("policy is neither \"paxos\" nor \"passive\"".into())),
        };
        let stage = match value["stage"].as_str() {
            Some("new") => Stage::New,
            Some("ready") => Stage::Ready,
            _ => return Err(damaged("stage is neither \"new\" nor \"ready\"".into())),
        };
        let seeds = value["seeds"].as_array().and_then(|seeds| {
            seeds.iter().map(|seed| seed.as_str().map(str::to_string)).collect::<Option<Vec<_>>>()
        });
        let seeds = seeds.ok_or_else(|| damaged("seeds is no list of addresses".into()))?;
        let cluster = ClusterId(bytes("cluster")?);
        let log = bytes("log")?;
        if told != Some(checksum(&value).into()) {
            return Err(damaged("its content does not match its checksum".into()));
        }
        Ok(Identity { node: NodeId(node), cluster, policy, log, seeds, stage })
    }
}

/// The CRC32C of the fields that never change, as hexadecimal digits.
fn checksum(fields: &Value) -> String {
    let names = ["format", "node", "cluster", "policy", "log"];
    let text: Vec<String> = names.iter().map(|name| fields[*name].to_string()).collect();
    format!("{:08x}", crc32c::crc32c(text.join(" ").as_bytes()))
}

/// A folder that this process alone uses, as long as the value lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Whether it was not there before.
    is_made: bool,
    _lock: File,
}

impl Folder {
    /// Takes the folder at `path`, making it if it is not there. `purpose` says who holds it to whoever
    /// asks for it next.
    ///
    /// # Errors
    /// [`ServerError::InUse`], [`ServerError::NotAFolder`], [`ServerError::NotANode`],
    /// [`ServerError::Folder`].
    pub fn take(path: &Path, purpose: &str) -> Result<Folder, ServerError> {
        let is_made = make_folder(path)?;
        refuse_foreign(path)?;
        let lock = lock(path, purpose)?;
        Ok(Folder { path: path.to_path_buf(), is_made, _lock: lock })
    }

    /// Leaves nothing behind of a folder that has become no node's: the lock goes, and the folder, if it was made for
    /// this and nothing else has come into it.
    pub fn discard_if_unused(&self) {
        let names = fs::read_dir(&self.path).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        });
        if !names.is_ok_and(|names| names.iter().all(|name| name == LOCK)) {
            return;
        }
        // What cannot be removed does no harm: an empty folder is taken as a new one.
        let _ = fs::remove_file(self.path.join(LOCK));
        if self.is_made {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log is.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the other members were last, as far as is known.
    pub fn members(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path.join(MEMBERS)).unwrap_or_default();
        // A hint that cannot be read is none.
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Why this node is to start over, if it is: a word for the name of the folder that keeps the old data,
    /// and a sentence.
    pub fn start_over_reason(&self) -> Option<(String, String)> {
        let text = fs::read_to_string(self.path.join(START_OVER)).ok()?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let word = |name: &str, else_: &str| value[name].as_str().unwrap_or(else_).to_owned();
        Some((word("kind", "damaged"), word("reason", "its data could not be used")))
    }

    /// Notes that this node is to start over.
    ///
    /// # Errors
    /// [`ServerError::Folder`].
    pub fn mark_start_over(&self, kind: &str, reason: &str) -> Result<(), ServerError> {
        let text = format!("{:#}\n", json!({ "kind": kind, "reason": reason }));
        let written = write_durably(&self.path, START_OVER, text.as_bytes());
        written.map_err(folder_error("write", &self.path.join(START_OVER)))
    }

    /// Moves log, store and identity aside, into a folder called `kind` with the time, and makes `identity` the
    /// folder's. A crash on the way leaves the mark, by which it is done again.
    ///
    /// # Errors
    /// [`ServerError::Folder`].
    pub fn start_over(
        &self,
        kind: &str,
        identity: &Identity,
        now_ms: u64,
    ) -> Result<PathBuf, ServerError> {
        let aside = self.path.join(format!("{kind}-{now_ms}"));
        let move_aside = || {
            fs::create_dir_all(&aside)?;
            for entry in fs::read_dir(&self.path)? {
                let name = entry?.file_name();
                let text = name.to_string_lossy();
                if text == "log" || text == STORES || crate::stores::is_store(&text) {
                    fs::rename(self.path.join(&name), aside.join(&name))?;
                }
            }
            fs::copy(self.path.join(IDENTITY), aside.join(IDENTITY))?;
            File::open(&aside)?.sync_all()?;
            File::open(&self.path)?.sync_all()
        };
        move_aside().map_err(folder_error("move the data aside in", &self.path))?;
        self.write_identity(identity)?;
        let unmark = || {
            match fs::remove_file(self.path.join(START_OVER)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            File::open(&self.path)?.sync_all()
        };
        unmark().map_err(folder_error("write", &self.path.join(START_OVER)))?;
        Ok(aside)
    }

    /// Who the node is, if the folder was used before.
    ///
    /// # Errors
    /// [`ServerError::Identity`], [`ServerError::Version`], [`ServerError::Folder`].
    pub fn identity(&self) -> Result<Option<Identity>, ServerError> {
        let path = self.path.join(IDENTITY);
        match fs::read_to_string(&path) {
            Ok(text) => Identity::from_json(&self.path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(folder_error("read", &path)(error)),
        }
    }

    /// Makes `identity` the folder's, durably and as a whole.
    ///
    /// # Errors
    /// [`ServerError::Folder`].
    pub fn write_identity(&self, identity: &Identity) -> Result<(), ServerError> {
        let path = self.path.join(IDENTITY);
        let written = write_durably(&self.path, IDENTITY, identity.to_json().as_bytes());
        written.map_err(folder_error("write", &path))
    }

    /// Checks that log and store are there as far as `identity` says they must be.
    ///
    /// # Errors
    /// [`ServerError::Incomplete`].
    pub fn check_complete(&self, identity: &Identity) -> Result<(), ServerError> {
        let has_log = has_segments(&self.log_path());
        let reason = match identity.stage {
            Stage::Ready if !has_log => {
                "has lost its log (folder \"log\" is missing or empty), and with it what this node \
                 has promised and acknowledged; restore the whole folder from a backup, or let the \
                 node join anew in a new folder"
            }
            Stage::New if !has_log && is_filled(&self.path.join("store")) => {
                "holds a store but no log; the two belong together: restore the whole folder from a \
                 backup, or let the node join anew in a new folder"
            }
            _ => return Ok(()),
        };
        Err(ServerError::Incomplete { path: self.path.clone(), reason: reason.into() })
    }
}

/// Who the node of the folder at `path` is, without taking the folder.
///
/// # Errors
/// [`ServerError::NotANode`] if there is none; else as [`Folder::identity`].
pub(crate) fn identity_of(path: &Path) -> Result<Identity, ServerError> {
    check_is_there(path)?;
    let file = path.join(IDENTITY);
    match fs::read_to_string(&file) {
        Ok(text) => Identity::from_json(path, &text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(ServerError::Identity { path: file, reason: "it is no text".into() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            refuse_foreign(path)?;
            Err(ServerError::NotANode {
                path: path.to_path_buf(),
                found: "nothing of a node".into(),
            })
        }
        Err(error) => Err(folder_error("read", &file)(error)),
    }
}

/// Refuses a folder to be looked at that is not there, or is none.
///
/// # Errors
/// [`ServerError::Folder`].
pub(crate) fn check_is_there(path: &Path) -> Result<(), ServerError> {
    if path.is_dir() {
        return Ok(());
    }
    let (kind, what) = match path.exists() {
        true => (io::ErrorKind::NotADirectory, "it is no folder; name the folder of a node"),
        false => (io::ErrorKind::NotFound, "there is no such folder; name the folder of a node"),
    };
    Err(folder_error("read", path)(io::Error::new(kind, what)))
}

/// Holds the folder of a node that is only looked at: the lock is taken if there is one, and nothing is written.
///
/// # Errors
/// [`ServerError::InUse`], [`ServerError::Folder`].
pub(crate) fn hold_still(path: &Path) -> Result<Option<File>, ServerError> {
    let lock = path.join(LOCK);
    let mut file = match File::open(&lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(folder_error("open", &lock)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(in_use(path, &mut file)),
        Err(fs::TryLockError::Error(error)) => Err(folder_error("lock", &lock)(error)),
    }
}

fn in_use(folder: &Path, lock: &mut File) -> ServerError {
    let mut holder = String::new();
    // What cannot be read is not told.
    let _ = lock.read_to_string(&mut holder);
    ServerError::InUse { path: folder.to_path_buf(), holder: holder.trim().to_string() }
}

/// Writes a file of the folder as a whole: after a crash the old or the new one is there.
///
/// # Errors
/// Trouble of the disk.
pub(crate) fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Notes where the members of the group are.
///
/// # Errors
/// Trouble of the disk.
pub(crate) fn write_members(folder: &Path, addresses: &[String]) -> io::Result<()> {
    write_durably(folder, MEMBERS, format!("{}\n", json!(addresses)).as_bytes())
}

fn folder_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> ServerError + 'a {
    move |source| ServerError::Folder { operation, path: path.to_path_buf(), source }
}

/// Makes the folder and those above it; each new name is made durable.
/// Answers whether it had to be made.
fn make_folder(path: &Path) -> Result<bool, ServerError> {
    if path.is_dir() {
        return Ok(false);
    }
    if path.exists() {
        return Err(ServerError::NotAFolder { path: path.to_path_buf() });
    }
    fs::create_dir_all(path).map_err(folder_error("make the folder", path))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let sync = File::open(parent).and_then(|parent| parent.sync_all());
    sync.map_err(folder_error("sync the folder above", path))?;
    Ok(true)
}

/// Refuses a folder that was used for something else, before anything in it is touched.
fn refuse_foreign(path: &Path) -> Result<(), ServerError> {
    if path.join(IDENTITY).exists() {
        return Ok(());
    }
    let read = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    };
    let names = read().map_err(folder_error("read the folder", path))?;
    match names.into_iter().find(|name| name != LOCK && name != IDENTITY_NEW) {
        Some(found) if found == "log" || found == STORES || crate::stores::is_store(&found) => Err(ServerError::Incomplete {
            path: path.to_path_buf(),
            reason: "has lost its identity.json, without which nobody knows whose log and store these \
                     are; restore the whole folder from a backup, or let the node join anew in a new \
                     folder"
                .into(),
        }),
        Some(found) => Err(ServerError::NotANode { path: path.to_path_buf(), found }),
        None => Ok(()),
    }
}

fn lock(folder: &Path, purpose: &str) -> Result<File, ServerError> {
    let path = folder.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(folder_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(in_use(folder, &mut file)),
        Err(fs::TryLockError::Error(error)) => return Err(folder_error("lock", &path)(error)),
    }
    let mut write = || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "process {}, {purpose}", std::process::id())
    };
    write().map_err(folder_error("write", &path))?;
    Ok(file)
}

fn has_segments(path: &Path) -> bool {
    let is_segment = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("segment-"))
    };
    fs::read_dir(path).is_ok_and(|mut entries| entries.any(is_segment))
}

fn is_filled(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const COUNT: usize>(text: &str) -> Option<[u8; COUNT]> {
    if text.len() != 2 * COUNT || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; COUNT];
    for (position, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * position..2 * position + 2], 16).ok()?;
    }
    Some(bytes)
}
