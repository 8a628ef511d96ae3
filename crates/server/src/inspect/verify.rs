//! Whether everything in the folder of a node that does not run is sound.
//!
//! First every file alone: the small ones, each record of the log, each table and journal of the store. What is sound so
//! far is then compared with each other: rows with rows, and the store with the log.

use super::audit::Audit;
use super::scratch::Scratch;
use super::{open_disk, options};
use crate::error::ServerError;
use crate::folder::{self, IDENTITY, Identity, MEMBERS, START_OVER, Stage};
use crate::stores::{NAMES, Stores};
use paxos::Slot;
use replica::{Examined, JournalError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use store::{Fatal, FjallEngine, FjallOptions, Store};

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was looked at, a sentence each.
    pub checked: Vec<String>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which file or folder.
    pub path: PathBuf,
    /// What about it.
    pub what: String,
    /// What it means.
    pub severity: Severity,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something that was durable is not as it was written.
    Damage,
    /// Nothing is wrong, but somebody may want to know.
    Note,
}

/// How far the checking is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being checked.
    pub stage: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is, if that is known.
    pub total: Option<u64>,
    /// What is counted: `bytes` or `rows`.
    pub unit: &'static str,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Damage)
    }

    fn damage(&mut self, path: impl Into<PathBuf>, what: impl Into<String>) {
        let (path, what) = (path.into(), what.into());
        self.findings.push(Finding { path, what, severity: Severity::Damage });
    }

    fn note(&mut self, path: impl Into<PathBuf>, what: impl Into<String>) {
        let (path, what) = (path.into(), what.into());
        self.findings.push(Finding { path, what, severity: Severity::Note });
    }
}

/// Checks the folder of a node that does not run, and changes nothing in it. The store is opened as a copy among the
/// temporary files, with links to its tables.
///
/// # Errors
/// Why it cannot be checked: somebody uses the folder, it is no node's, or it cannot be read.
pub fn verify(
    path: &Path,
    cache_bytes: u64,
    watch: &dyn Fn(Progress),
) -> Result<Report, ServerError> {
    let mut verifying = Verifying { path, cache_bytes, watch, report: Report::default() };
    folder::check_is_there(path)?;
    let _held = folder::hold_still(path)?;
    let identity = verifying.identity()?;
    verifying.small_files();
    let log = verifying.log(identity.as_ref())?;
    verifying.stores(log.as_ref())?;
    Ok(verifying.report)
}

struct Verifying<'a> {
    path: &'a Path,
    cache_bytes: u64,
    watch: &'a dyn Fn(Progress),
    report: Report,
}

impl Verifying<'_> {
    fn identity(&mut self) -> Result<Option<Identity>, ServerError> {
        match folder::identity_of(self.path) {
            Ok(identity) => {
                self.report.checked.push(format!(
                    "{IDENTITY}: node {} of group {}, policy {}",
                    identity.node, identity.cluster, identity.policy
                ));
                Ok(Some(identity))
            }
            Err(ServerError::Identity { path, reason }) => {
                self.report.damage(path, reason);
                Ok(None)
            }
            Err(ServerError::Incomplete { path, reason }) => {
                self.report.damage(path.join(IDENTITY), reason);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn small_files(&mut self) {
        let members = self.path.join(MEMBERS);
        match fs::read_to_string(&members).map(|text| serde_json::from_str::<Vec<String>>(&text)) {
            Ok(Ok(list)) => {
                self.report.checked.push(format!("{MEMBERS}: {} other members", list.len()));
            }
            Ok(Err(error)) => self.report.damage(members, format!("no list of addresses: {error}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.report.damage(members, error.to_string()),
        }
        let start_over = self.path.join(START_OVER);
        match fs::read_to_string(&start_over) {
            Ok(text) => match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) => {
                    let reason =
                        value["reason"].as_str().unwrap_or("no reason is given").to_owned();
                    self.report.note(start_over, format!("the node is to join anew: {reason}"));
                }
                Err(error) => self.report.damage(start_over, format!("it is no JSON: {error}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.report.damage(start_over, error.to_string()),
        }
        for entry in fs::read_dir(self.path).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("damaged-") || name.starts_with("diverged-") {
                self.report
                    .note(entry.path(), "kept from before the node started over; not checked");
            }
        }
    }

    fn log(&mut self, identity: Option<&Identity>) -> Result<Option<Examined>, ServerError> {
        let path = self.path.join("log");
        let total = folder_bytes(&path);
        let mut audit = Audit::default();
        let mut done = 0;
        let options = options(identity);
        let examined = open_disk(&path).map_err(JournalError::from).and_then(|disk| {
            replica::examine(&disk, &options, |position, record| {
                // Segments are read one after the other; within one, offsets tell how far it is.
                let here = u64::from(position.offset);
                if here < done % SEGMENT_BYTES || here >= done % SEGMENT_BYTES + WATCH_BYTES {
                    done = u64::from(position.segment) * SEGMENT_BYTES + here;
                    let done = done.min(total);
                    let stage = "log";
                    (self.watch)(Progress { stage, done, total: Some(total), unit: "bytes" });
                }
                audit.note(&record)
            })
        });
        match examined {
            Ok(examined) => {
                self.log_is_read(&examined, audit.count);
                Ok(Some(examined))
            }
            Err(JournalError::Log(wal::Error::Missing)) => {
                if identity.is_some_and(|identity| identity.stage == Stage::Ready) {
                    let what = "there is no log, and with it is lost what the node has promised";
                    self.report.damage(path, what);
                } else {
                    self.report.note(path, "the node was never started");
                }
                Ok(None)
            }
            Err(error) if error.is_damage() || is_record(&error) => {
                let file = segment_of(&error)
                    .map_or(path.clone(), |number| path.join(format!("segment-{number:010}.log")));
                self.report.damage(file, error.to_string());
                Ok(None)
            }
            Err(source) => {
                Err(ServerError::Start { path: self.path.into(), source: source.into() })
            }
        }
    }

    fn log_is_read(&mut self, examined: &Examined, entries: u64) {
        let (recovery, recovered) = (&examined.recovery, &examined.recovered);
        self.report.checked.push(format!(
            "log: {} records in {} segments, {entries} entries, slots {} to {}, decided {}, promised {}",
            recovery.records,
            recovery.segments,
            recovered.floor.next(),
            recovered.last,
            recovered.decided,
            recovered.promised
        ));
        if recovery.torn_bytes > 0 {
            let file =
                self.path.join("log").join(format!("segment-{:010}.log", recovery.end.segment));
            self.report.note(
                file,
                format!(
                    "a torn tail of {} bytes: the remains of records that were never acknowledged; \
                     the next start cuts it",
                    recovery.torn_bytes
                ),
            );
        }
    }

    fn stores(&mut self, log: Option<&Examined>) -> Result<(), ServerError> {
        let stores = match Stores::open(self.path) {
            Ok(stores) => stores,
            Err(error) => {
                self.report.damage(self.path.join(NAMES), error.to_string());
                return Ok(());
            }
        };
        let applied = self.store(&stores.current(), "store")?;
        let ready = match stores.ready() {
            Some(path) => self.store(&path, "snapshot that is ready")?,
            None => None,
        };
        if let (Some(applied), Some(log)) = (applied, log) {
            self.compare(&stores.current(), applied, ready, log);
        }
        Ok(())
    }

    /// Checks one store; the slot it stands at, if it is sound. Where there is none, that is zero.
    fn store(&mut self, path: &Path, name: &'static str) -> Result<Option<Slot>, ServerError> {
        if !path.is_dir() {
            // So it is where a start was interrupted; that nothing is lost with it, the log tells.
            self.report.note(path, "there is no store");
            return Ok(Some(Slot::ZERO));
        }
        let total = folder_bytes(path);
        let mut done = 0;
        let examined = store::engine::examine(path, &mut |bytes| {
            done += bytes;
            let stage = "files of the store";
            (self.watch)(Progress { stage, done, total: Some(total), unit: "bytes" });
        });
        let examined = examined.map_err(|error| failed(path, error.into()))?;
        if let Some((journal, offset)) = examined.torn {
            let what = format!(
                "a batch that a crash tore at byte {offset}; the log has it, the next start cuts it"
            );
            self.report.note(journal, what);
        }
        self.report
            .checked
            .push(format!("{name}: {} files, {} bytes", examined.files, examined.bytes));
        if !examined.damaged.is_empty() {
            for (path, what) in examined.damaged {
                self.report.damage(path, what);
            }
            // What is in damaged files is not to be opened.
            return Ok(None);
        }
        self.rows(path, name)
    }

    fn rows(&mut self, path: &Path, name: &'static str) -> Result<Option<Slot>, ServerError> {
        let scratch = Scratch::of(path).map_err(|source| ServerError::Folder {
            operation: "copy (for reading)",
            path: path.into(),
            source,
        })?;
        let options = FjallOptions { cache_bytes: self.cache_bytes, ..FjallOptions::default() };
        let watch = |done| {
            (self.watch)(Progress { stage: "rows of the store", done, total: None, unit: "rows" });
        };
        let checked =
            FjallEngine::open(scratch.path(), options).map_err(Fatal::from).and_then(|engine| {
                let store = Store::open(engine)?;
                store.verify_watched(&watch)?;
                let documents = store.documents();
                Ok((Slot(store.applied_slot()), documents))
            });
        match checked {
            Ok((applied, (collections, documents))) => {
                self.report.checked.push(format!(
                    "{name}: applied slot {applied}, {collections} collections, {documents} documents, \
                     indexes and counts agree with them"
                ));
                Ok(Some(applied))
            }
            Err(error) if error.is_damage() => {
                let scratch = scratch.path().display().to_string();
                let what = error.to_string().replace(&scratch, &path.display().to_string());
                self.report.damage(path, what);
                Ok(None)
            }
            Err(error) => Err(failed(path, error)),
        }
    }

    /// The store never knows more than the log, and the log has all that the store, or a snapshot that is ready, lacks.
    fn compare(&mut self, store: &Path, applied: Slot, ready: Option<Slot>, log: &Examined) {
        let (floor, last) = (log.recovered.floor, log.recovered.last);
        if applied > last {
            self.report.damage(
                self.path.join("log"),
                format!(
                    "the store has applied slot {applied} but the log ends at slot {last}: the log has \
                     lost its end"
                ),
            );
        } else if applied < floor && ready.is_none_or(|ready| ready < floor) {
            self.report.damage(
                store,
                format!(
                    "the store has applied slot {applied} but the log begins after slot {floor}: what \
                     is between is lost"
                ),
            );
        } else {
            let behind = log.recovered.decided.0.saturating_sub(applied.0);
            self.report
                .checked
                .push(format!("log and store agree: the next start applies {behind} entries"));
        }
    }
}

/// The usual length of a segment, for telling how far the reading is.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes between two words about it.
const WATCH_BYTES: u64 = 1 << 20;

fn failed(path: &Path, source: Fatal) -> ServerError {
    ServerError::Store { path: path.into(), source }
}

/// A record that is whole and makes no sense.
fn is_record(error: &JournalError) -> bool {
    matches!(error, JournalError::Log(wal::Error::Rejected { .. }))
}

/// The segment that an error is about.
fn segment_of(error: &JournalError) -> Option<u32> {
    match error {
        JournalError::Log(wal::Error::Corrupt { segment, .. }) => Some(*segment),
        JournalError::Log(wal::Error::Rejected { position, .. })
        | JournalError::Record { position, .. } => Some(position.segment),
        _ => None,
    }
}

/// The bytes of all files below a folder.
fn folder_bytes(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
        _ => 0,
    });
    bytes.sum()
}
