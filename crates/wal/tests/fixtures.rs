//! Logs written by every released format version, kept in `tests/fixtures/v*/`: they must stay readable.
//!
//! `WAL_BLESS=1 cargo test -p wal --test fixtures` writes the fixtures of the present version anew; that is right only
//! together with a new format version, or before the first release.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Records, open, options, record};
use wal::memory::MemoryDisk;
use wal::{Disk, Error, FORMAT_VERSION};

fn folder(version: u32, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(format!("v{version}"))
        .join(name)
}

fn load(version: u32, name: &str) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let folder = folder(version, name);
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
        let entry = entry.expect("a folder entry");
        let name = entry.file_name().into_string().expect("a plain name");
        disk.put(&name, &fs::read(entry.path()).expect("readable"));
    }
    disk
}

/// What every fixture is made of: records of several lengths in groups of three, over two segments.
fn write() -> (MemoryDisk, Records) {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    let mut records = Vec::new();
    for number in 0..21 {
        let content = record(number, number as usize * 29);
        records.push((log.append(&content).expect("append"), content));
        if number % 3 == 2 {
            log.flush().expect("flush");
        }
    }
    assert_eq!(log.end().segment, 2);
    (disk, records)
}

/// A mark at the end.
fn intact() -> MemoryDisk {
    let (disk, _) = write();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("whole");
    log.seal().expect("seal");
    disk
}

/// One bit of record 10 is wrong.
fn corrupt() -> MemoryDisk {
    let (disk, records) = write();
    let at = records[10].0;
    disk.flip_bit("segment-0000000001.log", u64::from(at.offset) + 16 + 5, 4);
    disk
}

/// The second record of the last group is torn, the third whole; no mark.
fn torn() -> MemoryDisk {
    let (disk, records) = write();
    let at = records[19].0;
    disk.flip_bit("segment-0000000002.log", u64::from(at.offset) + 16 + 5, 4);
    disk
}

fn fixtures() -> [(&'static str, MemoryDisk); 3] {
    [("intact", intact()), ("corrupt", corrupt()), ("torn", torn())]
}

#[test]
fn the_present_version_is_written_as_its_fixtures_say() {
    let bless = std::env::var_os("WAL_BLESS").is_some();
    for (name, disk) in fixtures() {
        let folder = folder(FORMAT_VERSION, name);
        if bless {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).expect("make the folder");
        }
        for file in disk.list().expect("list") {
            let path = folder.join(&file);
            if bless {
                fs::write(&path, disk.contents(&file)).expect("write the fixture");
            }
            let fixture = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert!(fixture == disk.contents(&file), "{path:?} differs from what is written today");
        }
    }
}

#[test]
fn version_1_intact_is_read() {
    let (log, recovery, found) = open(&load(1, "intact"), options(4096, None)).expect("readable");
    assert_eq!((recovery.records, recovery.segments), (21, 2));
    assert_eq!((recovery.torn_bytes, recovery.sealed), (0, true));
    assert_eq!(found, write().1);
    for (position, content) in &found {
        assert_eq!(log.read(*position).expect("readable"), &content[..]);
    }
}

#[test]
fn version_1_corrupt_is_named() {
    let error = open(&load(1, "corrupt"), options(4096, None)).expect_err("corrupt");
    let wanted = write().1[10].0;
    let Error::Corrupt { segment, offset, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((segment, offset), (wanted.segment, u64::from(wanted.offset)));
}

#[test]
fn version_1_torn_is_cut_at_its_last_group() {
    let disk = load(1, "torn");
    let (_, recovery, found) = open(&disk, options(4096, None)).expect("readable");
    assert_eq!(found[..], write().1[..19]);
    assert!(recovery.torn_bytes > 0 && !recovery.sealed, "{recovery:?}");
    let (_, recovery, again) = open(&disk, options(4096, None)).expect("readable");
    assert_eq!((recovery.torn_bytes, again), (0, found));
}

/// A log can be looked at: what opening it would find is found, and nothing is changed.
#[test]
fn examining_finds_what_opening_finds_and_changes_nothing() {
    for (name, disk) in fixtures() {
        let before: Vec<_> = disk.list().expect("list").iter().map(|f| disk.contents(f)).collect();
        let mut seen = Vec::new();
        let examined = wal::examine(&disk, &options(4096, None), |position, bytes| {
            seen.push((position, bytes.to_vec()));
            Ok(())
        });
        let after: Vec<_> = disk.list().expect("list").iter().map(|f| disk.contents(f)).collect();
        assert!(before == after, "{name} was changed");
        match (examined, open(&disk, options(4096, None))) {
            (Ok(examined), Ok((_, recovery, records))) => {
                assert_eq!(examined, recovery, "{name}");
                assert!(seen == records, "{name}");
                assert_eq!(examined.torn_bytes > 0, name == "torn");
            }
            (Err(examined), Err(opened)) => {
                assert_eq!(examined.to_string(), opened.to_string());
                assert_eq!(name, "corrupt");
            }
            (examined, opened) => panic!("{name}: {examined:?}, opening it: {:?}", opened.err()),
        }
    }
    let missing = wal::examine(&MemoryDisk::new(), &options(4096, None), |_, _| Ok(()));
    assert!(matches!(missing, Err(Error::Missing)));
}
