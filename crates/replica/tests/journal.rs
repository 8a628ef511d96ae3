//! The journal: cutting, what a cut leaves behind, and crashes between the steps of a cut.

use bytes::Bytes;
use paxos::{
    Ballot, Base, Entry, Member, Membership, NodeId, Payload, Policy, Record, Slot, Standing,
};
use replica::{Journal, JournalError, PlantedBug, Recovered};
use wal::memory::MemoryDisk;

const BALLOT: Ballot = Ballot { round: 1, node: NodeId(1) };
const PROMISED: Ballot = Ballot { round: 9, node: NodeId(2) };

fn options() -> wal::Options {
    wal::Options {
        segment_bytes: 8_192,
        record_bytes_max: 1 << 16,
        log_id: Some(wal::LogId([7; 16])),
        ..wal::Options::default()
    }
}

fn open(disk: &MemoryDisk) -> Result<(Journal<MemoryDisk>, Recovered), JournalError> {
    Journal::open(disk.clone(), options()).map(|(journal, recovered, _)| (journal, recovered))
}

fn membership(nodes: u64) -> Membership {
    let member = |id| (NodeId(id), Member::new(format!("node{id}:1"), Standing::Voter));
    Membership::of(Policy::Paxos, (1..=nodes).map(member))
}

fn entry(slot: u64) -> Entry {
    let command = Bytes::from(vec![u8::try_from(slot % 251).unwrap_or(0); 300]);
    Entry { ballot: BALLOT, payload: Payload::Command(command) }
}

/// A journal with a group in slot 1 and commands up to `last`, all decided; `PROMISED` was promised first of all.
fn filled(disk: &MemoryDisk, last: u64) -> Journal<MemoryDisk> {
    let (mut journal, _) = open(disk).expect("an empty folder becomes a log");
    journal.found(BALLOT, membership(1)).expect("room");
    journal.append(&[Record::Promise(PROMISED)]).expect("room");
    for slot in 2..=last {
        journal.append(&[Record::Accept(Slot(slot), entry(slot))]).expect("room");
    }
    journal.append(&[Record::Decided(Slot(last))]).expect("room");
    journal.flush().expect("a healthy disk");
    journal
}

fn check_entries(journal: &Journal<MemoryDisk>, first: u64, last: u64) {
    let entries = journal.entries(Slot(first), Slot(last), usize::MAX).expect("they are there");
    let expected: Vec<Entry> = (first..=last).map(entry).collect();
    assert_eq!(entries, expected);
}

#[test]
fn a_cut_journal_has_what_is_behind_the_cut_and_says_so() {
    let disk = MemoryDisk::new();
    let mut journal = filled(&disk, 20);
    journal.cut(Slot(12)).expect("a healthy disk");
    assert_eq!((journal.floor(), journal.last()), (Slot(12), Slot(20)));
    let cut = journal.entries(Slot(12), Slot(20), usize::MAX);
    assert!(matches!(cut, Err(JournalError::NoEntry { slot: Slot(12) })), "{cut:?}");
    drop(journal);

    let (journal, recovered) = open(&disk).expect("it opens");
    let expected =
        Recovered { promised: PROMISED, decided: Slot(20), last: Slot(20), floor: Slot(12) };
    assert_eq!(recovered, expected);
    check_entries(&journal, 13, 20);
    let durable = journal.durable(PROMISED, Slot(15)).expect("entries after the floor");
    assert_eq!(durable.membership, (Slot(1), membership(1)), "the base tells who takes part");
    assert_eq!(durable.entries, (16..=20).map(entry).collect::<Vec<_>>());
}

/// Reading the log of a node that is down tells what a start would find, shows every record, and leaves the log as it is.
#[test]
fn examining_finds_what_a_start_finds() {
    let disk = MemoryDisk::new();
    let mut journal = filled(&disk, 20);
    let next = Membership { base: Slot(1), ..membership(2) };
    let payload = Payload::Membership(next.clone());
    let undecided = Entry { ballot: BALLOT, payload };
    journal.append(&[Record::Accept(Slot(21), undecided)]).expect("room");
    journal.flush().expect("a healthy disk");
    drop(journal);
    let mut slots = Vec::new();
    let each = |_, record| {
        if let Record::Accept(slot, _) = record {
            slots.push(slot.0);
        }
        Ok(())
    };
    let examined = replica::examine(&disk, &options(), each).expect("it can be read");
    assert_eq!(slots, (1..=21).collect::<Vec<_>>());
    assert_eq!(examined.membership, (Slot(1), membership(1)));
    assert_eq!(examined.last_membership, (Slot(21), next));
    let (_, recovered) = open(&disk).expect("it opens");
    assert_eq!(examined.recovered, recovered);
    let refused = replica::examine(&disk, &options(), |_, _| Err("enough".into()));
    assert!(refused.is_err(), "whoever reads may refuse a record");
}

/// Segments are freed only as a whole, so the log then begins with records of slots that were cut.
#[test]
fn the_headless_remains_of_a_log_are_read_to_the_base_behind_them() {
    let disk = MemoryDisk::new();
    let mut journal = filled(&disk, 300);
    let full = journal.log().bytes_on_disk();
    for upto in [40, 41, 90, 170, 171, 250] {
        journal.cut(Slot(upto)).expect("a healthy disk");
    }
    assert!(journal.log().first().segment > 1, "segments are freed");
    assert!(journal.log().bytes_on_disk() < full / 2);
    drop(journal);

    let (mut journal, recovered) = open(&disk).expect("it opens");
    assert_eq!((recovered.floor, recovered.last), (Slot(250), Slot(300)));
    check_entries(&journal, 251, 300);
    // And it goes on from there.
    journal.append(&[Record::Accept(Slot(301), entry(301))]).expect("room");
    journal.cut(Slot(300)).expect("a healthy disk");
    drop(journal);
    let (journal, recovered) = open(&disk).expect("it opens");
    assert_eq!((recovered.floor, recovered.last), (Slot(300), Slot(301)));
    check_entries(&journal, 301, 301);
}

/// Without its base nothing tells what the remains of a log begin after.
#[test]
fn remains_without_their_base_are_damage() {
    let disk = MemoryDisk::new();
    let mut journal = filled(&disk, 300);
    journal.cut(Slot(100)).expect("a healthy disk");
    let first = journal.log().first().segment;
    assert!(first > 1);
    drop(journal);
    for segment in [first, first + 1] {
        let disk = disk.fork();
        let name = wal_name(segment);
        disk.take_away(&name);
        let opened = open(&disk);
        assert!(opened.as_ref().is_err_and(JournalError::is_damage), "without {name}");
    }
}

fn wal_name(segment: u32) -> String {
    format!("segment-{segment:010}.log")
}

#[test]
fn a_cut_says_again_what_was_promised() {
    assert_eq!(promised_after_cuts(None), PROMISED);
}

/// The promise's own record goes with the segment it is in.
#[test]
fn a_base_without_the_promise_is_caught() {
    assert!(promised_after_cuts(Some(PlantedBug::BaseWithoutPromise)) < PROMISED);
}

fn promised_after_cuts(planted: Option<PlantedBug>) -> Ballot {
    let disk = MemoryDisk::new();
    let mut journal = filled(&disk, 300);
    if let Some(bug) = planted {
        journal.plant(bug);
    }
    journal.cut(Slot(150)).expect("a healthy disk");
    journal.cut(Slot(290)).expect("a healthy disk");
    drop(journal);
    let (_, recovered) = open(&disk).expect("it opens");
    recovered.promised
}

/// A base speaks of what is decided; a membership that is only accepted stays an entry like any other.
#[test]
fn a_base_carries_a_decided_membership_only() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk).expect("an empty folder becomes a log");
    journal.found(BALLOT, membership(1)).expect("room");
    for slot in 2..=20 {
        let payload = match slot {
            5 => Payload::Membership(membership(2)),
            15 => Payload::Membership(membership(3)),
            _ => entry(slot).payload,
        };
        let record = Record::Accept(Slot(slot), Entry { ballot: BALLOT, payload });
        journal.append(&[record]).expect("room");
    }
    journal.append(&[Record::Decided(Slot(12))]).expect("room");
    journal.cut(Slot(10)).expect("a healthy disk");
    drop(journal);

    let (journal, recovered) = open(&disk).expect("it opens");
    assert_eq!((recovered.decided, recovered.last), (Slot(12), Slot(20)));
    let durable = journal.durable(BALLOT, Slot(12)).expect("entries after the floor");
    assert_eq!(durable.membership, (Slot(5), membership(2)));
    assert_eq!(durable.entries.len(), 8);
    let later = journal.durable(BALLOT, Slot(16)).expect("entries after the floor");
    assert_eq!(later.membership, (Slot(15), membership(3)), "once it is decided");
}

/// A snapshot stands for slots that this log never had; what was accepted beyond it stays.
#[test]
fn a_snapshots_base_takes_the_place_of_what_is_before_it() {
    let disk = MemoryDisk::new();
    let mut journal = filled(&disk, 20);
    let base = |slot| {
        let membership = (Slot(8), membership(3));
        Record::Base(Base { slot: Slot(slot), promised: PROMISED, membership })
    };
    journal.append(&[base(14)]).expect("room");
    assert_eq!((journal.floor(), journal.last()), (Slot(14), Slot(20)));
    check_entries(&journal, 15, 20);
    journal.append(&[base(400), Record::Accept(Slot(401), entry(401))]).expect("room");
    journal.flush().expect("a healthy disk");
    drop(journal);

    let (journal, recovered) = open(&disk).expect("it opens");
    assert_eq!(
        (recovered.floor, recovered.last, recovered.decided),
        (Slot(400), Slot(401), Slot(400))
    );
    let durable = journal.durable(PROMISED, Slot(400)).expect("entries after the floor");
    assert_eq!(durable.membership, (Slot(8), membership(3)));
    assert_eq!(durable.entries, vec![entry(401)]);
}

/// Whatever step of a cut is the last one before the power fails: all that was durable is there, cut or not.
#[test]
fn a_crash_between_the_steps_of_a_cut_loses_nothing() {
    let disk = MemoryDisk::new();
    let mut journal = filled(&disk, 200);
    journal.cut(Slot(60)).expect("a healthy disk");
    drop(journal);
    let mut crashes = 0;
    for step in 0.. {
        let mut is_through = false;
        for seed in 0..8 {
            let mut disk = disk.fork();
            let (mut journal, _) = open(&disk).expect("it opens");
            disk.halt_at(disk.counts().operations + step);
            is_through = journal.cut(Slot(180)).is_ok();
            drop(journal);
            disk.crash(seed);
            let (journal, recovered) =
                open(&disk).unwrap_or_else(|e| panic!("step {step}, seed {seed}: {e}"));
            assert!([Slot(60), Slot(180)].contains(&recovered.floor), "{recovered:?}");
            assert_eq!((recovered.promised, recovered.last), (PROMISED, Slot(200)));
            assert_eq!(recovered.decided, Slot(200));
            check_entries(&journal, recovered.floor.0 + 1, 200);
            crashes += u32::from(!is_through);
        }
        if is_through {
            break;
        }
    }
    assert!(crashes >= 16, "a cut has several steps; {crashes} crashes");
}

/// The log may know entries to be decided that this version must not apply: they are not replayed at a start.
#[test]
fn nothing_behind_an_unknown_feature_level_is_replayed() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk).expect("an empty folder becomes a log");
    journal.found(BALLOT, membership(1)).expect("room");
    let blank = || Entry { ballot: BALLOT, payload: Payload::Blank };
    let level = paxos::LEVEL_MAX + 1;
    let raised = Membership { base: Slot(1), level, ..membership(1) };
    let raised = Entry { ballot: BALLOT, payload: Payload::Membership(raised) };
    let records = [
        Record::Accept(Slot(2), blank()),
        Record::Accept(Slot(3), blank()),
        Record::Accept(Slot(4), raised),
        Record::Accept(Slot(5), blank()),
        Record::Accept(Slot(6), blank()),
        Record::Decided(Slot(6)),
    ];
    journal.append(&records).expect("room");
    journal.flush().expect("a healthy disk");
    drop(journal);
    let (journal, recovered) = open(&disk).expect("a whole log");
    assert_eq!(recovered.decided, Slot(6));
    let engine = store::MemoryDisk::new().engine();
    let mut store = store::Store::open(engine).expect("an empty store");
    for _ in 0..2 {
        let error = replica::start(&journal, &recovered, &mut store).expect_err("of a later level");
        let text = error.to_string();
        assert!(text.contains(&format!("feature level {level}")), "{text}");
        assert!(text.contains("start a newer version") && !error.is_damage(), "{text}");
        assert_eq!(store.applied_slot(), 4, "up to the membership, and no further");
    }
}
