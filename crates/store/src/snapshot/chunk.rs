//! The bytes of a chunk and of a cursor (byte tables in `docs/design/snapshot-format.md`).

use super::ImportError;
use crate::codec::{Reader, Writer};
use crate::command::DecodeError;
use xxhash_rust::xxh3::Xxh3;

/// Format of the chunks; raised when it changes.
pub const SNAPSHOT_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"mdb-snp\n";
const FLAG_LAST: u8 = 1;
/// Where the chain stands: it covers everything else.
const CHAIN_START: usize = 56;
const HEADER_BYTES: usize = 72;

/// Longest key of a row: what the engine on disk can hold.
pub(super) const ROW_KEY_BYTES_MAX: usize = u16::MAX as usize;

/// The hash of a chunk and, through it, of all chunks before it.
pub(super) type Chain = [u8; 16];

/// A place in a snapshot: between two chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The number of the next chunk.
    pub(super) number: u64,
    /// The chain of the chunk before; zeros before the first.
    pub(super) chain: Chain,
    /// The last key of the chunks before; empty before the first.
    pub(super) key: Vec<u8>,
}

impl Cursor {
    /// Before the first chunk.
    pub fn start() -> Cursor {
        Cursor::default()
    }

    /// The number of the chunk that comes next, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The cursor behind the chunk that follows this one: its bytes, and its last key.
    pub(super) fn next(&self, chunk: &[u8], last_key: &[u8]) -> Cursor {
        let mut chain = Chain::default();
        chain.copy_from_slice(&chunk[CHAIN_START..HEADER_BYTES]);
        Cursor { number: self.number + 1, chain, key: last_key.to_vec() }
    }

    /// The cursor as bytes, at most some 64 KiB, usually less than a hundred.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.number);
        writer.0.extend_from_slice(&self.chain);
        writer.0.extend_from_slice(&self.key);
        writer.0
    }

    /// Reads a cursor; it may come from anybody.
    ///
    /// # Errors
    /// If the bytes are no cursor.
    pub fn decode(bytes: &[u8]) -> Result<Cursor, DecodeError> {
        let mut reader = Reader::new(bytes);
        let number = reader.number("the number of a chunk")?;
        let chain = reader.array("a chain of 16 bytes")?;
        let key = reader.rest();
        if key.len() > ROW_KEY_BYTES_MAX {
            return Err(reader.error("a key of at most 65535 bytes"));
        }
        Ok(Cursor { number, chain, key: key.to_vec() })
    }
}

/// A chunk that is whole, well formed and of this version. Whether it is the next one of an import is
/// for [`super::Import`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The slot at which the rows stood.
    pub slot: u64,
    /// Its number, from 0.
    pub number: u64,
    /// Whether no chunk follows.
    pub is_last: bool,
    /// How many rows it holds.
    pub rows: u32,
    pub(super) chain_before: Chain,
    pub(super) chain: Chain,
    pub(super) body: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Reads a chunk. The bytes may come from anybody.
    ///
    /// # Errors
    /// [`ImportError::Damaged`] if the bytes are not as they were made, [`ImportError::Version`] if a
    /// newer version made them, [`ImportError::Malformed`] if they were never a chunk of this version.
    pub fn decode(bytes: &'a [u8]) -> Result<Chunk<'a>, ImportError> {
        let damaged = |reason| ImportError::Damaged { bytes: bytes.len(), reason };
        if !bytes.starts_with(&MAGIC) {
            return Err(damaged("it does not begin as a chunk does"));
        }
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(damaged("it is shorter than the header"));
        };
        let (covered, chain) = header.split_at(CHAIN_START);
        if chain != chain_of(covered, body) {
            return Err(damaged("its checksum does not match"));
        }
        let version = u16::from_be_bytes([header[8], header[9]]);
        if version != SNAPSHOT_VERSION {
            return Err(ImportError::Version { found: version, known: SNAPSHOT_VERSION });
        }
        Chunk::read(header, body)
            .map_err(|error| ImportError::Malformed { reason: error.to_string() })
    }

    /// The rows in order: key and value. [`Chunk::decode`] has seen that they can be read.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.body);
        std::iter::from_fn(move || read_row(&mut reader).ok())
    }

    /// Whether the rows' keys rise, and none is empty or too long.
    fn read(header: &[u8; HEADER_BYTES], body: &'a [u8]) -> Result<Chunk<'a>, DecodeError> {
        let mut reader = Reader::new(&header[10..]);
        let flags = reader.byte("flags")?;
        if flags & !FLAG_LAST != 0 || reader.byte("a zero")? != 0 {
            return Err(reader.error("only known flags"));
        }
        let rows = u32::from_be_bytes(reader.array("a number of rows")?);
        let slot = u64::from_be_bytes(reader.array("a slot")?);
        let number = u64::from_be_bytes(reader.array("a number")?);
        let length = u64::from_be_bytes(reader.array("a length of the body")?);
        if length != body.len() as u64 {
            return Err(reader.error("the length of the body"));
        }
        let chain_before = reader.array("the chain before")?;
        let chain = reader.array("a chain")?;
        check_rows(body, rows)?;
        let is_last = flags & FLAG_LAST != 0;
        Ok(Chunk { slot, number, is_last, rows, chain_before, chain, body })
    }
}

fn check_rows(body: &[u8], rows: u32) -> Result<(), DecodeError> {
    let mut reader = Reader::new(body);
    let mut last: &[u8] = &[];
    for _ in 0..rows {
        let (key, _) = read_row(&mut reader)?;
        // An empty key is not greater than the empty beginning.
        if key <= last || key.len() > ROW_KEY_BYTES_MAX {
            return Err(reader.error("keys that rise, of at most 65535 bytes"));
        }
        last = key;
    }
    reader.end()
}

fn read_row<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let length = reader.count("the length of a key")?;
    let key = reader.take(length, "a key")?;
    let length = reader.count("the length of a value")?;
    Ok((key, reader.take(length, "a value")?))
}

fn chain_of(header: &[u8], body: &[u8]) -> Chain {
    let mut hasher = Xxh3::new();
    hasher.update(header);
    hasher.update(body);
    hasher.digest128().to_be_bytes()
}

/// A chunk under construction.
pub(super) struct ChunkWriter {
    writer: Writer,
    rows: u32,
}

impl ChunkWriter {
    pub(super) fn new(bytes: usize) -> ChunkWriter {
        let mut buffer = Vec::with_capacity(HEADER_BYTES + bytes);
        buffer.resize(HEADER_BYTES, 0);
        ChunkWriter { writer: Writer(buffer), rows: 0 }
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// The length of the chunk if this row is added.
    pub(super) fn length_with(&self, key: &[u8], value: &[u8]) -> usize {
        let lengths = number_bytes(key.len()) + number_bytes(value.len());
        self.writer.0.len() + lengths + key.len() + value.len()
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        for bytes in [key, value] {
            self.writer.number(bytes.len() as u64);
            self.writer.0.extend_from_slice(bytes);
        }
        self.rows += 1;
    }

    pub(super) fn finish(self, slot: u64, after: &Cursor, is_last: bool) -> Vec<u8> {
        let mut bytes = self.writer.0;
        let (header, body) = bytes.split_at_mut(HEADER_BYTES);
        header[..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        header[10] = if is_last { FLAG_LAST } else { 0 };
        header[12..16].copy_from_slice(&self.rows.to_be_bytes());
        header[16..24].copy_from_slice(&slot.to_be_bytes());
        header[24..32].copy_from_slice(&after.number.to_be_bytes());
        header[32..40].copy_from_slice(&(body.len() as u64).to_be_bytes());
        header[40..CHAIN_START].copy_from_slice(&after.chain);
        let chain = chain_of(&header[..CHAIN_START], body);
        header[CHAIN_START..].copy_from_slice(&chain);
        bytes
    }
}

/// Bytes that a length takes, seven bits each.
fn number_bytes(number: usize) -> usize {
    let bits = usize::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}
