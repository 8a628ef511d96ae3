//! Segments: rolling, spares, cuts, large records, full disks, options; and the poison after a failure.

mod support;

use std::io::ErrorKind;

use support::{open, options, record};
use wal::memory::MemoryDisk;
use wal::{Disk, Error, Log, Options, Position};

fn fill(log: &mut Log<MemoryDisk>, count: u64, bytes: usize) -> Vec<Position> {
    let append = |number| {
        let position = log.append(&record(number, bytes)).expect("append");
        log.flush().expect("flush");
        position
    };
    (0..count).map(append).collect()
}

#[test]
fn a_flush_is_one_write_and_one_sync() {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(64 << 10, None)).expect("new log");
    let before = disk.counts();
    for number in 0..100 {
        log.append(&record(number, 300)).expect("append");
    }
    assert_eq!(disk.counts(), before, "nothing reaches the disk before the flush");
    log.flush().expect("flush");
    log.flush().expect("nothing left to do");
    let after = disk.counts();
    assert_eq!(after.writes - before.writes, 1);
    assert_eq!(after.syncs - before.syncs, 1);
    assert_eq!(after.folder_syncs, before.folder_syncs);
}

#[test]
fn a_spare_made_ahead_keeps_zeroing_out_of_the_flush() {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(64 << 10, None)).expect("new log");
    let plan = log.spare_wanted().expect("a new log has no spare");
    let spare = std::thread::spawn(move || plan.execute())
        .join()
        .expect("the thread ends")
        .expect("there is room");
    log.adopt_spare(spare).expect("wanted");
    assert!(log.spare_wanted().is_none());
    let before = disk.counts();
    let positions = fill(&mut log, 70, 1000);
    assert_eq!(positions[69].segment, 2);
    let written = disk.counts().bytes_written - before.bytes_written;
    // Whole pages, of which neighbours share one, and no 64 KiB of zeros.
    assert!(written < 70 * 2 * 4096, "{written}");
    assert!(log.spare_wanted().is_some(), "the spare is used up");
}

#[test]
fn a_spare_too_many_is_removed() {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    for expected in [2 * 4096, 3 * 4096, 3 * 4096] {
        if let Some(plan) = log.spare_wanted() {
            log.adopt_spare(plan.execute().expect("room")).expect("adopt");
        } else {
            fill(&mut log, 4, 3000);
            log.cut_before(log.end()).expect("cut");
        }
        assert!(log.bytes_on_disk() <= expected, "{}", log.bytes_on_disk());
    }
    let names = disk.list().expect("list");
    assert!(names.iter().filter(|name| name.starts_with("spare")).count() <= 2, "{names:?}");
}

#[test]
fn cutting_reuses_files_and_keeps_the_folder_small() {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    let mut largest = 0;
    for round in 0..50 {
        let positions = fill(&mut log, 6, 1000);
        log.cut_before(positions[0]).expect("cut");
        assert!(log.first().segment <= positions[0].segment);
        assert_eq!(log.first().segment, positions[0].segment);
        let error = log.read(Position { segment: log.first().segment - 1, offset: 64 });
        if round > 0 {
            assert!(matches!(error, Err(Error::NoRecord { .. })), "{error:?}");
        }
        largest = largest.max(log.bytes_on_disk());
    }
    assert!(largest <= 6 * 4096, "{largest}");
    assert!(log.end().segment > 90, "many lives in few files");
    let error = log.cut_before(Position { segment: u32::MAX, offset: 64 });
    assert!(matches!(error, Err(Error::NoRecord { .. })), "{error:?}");
}

#[test]
fn a_reader_of_a_cut_segment_gets_no_record_not_corruption() {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    let reader = log.reader();
    let positions = fill(&mut log, 3, 1000);
    assert_eq!(reader.read(positions[1]).expect("there"), &record(1, 1000)[..]);
    let end = fill(&mut log, 12, 1000)[11];
    log.cut_before(end).expect("cut");
    let error = reader.clone().read(positions[1]).expect_err("cut");
    assert!(error.to_string().contains("its segment was cut"), "{error}");
    let unflushed = log.append(b"buffered").expect("append");
    assert!(matches!(reader.read(unflushed), Err(Error::NoRecord { .. })));
    assert_eq!(log.read(unflushed).expect("buffered"), &b"buffered"[..]);
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own_size() {
    let mut disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    let large = record(1, 100_000);
    let small = record(2, 10);
    let first = log.append(&large).expect("append");
    let second = log.append(&small).expect("append");
    assert_eq!((first.segment, second.segment), (2, 2), "the rest of its last page is used");
    let third = log.append(&large).expect("append");
    log.flush().expect("flush");
    disk.crash(3);
    let (log, _, found) = open(&disk, options(4096, None)).expect("open");
    assert_eq!(found, [(first, large.clone()), (second, small), (third, large.clone())]);
    assert_eq!(log.read(third).expect("read"), &large[..]);
}

#[test]
fn too_large_a_record_is_refused_and_the_log_goes_on() {
    let disk = MemoryDisk::new();
    let small = Options { record_bytes_max: 1000, ..options(4096, None) };
    let (mut log, _, _) = open(&disk, small.clone()).expect("new log");
    let error = log.append(&[0; 1001]).expect_err("too large");
    assert!(matches!(error, Error::TooLarge { bytes: 1001, bytes_max: 1000 }), "{error}");
    log.append(&[1; 1000]).expect("allowed");
    log.append(&[]).expect("an empty record is one");
    log.flush().expect("flush");
    let (_, _, found) = open(&disk, small).expect("open");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let mut disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    disk.set_capacity(Some(2 * 4096 + 100));
    let mut appended = 0;
    let error = loop {
        log.append(&record(appended, 900)).expect("append");
        appended += 1;
        if let Err(error) = log.flush() {
            break error;
        }
        assert!(appended < 100, "two segments do not hold so many");
    };
    assert!(error.is_no_space() && error.to_string().contains("4096 bytes"), "{error}");
    assert_eq!(log.poisoned_by(), None);
    assert!(log.flush().expect_err("still full").is_no_space());
    assert!(log.prepare_next().expect_err("still full").is_no_space());
    assert_eq!(disk.list().expect("list").len(), 2, "nothing half made is left");
    // Cutting makes room, and the buffered record goes out.
    let second = Position { segment: 2, offset: 64 };
    log.cut_before(second).expect("cut");
    log.flush().expect("the cut segment is used again");
    disk.crash(9);
    let (_, _, found) = open(&disk, options(4096, None)).expect("open");
    assert_eq!(found.last().map(|(_, content)| content.clone()), Some(record(appended - 1, 900)));
    assert_eq!(found.len() as u64, appended - 4, "a segment holds four");
}

#[test]
fn a_disk_too_small_for_one_segment_is_told() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(1000));
    let error = open(&disk, options(4096, None)).expect_err("no room");
    assert!(error.is_no_space(), "{error}");
    disk.set_capacity(None);
    open(&disk, options(4096, None)).expect("now there is room");
}

/// Appends, flushes and cuts over several segments until something fails; answers the failure and the log.
fn short_life(disk: &MemoryDisk, acknowledged: &mut u64) -> Option<(Error, Log<MemoryDisk>)> {
    // If opening fails there is no log to be poisoned.
    let (mut log, _, _) = open(disk, options(4096, None)).ok()?;
    for number in 0..12 {
        log.append(&record(number, 700)).expect("not poisoned yet");
        if let Err(error) = log.flush() {
            return Some((error, log));
        }
        *acknowledged = number + 1;
        let first = log.first();
        if number == 6
            && let Err(error) = log.cut_before(first)
        {
            return Some((error, log));
        }
    }
    None
}

/// Every single operation of a short life fails once with EIO: the log says so, does nothing more, names the first cause,
/// and after reopening everything acknowledged is there.
#[test]
fn after_one_failure_the_log_is_poisoned() {
    let whole = MemoryDisk::new();
    assert!(short_life(&whole, &mut 0).is_none());
    let mut poisoned = 0;
    for operation in 0..whole.counts().operations {
        let mut disk = MemoryDisk::new();
        disk.fail_at(operation, ErrorKind::Other);
        let mut acknowledged = 0;
        if let Some((error, mut log)) = short_life(&disk, &mut acknowledged) {
            poisoned += 1;
            let cause = error.to_string();
            assert!(cause.contains("injected fault"), "{cause}");
            let before = disk.counts();
            let answers = [
                log.flush().err(),
                log.append(b"x").err(),
                log.seal().err(),
                log.prepare_next().err(),
                log.cut_before(log.first()).err(),
                log.read(log.first()).err(),
            ];
            for answer in answers {
                let Some(Error::Poisoned { cause: told }) = answer else {
                    panic!("not poisoned: {answer:?}");
                };
                assert_eq!(told, cause);
            }
            assert!(log.spare_wanted().is_none());
            assert_eq!(disk.counts(), before, "a poisoned log leaves the disk alone");
        }
        for seed in 0..4 {
            let mut after = disk.fork();
            if seed == 0 {
                after.restart();
            } else {
                after.crash(seed);
            }
            let (_, _, found) = open(&after, options(4096, None)).expect("open again");
            assert!(found.len() as u64 >= acknowledged, "operation {operation}");
            for (number, (_, content)) in found.iter().enumerate() {
                assert_eq!(content, &record(number as u64, 700));
            }
        }
        disk.restart();
    }
    assert!(poisoned > 20, "{poisoned}");
}

#[test]
fn options_without_sense_are_refused_by_name() {
    let refused = |change: fn(&mut Options)| {
        let mut bad = options(4096, None);
        change(&mut bad);
        open(&MemoryDisk::new(), bad).expect_err("refused").to_string()
    };
    assert!(refused(|bad| bad.segment_bytes = 0).contains("segment_bytes is 0"));
    assert!(refused(|bad| bad.segment_bytes = 5000).contains("segment_bytes is 5000"));
    assert!(refused(|bad| bad.segment_bytes = 2 << 30).contains("segment_bytes is"));
    assert!(refused(|bad| bad.record_bytes_max = 1 << 30).contains("record_bytes_max"));
    assert!(refused(|bad| bad.create = false).contains("no log"));
}

#[test]
fn a_record_refused_by_the_caller_is_named() {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    let positions = fill(&mut log, 3, 10);
    let error = Log::open(disk, options(4096, None), |position, _| {
        (position != positions[1]).then_some(()).ok_or("not mine".into())
    })
    .expect_err("refused");
    assert_eq!(
        error.to_string(),
        format!("log: the record at {} was refused: not mine", positions[1])
    );
}

#[test]
fn files_of_others_are_left_alone() {
    let disk = MemoryDisk::new();
    for name in ["lock", "segment-1.log", "notes.txt", "spare-x.log", "segment-99999999999.log"] {
        disk.put(name, b"mine");
    }
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    fill(&mut log, 12, 1000);
    log.cut_before(log.end()).expect("cut");
    for name in ["lock", "segment-1.log", "notes.txt", "spare-x.log", "segment-99999999999.log"] {
        assert_eq!(disk.contents(name), b"mine");
    }
}

#[test]
fn another_segment_length_may_be_chosen_at_the_next_opening() {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    fill(&mut log, 5, 1000);
    log.prepare_next().expect("room");
    let (mut log, recovery, _) = open(&disk, options(16 << 10, None)).expect("open");
    assert_eq!((recovery.records, recovery.segments), (5, 2));
    fill(&mut log, 20, 1000);
    let (_, recovery, found) = open(&disk, options(8192, None)).expect("open");
    assert_eq!((recovery.records, found.len()), (25, 25));
    assert_eq!(
        disk.list().expect("list").iter().filter(|name| name.starts_with("spare")).count(),
        0
    );
}

#[test]
fn positions_pack_into_a_number_of_the_same_order() {
    let positions = [(1, 64), (1, 4096), (2, 0), (u32::MAX, u32::MAX)]
        .map(|(segment, offset)| Position { segment, offset });
    let packed = positions.map(Position::to_u64);
    assert!(packed.is_sorted());
    assert_eq!(packed.map(Position::from_u64), positions);
}

#[test]
fn log_and_reader_can_go_to_other_threads() {
    fn check<T: Send>() {}
    check::<Log<MemoryDisk>>();
    check::<Log<wal::FolderDisk>>();
    check::<wal::LogReader<wal::FolderDisk>>();
    check::<wal::SparePlan<wal::FolderDisk>>();
}
