//! Opening a log whose files were damaged: either the damage is named, or a log is there that can be used. A log
//! with a few flipped bits never shows a record that was not written.
#![no_main]

use fuzz::{Input, Records, filled_log, open_log};
use libfuzzer_sys::fuzz_target;
use wal::Disk as _;
use wal::memory::MemoryDisk;

/// Checksums notice any three flipped bits of a record of this length.
const FLIPS_MAX: usize = 3;

thread_local! {
    static FILLED: (MemoryDisk, Records) = filled_log();
}

/// Damages `disk` as the input says, and tells whether only a few bits were flipped.
fn damage(disk: &MemoryDisk, input: &mut Input<'_>) -> bool {
    let mut flips = 0;
    let mut others = 0;
    while !input.is_empty() && flips + others < 32 {
        let names = disk.list().expect("memory does not fail");
        let (kind, which) = (input.byte(), usize::from(input.byte()));
        let Some(name) = names.get(which % names.len().max(1)) else { return false };
        let mut bytes = disk.contents(name);
        let offset = input.number() % bytes.len().max(1);
        others += 1;
        match kind % 8 {
            0 if !bytes.is_empty() => {
                disk.flip_bit(name, offset as u64, input.byte() % 8);
                (flips, others) = (flips + 1, others - 1);
            }
            1 => {
                bytes.truncate(offset);
                disk.put(name, &bytes);
            }
            2 => {
                let end = (offset + input.number()).min(bytes.len());
                bytes[offset..end].fill(0);
                disk.put(name, &bytes);
            }
            3 => disk.take_away(name),
            4 => {
                let other = &names[usize::from(input.byte()) % names.len()];
                let swapped = disk.contents(other);
                disk.put(other, &bytes);
                disk.put(name, &swapped);
            }
            5 => {
                let from = input.number() % bytes.len().max(1);
                let count = input.number().min(bytes.len() - offset.max(from));
                bytes.copy_within(from..from + count, offset);
                disk.put(name, &bytes);
            }
            6 => {
                let count = usize::from(input.byte()).min(input.0.len());
                let (written, rest) = input.0.split_at(count);
                bytes.splice(offset..(offset + count).min(bytes.len()), written.iter().copied());
                input.0 = rest;
                disk.put(name, &bytes);
            }
            _ => {
                let copy = format!("segment-{:010}.log", input.byte());
                disk.put(&copy, &bytes);
            }
        }
    }
    others == 0 && flips <= FLIPS_MAX
}

fuzz_target!(|data: &[u8]| {
    let (disk, written) = FILLED.with(|(disk, records)| (disk.fork(), records.clone()));
    let is_flipped_only = damage(&disk, &mut Input(data));
    let Ok((mut log, _, records)) = open_log(&disk) else { return };
    if is_flipped_only {
        assert!(written.starts_with(&records), "a record is there that was not written");
    }
    for (position, record) in &records {
        let read = log.read(*position).expect("what was shown can be read");
        assert_eq!(&read[..], &record[..]);
    }
    // It can be used: what is appended is there after it was opened again.
    let position = log.append(b"one more").expect("it takes records");
    log.flush().expect("memory does not fail");
    drop(log);
    let (_, recovery, after) = open_log(&disk).expect("it opens again");
    assert_eq!(recovery.torn_bytes, 0, "what was torn was cut");
    let mut expected = records;
    expected.push((position, b"one more".to_vec()));
    assert_eq!(after, expected);
});
