//! Damage: what is detected, how it is named, and what exactly is not.

mod support;

use support::{LOG_ID, Records, open, options, record};
use wal::memory::MemoryDisk;
use wal::{Error, LogId, Options};

const SEGMENT_HEADER_BYTES: u64 = 64;

/// Three segments of 4 KiB; each group is of two records.
fn filled_log() -> (MemoryDisk, Records) {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("new log");
    let mut records = Vec::new();
    for group in 0..15 {
        for number in [2 * group, 2 * group + 1] {
            let content = record(number, 250 + number as usize % 8);
            records.push((log.append(&content).expect("append"), content));
        }
        log.flush().expect("flush");
    }
    assert_eq!(log.end().segment, 3, "the log has three segments");
    (disk, records)
}

fn segment_name(sequence: u32) -> String {
    format!("segment-{sequence:010}.log")
}

fn corruption(disk: &MemoryDisk, options: Options) -> (u32, u64, String) {
    match open(disk, options) {
        Err(Error::Corrupt { segment, offset, reason }) => (segment, offset, reason),
        Err(error) => panic!("another error: {error}"),
        Ok((_, recovery, _)) => panic!("nothing was noticed: {recovery:?}"),
    }
}

/// Flips one bit in every byte of every segment: header and every group but the last are named; the last group becomes
/// a torn tail, with everything before it in place; what lies behind the end counts for nothing.
#[test]
fn a_flipped_bit_in_any_byte_is_named_unless_it_lies_in_the_last_group() {
    let (disk, records) = filled_log();
    let (log, _, _) = open(&disk.fork(), options(4096, None)).expect("whole");
    let end = log.end();
    let last_group = records[records.len() - 2].0;
    for sequence in 1..=end.segment {
        let in_segment = || records.iter().filter(|(at, _)| at.segment == sequence);
        for offset in 0..4096 {
            let damaged = disk.fork();
            damaged.flip_bit(&segment_name(sequence), offset, (offset % 8) as u8);
            let frame = in_segment().map(|(at, _)| *at).rfind(|at| u64::from(at.offset) <= offset);
            let records_end = match in_segment().next_back() {
                Some((at, content)) => {
                    u64::from(at.offset) + 16 + content.len().next_multiple_of(8) as u64
                }
                None => SEGMENT_HEADER_BYTES,
            };
            if offset < SEGMENT_HEADER_BYTES {
                let (segment, offset, _) = corruption(&damaged, options(4096, None));
                assert_eq!((segment, offset), (sequence, 0));
            } else if offset >= records_end {
                let (_, recovery, found) = open(&damaged, options(4096, None)).expect("whole");
                assert_eq!((found, recovery.torn_bytes), (records.clone(), 0));
            } else if frame.is_some_and(|at| at >= last_group) {
                let (_, recovery, found) = open(&damaged, options(4096, None)).expect("torn");
                assert!(found.len() >= records.len() - 2 && found.len() < records.len());
                assert_eq!(found[..], records[..found.len()]);
                // If the last frame's own header is hit, nothing tells it from bytes never written.
                let header_hit = frame.is_some_and(|at| offset < u64::from(at.offset) + 16);
                assert!(recovery.torn_bytes > 0 || header_hit);
            } else {
                let (segment, named, reason) = corruption(&damaged, options(4096, None));
                let frame = frame.expect("the byte lies in a frame");
                assert_eq!((segment, named), (frame.segment, u64::from(frame.offset)), "{reason}");
            }
        }
    }
}

/// With a mark behind it no byte of any record is left that can be damaged unnoticed.
#[test]
fn a_sealed_log_names_a_flipped_bit_in_any_byte_of_any_record() {
    let (disk, records) = filled_log();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("whole");
    log.seal().expect("seal");
    let syncs = disk.counts().syncs;
    log.seal().expect("seal again");
    assert_eq!(disk.counts().syncs, syncs, "a sealed log needs no second mark");
    for (at, content) in &records {
        let frame_bytes = 16 + content.len().next_multiple_of(8) as u64;
        for offset in u64::from(at.offset)..u64::from(at.offset) + frame_bytes {
            let damaged = disk.fork();
            damaged.flip_bit(&segment_name(at.segment), offset, 7 - (offset % 8) as u8);
            let (segment, named, _) = corruption(&damaged, options(4096, None));
            assert_eq!((segment, named), (at.segment, u64::from(at.offset)));
        }
    }
    let (_, recovery, found) = open(&disk, options(4096, None)).expect("whole");
    assert!(recovery.sealed);
    assert_eq!(found, records);
}

#[test]
fn reading_a_damaged_record_names_it_and_poisons_nothing() {
    let (disk, records) = filled_log();
    let (mut log, _, _) = open(&disk, options(4096, None)).expect("whole");
    let (at, content) = &records[3];
    for offset in 0..16 + content.len() as u64 {
        let name = segment_name(at.segment);
        disk.flip_bit(&name, u64::from(at.offset) + offset, 2);
        let error = log.read(*at).expect_err("damaged");
        assert!(
            matches!(error, Error::Corrupt { segment: 1, offset, .. } if offset == u64::from(at.offset))
        );
        disk.flip_bit(&name, u64::from(at.offset) + offset, 2);
    }
    assert_eq!(log.read(*at).expect("whole again"), &content[..]);
    log.append(b"more").expect("append");
    log.flush().expect("flush");
}

#[test]
fn a_missing_segment_in_the_middle_is_named() {
    let (disk, _) = filled_log();
    disk.take_away(&segment_name(2));
    let (segment, _, reason) = corruption(&disk, options(4096, None));
    assert_eq!(segment, 2);
    assert!(reason.contains("missing") && reason.contains("1 and 3"), "{reason}");
}

#[test]
fn swapped_segments_are_named() {
    let (disk, _) = filled_log();
    let (first, second) = (disk.contents(&segment_name(1)), disk.contents(&segment_name(2)));
    disk.put(&segment_name(1), &second);
    disk.put(&segment_name(2), &first);
    let (segment, offset, reason) = corruption(&disk, options(4096, None));
    assert_eq!((segment, offset), (1, 12));
    assert!(reason.contains("this is segment 2"), "{reason}");
}

#[test]
fn a_segment_of_another_log_is_named() {
    let (disk, _) = filled_log();
    let other = MemoryDisk::new();
    let other_options = || Options { log_id: Some(LogId([7; 16])), ..options(4096, None) };
    let (mut log, _, _) = open(&other, other_options()).expect("new log");
    for number in 0..30 {
        log.append(&record(number, 250)).expect("append");
    }
    log.flush().expect("flush");
    disk.put(&segment_name(2), &other.contents(&segment_name(2)));
    let (segment, offset, reason) = corruption(&disk, options(4096, None));
    assert_eq!((segment, offset), (2, 16));
    assert!(reason.contains("belongs to log 0707"), "{reason}");

    let error = open(&other, options(4096, None)).expect_err("another log");
    assert!(matches!(error, Error::WrongLog { expected: LOG_ID, .. }), "{error}");
}

#[test]
fn a_truncated_or_grown_segment_is_named() {
    for bytes in [0, 10, 64, 3000, 5000] {
        for sequence in 1..=3 {
            let (disk, _) = filled_log();
            let mut contents = disk.contents(&segment_name(sequence));
            contents.resize(bytes, 0);
            disk.put(&segment_name(sequence), &contents);
            let (segment, _, reason) = corruption(&disk, options(4096, None));
            assert_eq!(segment, sequence);
            assert!(reason.contains(&format!("{bytes} bytes")), "{reason}");
        }
    }
}

#[test]
fn a_newer_format_is_refused_in_clear_words() {
    let (disk, _) = filled_log();
    let mut contents = disk.contents(&segment_name(3));
    contents[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&contents[..60]);
    contents[60..64].copy_from_slice(&checksum.to_le_bytes());
    disk.put(&segment_name(3), &contents);
    let error = open(&disk, options(4096, None)).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "log: segment 3 has format version 2, this program knows only version 1; use the program that wrote it"
    );
}

#[test]
fn bytes_that_are_no_log_are_refused_without_a_panic() {
    let mut random = support::Random(5);
    for length in [0, 1, 63, 64, 100, 4096] {
        for _ in 0..50 {
            let disk = MemoryDisk::new();
            let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            disk.put(&segment_name(1), &bytes);
            corruption(&disk, options(4096, None));
        }
    }
}

/// Any bytes behind a good header: opened, cut or refused, never a panic, and never a record that was not written.
#[test]
fn random_damage_never_invents_a_record() {
    let (disk, records) = filled_log();
    let mut random = support::Random(11);
    for _ in 0..2_000 {
        let damaged = disk.fork();
        let sequence = 1 + random.below(3) as u32;
        let mut bytes = damaged.contents(&segment_name(sequence));
        let from = 64 + random.below(4032) as usize;
        let until = (from + random.below(600) as usize).min(4096);
        let source = random.below(4000) as usize;
        for index in from..until {
            bytes[index] = match random.below(3) {
                0 => 0,
                1 => random.next() as u8,
                _ => bytes[source.wrapping_add(index - from) % 4096],
            };
        }
        damaged.put(&segment_name(sequence), &bytes);
        if let Ok((_, _, found)) = open(&damaged, options(4096, None)) {
            assert_eq!(found[..], records[..found.len()]);
        }
    }
}
