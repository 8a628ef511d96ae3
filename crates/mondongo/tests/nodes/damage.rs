//! Damaged data: found, never served or voted with, and made good from the others; told where nobody else has
//! it; and clocks that jump (spec 6).

use crate::faults::{finish, progress};
use crate::group::{Connection, Group, refused, wait_for};
use crate::harness::same::same_content;
use crate::harness::workload::Settings;
use crate::snapshots::{LONG_MIB, write_bulk};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The segments of a node's log, oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder.join("log")).expect("a log");
    let mut all: Vec<PathBuf> = names.map(|entry| entry.expect("a name").path()).collect();
    all.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-"))
    });
    all.sort();
    all
}

/// Where the records of a segment lie (`docs/design/wal-format.md`): the offset of each payload.
fn payloads(bytes: &[u8]) -> Vec<usize> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let (mut offset, mut found) = (64, Vec::new());
    while offset + 16 <= bytes.len() {
        let (length, group) = (word(offset), word(offset + 4));
        if group < 64 {
            break;
        }
        let is_mark = length >> 31 == 1;
        let length = (length & 0x7fff_ffff) as usize;
        if !is_mark {
            found.push(offset + 16);
        }
        offset += 16 + length.next_multiple_of(8);
    }
    found
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    how(&mut bytes);
    fs::write(path, bytes).expect("it is written");
}

/// Flips a bit of a record in the middle of the log.
fn flip_in_log(folder: &Path) {
    let first = &segments(folder)[0];
    change(first, |bytes| {
        let payloads = payloads(bytes);
        assert!(payloads.len() > 20, "enough records: {}", payloads.len());
        bytes[payloads[payloads.len() / 2]] ^= 0x10;
    });
}

/// Flips a bit in the middle of every larger file of the store.
fn flip_in_store(folder: &Path) {
    let stores = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a name").path());
    let mut left: Vec<PathBuf> = stores
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("store")))
        .filter(|path| path.is_dir())
        .collect();
    let mut flipped = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).expect("a folder").map(|e| e.expect("a name").path()));
            continue;
        }
        let bytes = fs::read(&path).expect("a file");
        // What is there of it; some are made longer than what they hold.
        let held = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if held > 4_096 {
            change(&path, |bytes| bytes[held / 2] ^= 0x04);
            flipped += 1;
        }
    }
    assert!(flipped > 0, "there is something to damage");
}

/// The folders with what a node had before it started over.
fn kept_aside(folder: &Path) -> usize {
    let names = fs::read_dir(folder).expect("a folder");
    let is_aside = |name: String| name.starts_with("damaged-");
    names.flatten().filter(|e| is_aside(e.file_name().to_string_lossy().into_owned())).count()
}

/// Fills the log with many small groups, and the store with rows.
fn fill(group: &Group, count: usize) {
    for number in 0..count {
        let value = format!("{number}-{}", "v".repeat(500));
        assert_eq!(group.ask(number % 3, &json!(["write", format!("k{number}"), value]))[0], "ok");
    }
}

/// Waits until the node is one of three voters again, and all hold the same.
fn wait_until_whole(group: &Group) {
    group.wait_for_voters(3);
    same_content(&group.addresses()).unwrap_or_else(|error| panic!("{error:#}"));
}

/// Spec 6: each kind of damage to a node that is down. It comes back right: as it was where nothing was lost,
/// as somebody else where promises may be.
#[test]
fn damaged_logs_and_stores_are_made_good_from_the_others() {
    let mut group = Group::start(3);
    let load = group.load(Settings { clients: 2, ..Settings::default() });
    fill(&group, 100);
    type Damage = fn(&Path, &Path);
    let must_start_over: [(&str, Damage); 6] = [
        ("a bit of a record", |folder, _| flip_in_log(folder)),
        ("a log cut short", |folder, _| {
            let first = &segments(folder)[0];
            change(first, |bytes| bytes.truncate(payloads(bytes)[10]));
        }),
        ("no segments", |folder, _| {
            segments(folder).iter().for_each(|path| fs::remove_file(path).expect("removed"));
        }),
        ("no log", |folder, _| fs::remove_dir_all(folder.join("log")).expect("removed")),
        ("a segment of another node", |folder, other| {
            fs::copy(&segments(other)[0], &segments(folder)[0]).expect("copied");
        }),
        ("a bit of a segment's header", |folder, _| {
            change(&segments(folder)[0], |bytes| bytes[20] ^= 1);
        }),
    ];
    let leader = group.leader();
    let victim = (leader + 1) % 3;
    let (folder, other) = (group.nodes[victim].folder.clone(), group.nodes[leader].folder.clone());
    for (times, (what, damage)) in must_start_over.iter().enumerate() {
        let old = group.id(victim);
        assert!(group.stop(victim).success());
        damage(&folder, &other);
        group.start_node(victim, None);
        wait_for(&format!("a new member after {what}"), || {
            let status = group.status(victim)?;
            (status["node"] != json!(old) && status["role"] == "follower").then_some(())
        });
        assert_eq!(kept_aside(&folder), times + 1, "what was there is kept: {what}");
        group.wait_for_voters(3);
        let listed = group.member("list", leader, &[]).expect("a list");
        assert!(!listed.contains(&old), "its old self is gone after {what}: {listed}");
        // For the next damage.
        fill(&group, 25);
    }
    // The store alone: the log has everything.
    let old = group.id(victim);
    assert!(group.stop(victim).success());
    flip_in_store(&folder);
    group.start_node(victim, None);
    group.wait_for_voters(3);
    finish(load);
    wait_until_whole(&group);
    assert_eq!(group.id(victim), old, "nothing was promised that is lost: {}", group.log(victim));
}

/// Spec 6: with a log that was cut, a damaged store is had from the others; so is one that is not named.
#[test]
fn a_damaged_store_behind_a_cut_log_is_made_good_from_the_others() {
    let mut group = Group::with_arguments(3, &["--log-retain-mib", "1"]);
    fill(&group, 20);
    let victim = (group.leader() + 1) % 3;
    let folder = group.nodes[victim].folder.clone();
    // Behind for so long that a snapshot makes its store, which `stores.json` names.
    group.kill(victim);
    write_bulk(&group, LONG_MIB);
    group.start_node(victim, None);
    group.wait_for_log(victim, "a snapshot has taken the place of the store");
    wait_until_whole(&group);
    let names = folder.join("stores.json");
    let damages: [&dyn Fn(); 2] = [&|| flip_in_store(&folder), &|| {
        change(&names, |bytes| {
            let text = String::from_utf8_lossy(bytes).replace("store-1", "store-3");
            *bytes = text.into_bytes();
        });
    }];
    for (times, damage) in damages.iter().enumerate() {
        let old = group.id(victim);
        assert!(group.stop(victim).success());
        damage();
        group.start_node(victim, None);
        wait_for("a new member", || {
            // What is damaged may show only when it is read: here all of it is.
            let mut connection = Connection::open(&group.nodes[victim].address).ok()?;
            let status = connection.ask(&json!(["status", {"hash": true}])).ok()?;
            (status[0] == "ok" && status[1]["node"] != json!(old)).then_some(())
        });
        wait_until_whole(&group);
        assert_eq!(kept_aside(&folder), times + 1);
        // Until its store comes from a snapshot again, which a name is changed of next.
        wait_for("its store to be named", || {
            fs::read_to_string(&names).is_ok_and(|text| text.contains("store-1")).then_some(())
        });
    }
}

/// Spec 6: where nobody else has the data the node does not start, says what is wrong, and leaves all as it is.
#[test]
fn a_node_alone_with_damage_names_it_and_touches_nothing() {
    let mut group = Group::start(1);
    for number in 0..60 {
        assert_eq!(group.ask(0, &json!(["write", format!("k{number}"), number]))[0], "ok");
    }
    assert!(group.stop(0).success());
    let (folder, address) = (group.nodes[0].folder.clone(), group.nodes[0].address.clone());
    let segment = segments(&folder)[0].clone();
    let kept = fs::read(&segment).expect("a segment");
    flip_in_log(&folder);
    let damaged = fs::read(&segment).expect("a segment");
    let said = refused(&folder, &[&address]);
    assert!(said.contains("cannot start from") && said.contains("segment 1"), "{said}");
    assert!(fs::read(&segment).expect("a segment") == damaged, "it is left as it was found");
    assert_eq!(kept_aside(&folder), 0);
    fs::write(&segment, &kept).expect("written");

    let identity = folder.join("identity.json");
    let text = fs::read(&identity).expect("an identity");
    let at = String::from_utf8_lossy(&text).find("\"node\": \"").expect("a node") + 9;
    change(&identity, |bytes| bytes[at] = if bytes[at] == b'1' { b'3' } else { b'1' });
    let said = refused(&folder, &[&address]);
    assert!(said.contains("identity.json is damaged") && said.contains("checksum"), "{said}");
    fs::write(&identity, text).expect("written");

    // The store is made of the log.
    fs::remove_dir_all(folder.join("store")).expect("removed");
    group.start_node(0, None);
    for number in [0, 30, 59] {
        assert_eq!(group.ask(0, &json!(["read", format!("k{number}")])), json!(["ok", number]));
    }
}

/// What is put before the C library's clock: adds the seconds that a file holds to the wall clock.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, now);
    const char *path = getenv("CLOCK_OFFSET_FILE");
    if (done == 0 && id == CLOCK_REALTIME && path) {
        FILE *file = fopen(path, "r");
        long offset = 0;
        if (file) {
            if (fscanf(file, "%ld", &offset) == 1) now->tv_sec += offset;
            fclose(file);
        }
    }
    return done;
}
"#;

/// Compiles the shim; none, with the reason printed: there is no compiler.
fn make_shim(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SHIM).expect("written");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output();
    match made {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            eprintln!("skipped: the clock cannot be changed, cc fails: {said}");
            None
        }
        Err(error) => {
            eprintln!("skipped: the clock cannot be changed without cc: {error}");
            None
        }
    }
}

/// Spec 6: wall clocks that jump by years and back, at the leader too, harm nothing and depose nobody.
#[test]
fn wall_clocks_that_jump_harm_nothing() {
    let mut group = Group::empty();
    let Some(library) = make_shim(group.folder.path()) else { return };
    let offsets: Vec<PathBuf> =
        (0..3).map(|number| group.folder.path().join(format!("offset{number}"))).collect();
    group.reserve(3);
    for (number, offset) in offsets.iter().enumerate() {
        group.nodes[number].environment = vec![
            ("LD_PRELOAD".into(), library.clone().into()),
            ("CLOCK_OFFSET_FILE".into(), offset.clone().into()),
        ];
        let seed = (number > 0).then(|| group.nodes[0].address.clone());
        group.start_node(number, seed.as_deref());
    }
    group.wait_for_voters(3);
    let load = group.load(Settings { clients: 4, ..Settings::default() });
    progress(&load, 50);
    let ballot = group.status(0).expect("an answer")["ballot"].clone();
    for (number, offset) in [(0, 100_000_000), (1, -100_000_000), (2, 3_600), (0, -86_400), (1, 0)]
    {
        fs::write(&offsets[number], offset.to_string()).expect("written");
        progress(&load, 50);
    }
    assert_eq!(group.status(0).expect("an answer")["ballot"], ballot, "no election");
    // Restarts in the past and in the future.
    for number in [0, 1] {
        group.kill(number);
        fs::write(&offsets[number], "-50000000").expect("written");
        group.start_node(number, None);
        group.wait_for_voters(3);
        progress(&load, 30);
        let log = group.log(number);
        let times = |line: &&str| line.get(..4).is_some_and(|year| year.parse::<u32>().is_ok());
        let mut years: Vec<&str> = log.lines().filter(times).filter_map(|l| l.get(..4)).collect();
        years.dedup();
        assert!(years.len() > 1, "its clock did jump: {log}");
    }
    finish(load);
}
