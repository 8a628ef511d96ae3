//! Killed at any moment while it applies, the store on disk reopens at one applied slot, with the
//! content that a replay to that slot has. `MONDONGO_KILLS` sets the number of kills.

mod common;

use common::{Dice, apply_slots, workload};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use store::{FjallEngine, FjallOptions, MemoryDisk, Store};

const FOLDER: &str = "MONDONGO_KILL_FOLDER";
const SEED: u64 = 77;
const LOG_LENGTH: usize = 60_000;
const KILLS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// Small tables and journals, so that flushes and compactions are under way at many kills.
fn open(folder: &Path) -> Store<FjallEngine> {
    let options = FjallOptions { memtable_bytes: 64 << 10, ..FjallOptions::default() };
    Store::open(FjallEngine::open(folder, options).expect("engine opens")).expect("store opens")
}

/// The child: applies the log from where the folder stands, until it is killed.
fn apply_until_killed(folder: &Path) {
    let log = workload(SEED, LOG_LENGTH);
    let mut store = open(folder);
    let mut dice = Dice(store.applied_slot());
    while (store.applied_slot() as usize) < log.len() {
        apply_slots(&mut store, &log, 1 + dice.below(20) as usize);
        if dice.one_in(50) {
            store.persist().expect("persisted");
        }
        std::fs::write(folder.with_extension("slot"), store.applied_slot().to_string())
            .expect("progress written");
    }
}

fn progress(folder: &Path) -> u64 {
    let text = std::fs::read_to_string(folder.with_extension("slot")).unwrap_or_default();
    text.parse().unwrap_or(0)
}

/// Waits until the child has applied something, then a little more.
fn kill_at_random(child: &mut Child, folder: &Path, dice: &mut Dice) {
    let (start, begun) = (progress(folder), Instant::now());
    let further = 1 + dice.below(400);
    while progress(folder) < start + further && child.try_wait().expect("waited").is_none() {
        assert!(begun.elapsed() < DEADLINE, "the child makes no progress");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("waited");
}

#[test]
fn killed_while_applying_it_reopens_at_one_slot() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return apply_until_killed(Path::new(&folder));
    }
    let kills = std::env::var("MONDONGO_KILLS").ok().and_then(|text| text.parse().ok());
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("store");
    let log = workload(SEED, LOG_LENGTH);
    let mut twin = Store::open(MemoryDisk::new().engine()).expect("opened");
    let mut dice = Dice(SEED);
    let mut middle = 0;
    for kill in 0..kills.unwrap_or(KILLS) {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "killed_while_applying_it_reopens_at_one_slot"])
            .env(FOLDER, &folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("spawned");
        kill_at_random(&mut child, &folder, &mut dice);
        let acknowledged = progress(&folder);
        let store = open(&folder);
        let slot = store.applied_slot();
        assert!(slot >= acknowledged, "kill {kill}: slot {slot}, but {acknowledged} was applied");
        let behind = slot - twin.applied_slot();
        apply_slots(&mut twin, &log, behind as usize);
        assert_eq!(twin.content_hash().unwrap(), store.content_hash().unwrap(), "kill {kill}");
        store.verify().expect("sound");
        middle += usize::from((slot as usize) < log.len());
    }
    println!("{middle} kills while applying, last slot {}", twin.applied_slot());
    assert!(middle > 0, "every kill came after the end of the log");
}
