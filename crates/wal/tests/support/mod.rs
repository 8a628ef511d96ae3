//! A model of what the log promises, and random lives of a log over a crashing disk that are checked against it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this module")]

use wal::memory::MemoryDisk;
use wal::{Error, Log, LogId, Options, PlantedBug, Position, Recovery};

/// SplitMix64, so that a seed is a run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub const LOG_ID: LogId = LogId(*b"a log for tests.");

pub fn options(segment_bytes: u64, planted: Option<PlantedBug>) -> Options {
    Options {
        segment_bytes,
        record_bytes_max: 1 << 20,
        log_id: Some(LOG_ID),
        planted,
        ..Options::default()
    }
}

pub type Records = Vec<(Position, Vec<u8>)>;

pub fn open(
    disk: &MemoryDisk,
    options: Options,
) -> Result<(Log<MemoryDisk>, Recovery, Records), Error> {
    let mut records = Vec::new();
    let (log, recovery) = Log::open(disk.clone(), options, |position, record| {
        records.push((position, record.to_vec()));
        Ok(())
    })?;
    assert_eq!(recovery.records, records.len() as u64);
    Ok((log, recovery, records))
}

/// A record of this length whose content tells its number, also in every later 8 bytes.
pub fn record(number: u64, bytes: usize) -> Vec<u8> {
    let pattern = number.to_le_bytes();
    (0..bytes).map(|index| pattern[index % 8]).collect()
}

/// What was done to a log, and so what it owes.
#[derive(Default)]
pub struct Model {
    /// Every record appended that may still be in the log, in order.
    pub appended: Records,
    /// So many of `appended` were acknowledged by a flush.
    pub acknowledged: usize,
    /// No record before this position needs to be there.
    pub cut_before: Option<Position>,
    /// Number of the next record.
    pub next: u64,
}

impl Model {
    /// Checks what a recovery showed, and forgets what it did not.
    pub fn check(&mut self, found: &Records) -> Result<(), String> {
        let first_owed = self
            .appended
            .iter()
            .take(self.acknowledged)
            .position(|(position, _)| self.cut_before.is_none_or(|cut| *position >= cut))
            .unwrap_or(self.acknowledged);
        let Some(first) = found.first() else {
            if first_owed < self.acknowledged {
                let owed = self.acknowledged - first_owed;
                return Err(format!("{owed} acknowledged records are gone"));
            }
            self.appended.clear();
            self.acknowledged = 0;
            return Ok(());
        };
        let Some(begin) = self.appended.iter().position(|known| known == first) else {
            return Err(format!("the record at {} was never appended", first.0));
        };
        if begin > first_owed && first_owed < self.acknowledged {
            return Err(format!("owed from {first_owed} on, found from {begin} on"));
        }
        let end = begin + found.len();
        if end < self.acknowledged {
            return Err(format!("acknowledged {}, found {end}", self.acknowledged));
        }
        if self.appended.get(begin..end) != Some(&found[..]) {
            return Err("records were invented, moved or left out".into());
        }
        self.appended = found.clone();
        self.acknowledged = found.len();
        Ok(())
    }
}

/// What a log's life did, to show that the tests reach what they are for.
#[derive(Default, Debug)]
pub struct Seen {
    pub crashes: u64,
    pub torn: u64,
    pub recycled: u64,
    pub operations: u64,
}

/// Lets a log live until the disk halts or the life is over; what it did goes to the model.
pub fn live(
    disk: &MemoryDisk,
    options: &Options,
    model: &mut Model,
    random: &mut Random,
    steps: u64,
) -> Result<(), String> {
    let mut log = match open(disk, options.clone()) {
        Ok((log, _, found)) => {
            model.check(&found)?;
            log
        }
        Err(_) if disk.is_halted() => return Ok(()),
        Err(error) => return Err(format!("cannot open: {error}")),
    };
    for _ in 0..steps {
        if let Err(error) = step(&mut log, options, model, random) {
            if disk.is_halted() {
                return Ok(());
            }
            return Err(format!("a step failed: {error}"));
        }
    }
    Ok(())
}

fn step(
    log: &mut Log<MemoryDisk>,
    options: &Options,
    model: &mut Model,
    random: &mut Random,
) -> Result<(), Error> {
    match random.below(12) {
        0 if !model.appended.is_empty() => {
            let index = random.below(model.acknowledged.max(1) as u64) as usize;
            let position = model.appended[index].0;
            // From the attempt on the records may be gone.
            model.cut_before = model.cut_before.max(Some(position));
            log.cut_before(position)?;
        }
        1 => log.prepare_next()?,
        2 => {
            log.seal()?;
            model.acknowledged = model.appended.len();
        }
        3 => {
            if let Some(plan) = log.spare_wanted() {
                log.adopt_spare(plan.execute()?)?;
            }
        }
        _ => {
            for _ in 0..=random.below(5) {
                let bytes = record_bytes(options, random);
                let content = record(model.next, bytes);
                model.next += 1;
                let position = log.append(&content)?;
                assert_eq!(log.read(position)?, &content[..], "a buffered record reads back");
                model.appended.push((position, content));
            }
            log.flush()?;
            model.acknowledged = model.appended.len();
            let (position, content) = &model.appended[model.appended.len() - 1];
            assert_eq!(log.reader().read(*position)?, &content[..], "a flushed record reads back");
        }
    }
    Ok(())
}

/// Mostly small; some that fill pages exactly, so that frames of different lives lie at the same offsets;
/// rarely one that needs a segment of its own.
fn record_bytes(options: &Options, random: &mut Random) -> usize {
    match random.below(40) {
        0 => 0,
        1 => options.segment_bytes as usize + random.below(3000) as usize,
        2..=9 => 4096 - 16,
        10..=13 => 4096 - 64 - 16,
        14..=19 => 512 - 16,
        _ => 8 + random.below(300) as usize,
    }
}

/// One run: lives of a log, each ended by a crash at a random operation, or by a kill, then the next; checked at each opening.
/// `first_halt` fixes where the first life ends.
pub fn run(
    seed: u64,
    planted: Option<PlantedBug>,
    first_halt: Option<u64>,
) -> Result<Seen, String> {
    let mut random = Random(seed);
    let segment_bytes = [4096, 8192, 16384, 65536][random.below(4) as usize];
    let options = options(segment_bytes, planted);
    let mut disk = MemoryDisk::new();
    let mut model = Model::default();
    let mut seen = Seen::default();
    for life in 0..4 {
        if life == 0 {
            if let Some(operation) = first_halt {
                disk.halt_at(operation);
            }
        } else if random.below(4) > 0 {
            disk.halt_at(disk.counts().operations + random.below(60));
        }
        live(&disk, &options, &mut model, &mut random, 14)
            .map_err(|reason| format!("seed {seed}, life {life}: {reason}"))?;
        if life == 0 && first_halt.is_none() {
            seen.operations = disk.counts().operations;
        }
        if random.below(8) == 0 && !disk.is_halted() {
            disk.restart();
        } else {
            disk.crash(random.next());
            seen.crashes += 1;
        }
        let (log, recovery, found) = open(&disk, options.clone())
            .map_err(|error| format!("seed {seed}, after life {life}: cannot open: {error}"))?;
        model
            .check(&found)
            .map_err(|reason| format!("seed {seed}, after life {life}: {reason}"))?;
        seen.torn += u64::from(recovery.torn_bytes > 0);
        seen.recycled += u64::from(log.first().segment > 1);
        for (position, content) in &found {
            assert_eq!(log.read(*position).expect("just shown"), &content[..]);
        }
    }
    Ok(seen)
}
