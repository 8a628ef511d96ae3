//! What the fuzz targets share.
//!
//! Each target takes bytes as they could come from a client, another node or a disk. None may panic, whatever
//! the bytes; and what is understood must survive being written and read again. Targets are in `fuzz/targets/`,
//! what they begin with in `fuzz/seeds/`, how to run them in `docs/design/fuzzing.md`.

use api::{Document, Value};
use wal::memory::MemoryDisk;
use wal::{Error, Log, LogId, Options, Position, Recovery};

/// The identity of every log here.
pub const LOG_ID: LogId = LogId(*b"a log for fuzzes");

/// How logs are opened here: small segments, so that few bytes make several.
pub fn log_options() -> Options {
    Options {
        segment_bytes: 4096,
        record_bytes_max: 1 << 16,
        log_id: Some(LOG_ID),
        ..Options::default()
    }
}

/// Records of a log and where they are.
pub type Records = Vec<(Position, Vec<u8>)>;

/// Opens the log on `disk` and gathers its records.
///
/// # Errors
/// As [`Log::open`].
pub fn open_log(disk: &MemoryDisk) -> Result<(Log<MemoryDisk>, Recovery, Records), Error> {
    let mut records = Vec::new();
    let (log, recovery) = Log::open(disk.clone(), log_options(), |position, record| {
        records.push((position, record.to_vec()));
        Ok(())
    })?;
    assert_eq!(recovery.records, records.len() as u64, "every record is shown and counted");
    Ok((log, recovery, records))
}

/// A log of two segments, with groups of three records of several lengths, some empty.
pub fn filled_log() -> (MemoryDisk, Records) {
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open_log(&disk).expect("a new log");
    let mut records = Records::new();
    for number in 0..21_u8 {
        let content = vec![number; usize::from(number) * 29];
        records.push((log.append(&content).expect("it fits"), content));
        if number % 3 == 2 {
            log.flush().expect("memory does not fail");
        }
    }
    (disk, records)
}

/// The numbers and bytes in an input, taken from its front; zeros once it is used up.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below 65536.
    pub fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The documents in an input: one or more, of JSON if it begins so, else of BSON one after the other. Most that are taken
/// is 16.
pub fn documents(data: &[u8]) -> Vec<Document> {
    if let Some((b'[', _)) = data.split_first() {
        let Ok(Value::Array(values)) = api::json::parse_value(data) else { return Vec::new() };
        let documents = values.into_iter().filter_map(|value| match value {
            Value::Document(document) => Some(document),
            _ => None,
        });
        return documents.take(16).collect();
    }
    let mut rest = data;
    let mut documents = Vec::new();
    while documents.len() < 16
        && let Some(length) = rest.first_chunk::<4>()
    {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((bytes, after)) = rest.split_at_checked(length) else { break };
        let Ok(document) = Document::from_reader(bytes) else { break };
        documents.push(document);
        rest = after;
    }
    documents
}
