//! The log on a real folder.

mod support;

use std::fs;

use support::{options, record};
use wal::{Disk, FolderDisk, Log, Position};

fn open(path: &std::path::Path) -> (Log<FolderDisk>, Vec<(Position, Vec<u8>)>) {
    let mut records = Vec::new();
    let disk = FolderDisk::open(path).expect("the folder");
    let (log, _) = Log::open(disk, options(8192, None), |position, content| {
        records.push((position, content.to_vec()));
        Ok(())
    })
    .expect("the log");
    (log, records)
}

#[test]
fn a_log_in_a_real_folder_keeps_its_records_over_rolls_cuts_and_reopenings() {
    let temporary = tempfile::tempdir().expect("a folder");
    let path = temporary.path().join("log");
    let (mut log, found) = open(&path);
    assert!(found.is_empty());
    let mut written = Vec::new();
    for number in 0..60 {
        let content = record(number, 900);
        written.push((log.append(&content).expect("append"), content));
        log.flush().expect("flush");
        if let Some(plan) = log.spare_wanted() {
            log.adopt_spare(plan.execute().expect("room")).expect("adopt");
        }
    }
    drop(log);
    let (mut log, found) = open(&path);
    assert_eq!(found, written);
    log.cut_before(written[40].0).expect("cut");
    let first = log.first();
    log.append(b"after the cut").expect("append");
    log.seal().expect("seal");
    drop(log);
    let (log, found) = open(&path);
    let kept: Vec<_> = written.iter().filter(|(at, _)| *at >= first).cloned().collect();
    assert_eq!(found[..kept.len()], kept[..]);
    assert_eq!(found.last().expect("there").1, b"after the cut");
    for entry in fs::read_dir(&path).expect("the folder") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("metadata").len(), 8192, "{entry:?}");
    }
    assert!(log.first() <= written[40].0);
}

/// A reader on another thread follows the writer, over recycled segments, and sees whole records or none.
#[test]
fn a_reader_on_another_thread_sees_whole_records_or_none() {
    let temporary = tempfile::tempdir().expect("a folder");
    let (mut log, _) = open(temporary.path());
    let reader = log.reader();
    let (send, receive) = std::sync::mpsc::channel::<(Position, u64)>();
    let follower = std::thread::spawn(move || {
        let (mut read, mut recent) = (0, Vec::new());
        for (position, number) in receive {
            recent.push((position, number));
            for &(position, number) in recent.iter().rev().take(30) {
                match reader.read(position) {
                    Ok(content) => assert_eq!(content, &record(number, 700)[..]),
                    Err(wal::Error::NoRecord { .. }) => continue,
                    Err(error) => panic!("{error}"),
                }
                read += 1;
            }
        }
        read
    });
    for number in 0..300 {
        let position = log.append(&record(number, 700)).expect("append");
        log.flush().expect("flush");
        send.send((position, number)).expect("the follower lives");
        log.cut_before(position).expect("cut");
    }
    drop(send);
    assert!(follower.join().expect("the follower is well") > 0);
}

#[test]
fn a_folder_disk_does_what_the_trait_says() {
    let temporary = tempfile::tempdir().expect("a folder");
    let path = temporary.path().join("new");
    let disk = FolderDisk::open(&path).expect("made");
    FolderDisk::open(&path).expect("there already");
    assert_eq!(disk.path(), path);
    fs::write(temporary.path().join("file"), b"").expect("write");
    FolderDisk::open(temporary.path().join("file")).expect_err("a file is no folder");
    FolderDisk::open(temporary.path().join("a/b")).expect_err("its parent is not there");
    disk.create("b").expect("made");
    disk.create("b").expect_err("taken");
    disk.open("c").expect_err("not there");
    disk.rename("b", "a").expect("renamed");
    disk.create("c").expect("made");
    assert_eq!(disk.list().expect("list"), ["a", "c"]);
    disk.remove("c").expect("removed");
    disk.remove("c").expect_err("gone");
    disk.sync_folder().expect("synced");
    assert_eq!(disk.list().expect("list"), ["a"]);
}
