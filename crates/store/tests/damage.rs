//! A store on disk with damage in any file: opening and reading all of it names the damage, or gives
//! exactly the content of the slot at which it stands; never other content, never a panic.

mod common;

use api::Reference;
use common::snapshot::import_all;
use common::{Dice, apply_slots, workload, write};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{
    ContentHash, Effect, EngineError, Entry, Fatal, FjallEngine, FjallOptions, MemoryDisk, Store,
};

const SLOTS: usize = 1600;

fn open(folder: &Path) -> Result<Store<FjallEngine>, Fatal> {
    let options = FjallOptions { memtable_bytes: 32 << 10, ..FjallOptions::default() };
    Store::open(FjallEngine::open(folder, options)?)
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("read") {
            let path = entry.expect("read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inner = path.strip_prefix(folder).expect("below it").to_owned();
                found.insert(inner, std::fs::read(path).expect("read"));
            }
        }
    }
    found
}

fn restore(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    std::fs::remove_dir_all(folder).expect("removed");
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        // Journals are zeros for the most part, which take no room unless they are written.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        std::fs::write(&path, &bytes[..end]).expect("written");
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
        file.set_len(bytes.len() as u64).expect("lengthened");
    }
}

fn content(folder: &Path) -> Result<(u64, ContentHash), Fatal> {
    let store = open(folder)?;
    store.verify()?;
    store.content_hash()
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
    Zero(usize, usize),
    Remove,
}

/// Places in a file: its ends, and some between, before the zeros at its end.
fn damages(bytes: &[u8], dice: &mut Dice) -> Vec<Damage> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut damages = vec![Damage::Remove];
    if end == 0 {
        return damages;
    }
    let mut places = vec![0, end / 2, end - 1];
    places.extend((0..places_in_file()).map(|_| dice.below(end as u64) as usize));
    for place in places {
        damages.push(Damage::Flip(place, dice.below(8) as u8));
    }
    damages.extend([0, end / 3, end - 1].map(Damage::Cut));
    damages.push(Damage::Zero(end / 2, end.min(end / 2 + 512)));
    damages
}

/// `MONDONGO_DAMAGES` sets how many random places are tried in each file.
fn places_in_file() -> usize {
    std::env::var("MONDONGO_DAMAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn damage(path: &Path, bytes: &[u8], damage: Damage) {
    let mut bytes = bytes.to_vec();
    match damage {
        Damage::Remove => return std::fs::remove_file(path).expect("removed"),
        Damage::Flip(place, bit) => bytes[place] ^= 1 << bit,
        Damage::Cut(length) => bytes.truncate(length),
        Damage::Zero(start, end) => bytes[start..end].fill(0),
    }
    std::fs::write(path, bytes).expect("written");
}

/// What each slot's content is, for a store that damage to its newest journal sets back.
fn hashes(log: &[Option<Vec<u8>>]) -> Vec<ContentHash> {
    let mut twin = Store::open(MemoryDisk::new().engine()).expect("opened");
    let mut hashes = vec![twin.content_hash().expect("hash").1];
    for (slot, command) in (1..).zip(log) {
        let effect = Effect::from(command.as_deref());
        twin.apply(&[Entry { slot, effect }]).expect("applied");
        hashes.push(twin.content_hash().expect("hash").1);
    }
    hashes
}

/// What came of all the damage to one folder.
struct Trials {
    folder: PathBuf,
    hashes: Vec<ContentHash>,
    /// The least slot at which the store may stand: only batches in the newest journal may be missing.
    slot_min: u64,
    count: u32,
    reported: u32,
    offences: Vec<String>,
}

impl Trials {
    fn judge(&mut self, what: &str) {
        self.count += 1;
        match catch_unwind(AssertUnwindSafe(|| content(&self.folder))) {
            Err(_) => self.offences.push(format!("{what}: panic")),
            Ok(Err(fatal)) => {
                self.reported += 1;
                println!("{what}: {fatal}");
            }
            Ok(Ok((slot, hash))) if hash != self.hashes[slot as usize] => {
                self.offences.push(format!("{what}: wrong content at slot {slot}"));
            }
            Ok(Ok((slot, _))) if slot < self.slot_min => {
                self.offences.push(format!("{what}: silently back at slot {slot}"));
            }
            Ok(Ok((slot, _))) => println!("{what}: slot {slot}"),
        }
    }

    fn run(&mut self) {
        let intact = files(&self.folder);
        let mut dice = Dice(1);
        for (path, bytes) in &intact {
            for injury in damages(bytes, &mut dice) {
                restore(&self.folder, &intact);
                damage(&self.folder.join(path), bytes, injury);
                self.judge(&format!("{} {injury:?}", path.display()));
            }
        }
        for inner in ["keyspaces", "keyspaces/0", "keyspaces/1", "keyspaces/1/tables"] {
            restore(&self.folder, &intact);
            std::fs::remove_dir_all(self.folder.join(inner)).expect("removed");
            self.judge(&format!("{inner} Remove"));
        }
        println!("{} trials on {} files, {} reported", self.count, intact.len(), self.reported);
        assert!(self.offences.is_empty(), "{}", self.offences.join("\n"));
        assert!(self.reported > self.count / 4, "{} of {}", self.reported, self.count);
    }
}

#[test]
fn damage_in_any_file_is_reported_or_harmless() {
    let log = workload(21, SLOTS);
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("store");
    let mut store = open(&folder).expect("opened");
    while (store.applied_slot() as usize) < SLOTS {
        apply_slots(&mut store, &log, 20);
    }
    drop(store);
    let slot_min = SLOTS as u64 / 2;
    let hashes = hashes(&log);
    Trials { folder, hashes, slot_min, count: 0, reported: 0, offences: Vec::new() }.run();
}

/// fjall keeps a checksum of its manifest beside it, but does not look at it.
#[test]
fn a_changed_manifest_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path()).expect("opened");
    apply_slots(&mut store, &workload(23, 200), 200);
    drop(store);
    let mut flips = 0;
    for keyspace in ["keyspaces/0", "keyspaces/1"].map(|inner| folder.path().join(inner)) {
        let current = std::fs::read(keyspace.join("current")).expect("read");
        let number = u64::from_le_bytes(*current.first_chunk().expect("a number"));
        for path in [keyspace.join("current"), keyspace.join(format!("v{number}"))] {
            let bytes = std::fs::read(&path).expect("read");
            for place in (0..bytes.len()).step_by(5) {
                damage(&path, &bytes, Damage::Flip(place, (place % 8) as u8));
                let opened = open(folder.path()).err();
                let is_damaged = matches!(opened, Some(Fatal::Engine(EngineError::Damaged(_))));
                assert!(is_damaged, "{} at {place}: {opened:?}", path.display());
                flips += 1;
            }
            std::fs::write(&path, &bytes).expect("restored");
        }
    }
    assert!(flips > 50, "{flips}");
    assert_eq!(content(folder.path()).expect("intact").0, 200);
}

/// On a file system of 96 MB that the test makes and removes, where it may.
#[test]
fn a_full_disk_is_told_from_damage() {
    let mount = tempfile::tempdir().expect("a folder");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"])
        .arg(mount.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: no file system may be mounted here");
        return;
    }
    let result = catch_unwind(|| fill_the_disk(&mount.path().join("store")));
    let unmounted = Command::new("umount").arg(mount.path()).status().expect("run");
    assert!(unmounted.success());
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

fn fill_the_disk(folder: &Path) {
    let mut store = open(folder).expect("opened");
    let fatal = (0..10_000).find_map(|number| {
        let request = write(&format!("key-{number}"), "x".repeat(20_000));
        let slot = store.applied_slot() + 1;
        let reference = Reference::new("c", slot);
        let command = store::Command { reference, acked: slot, time_ms: 0, request }.encode();
        store.apply(&[Entry { slot, effect: Effect::Command(&command) }]).err()
    });
    let fatal = fatal.expect("200 MB do not fit");
    assert!(fatal.is_no_space(), "{fatal}");
    assert_eq!(store.persist().expect_err("stopped"), Fatal::Stopped);
}

/// The same of a store that came as a snapshot, whose rows never were in a journal.
#[test]
fn damage_in_an_imported_store_is_reported_or_harmless() {
    let log = workload(22, SLOTS);
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("store");
    let mut store = Store::open(MemoryDisk::new().engine()).expect("opened");
    apply_slots(&mut store, &log, SLOTS - 100);
    let snapshot = store.reader().snapshot().expect("snapshot");
    let engine = FjallEngine::open(&folder, FjallOptions::default()).expect("opened");
    let mut copy = import_all(&snapshot, engine, 4000);
    apply_slots(&mut copy, &log, 100);
    drop(copy);
    let slot_min = SLOTS as u64 - 100;
    let hashes = hashes(&log);
    Trials { folder, hashes, slot_min, count: 0, reported: 0, offences: Vec::new() }.run();
}
