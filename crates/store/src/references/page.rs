//! The rows of kept answers: one *page* for every [`PAGE_SLOTS`] slots, and one more row for each long answer.
//!
//! One row for each answer would cost every write a row put and, as its client goes on, a row deleted; a page
//! costs that once for all its slots.

use super::Answer;
use crate::codec::{Reader, Writer};
use crate::command::DecodeError;
use api::{Reference, Request, Value};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Slots whose answers stand in one page. A power of two, so that a slot tells its page.
pub(super) const PAGE_SLOTS: u64 = 16;
/// Bytes of an answer beyond which it has a row of its own, so that a page that grows is not written with it again.
const INLINE_BYTES_MAX: usize = 128;
/// Bytes of written text beyond which its answer is kept as what tells it again from the retry: its hash.
const ECHO_BYTES_MIN: usize = 64;
/// Seeds of hashes, by which text is not binary. Those of binary are its subtypes, one byte.
const TEXT_SEED: u64 = 0x100;
const VALUE_SEED: u64 = 0x101;
/// What an answer counts beside its client's name and its bytes.
const ENTRY_BYTES: u64 = 32;

/// Set in an entry's kind if its client is that of the entry before.
const SAME_CLIENT: u8 = 0x80;
const DROPPED: u8 = 0;
const INLINE: u8 = 1;
const ECHO: u8 = 2;
const APART: u8 = 3;

/// The page of a slot: the first slot in it.
pub(super) fn page_of(slot: u64) -> u64 {
    slot & !(PAGE_SLOTS - 1)
}

/// One reference in a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) slot: u64,
    pub(super) client: Arc<str>,
    pub(super) sequence: u64,
    pub(super) mark: u64,
    pub(super) body: Body<'a>,
}

/// How a page keeps an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// Not at all: it was dropped on demand.
    Dropped,
    /// Encoded.
    Inline(&'a [u8]),
    /// It is the value that the write itself brings; the hash of that value.
    Echo([u8; 16]),
    /// In a row of its own, of so many bytes.
    Apart(u64),
}

impl Entry<'_> {
    /// What it counts against the bound of the table.
    pub(super) fn cost_bytes(&self) -> u64 {
        let body = match self.body {
            Body::Dropped => 0,
            Body::Inline(bytes) => bytes.len() as u64,
            Body::Echo(hash) => hash.len() as u64,
            Body::Apart(bytes) => bytes,
        };
        ENTRY_BYTES + self.client.len() as u64 + body
    }

    pub(super) fn reference(&self) -> Reference {
        Reference::new(&*self.client, self.sequence)
    }
}

/// How an answer is kept: encoded, or as an echo of its request.
pub(super) enum Kept {
    Inline(Vec<u8>),
    Echo([u8; 16]),
    Apart(Vec<u8>),
}

impl Kept {
    pub(super) fn of(request: &Request, answer: &Answer) -> Kept {
        if let Some(hash) = echo_of(request, answer) {
            return Kept::Echo(hash);
        }
        let mut writer = Writer::default();
        writer.answer(answer);
        match writer.0.len() {
            0..=INLINE_BYTES_MAX => Kept::Inline(writer.0),
            _ => Kept::Apart(writer.0),
        }
    }

    pub(super) fn body(&self) -> Body<'_> {
        match self {
            Kept::Inline(bytes) => Body::Inline(bytes),
            Kept::Echo(hash) => Body::Echo(*hash),
            Kept::Apart(bytes) => Body::Apart(bytes.len() as u64),
        }
    }
}

/// The hash of the value that a write answers because it wrote it, if that is long.
fn echo_of(request: &Request, answer: &Answer) -> Option<[u8; 16]> {
    let (Request::Write { value, .. }, Ok(answer)) = (request, answer) else { return None };
    // A write answers its value and nothing else: it need not be compared.
    debug_assert!(same(value, answer), "a write answers what it wrote");
    let is_long = match value {
        Value::String(text) => text.len() > ECHO_BYTES_MIN,
        Value::Binary(binary) => binary.bytes.len() > ECHO_BYTES_MIN,
        // Of documents and lists a retry may order the fields otherwise.
        _ => false,
    };
    is_long.then(|| hash_of(value))
}

/// The hash of text or of binary, which no other value is; of others that of their encoding.
fn hash_of(value: &Value) -> [u8; 16] {
    let hash = match value {
        Value::String(text) => xxh3_128_with_seed(text.as_bytes(), TEXT_SEED),
        Value::Binary(binary) => xxh3_128_with_seed(&binary.bytes, u8::from(binary.subtype).into()),
        _ => {
            let mut writer = Writer::default();
            writer.value(value);
            xxh3_128_with_seed(&writer.0, VALUE_SEED)
        }
    };
    hash.to_be_bytes()
}

/// By bytes: a NaN is itself.
fn same(a: &Value, b: &Value) -> bool {
    hash_of(a) == hash_of(b)
}

/// The value of a write that is repeated, if it is the one that was hashed.
pub(super) fn echoed(request: &Request, hash: [u8; 16]) -> Option<Value> {
    match request {
        Request::Write { value, .. } if hash_of(value) == hash => Some(value.clone()),
        _ => None,
    }
}

/// The page that grows: that of the newest slot with a reference.
#[derive(Debug)]
pub(super) struct Page {
    /// Its first slot; `u64::MAX` is that of none.
    pub(super) first: u64,
    bytes: Vec<u8>,
    /// The client of the last entry.
    client: Option<Arc<str>>,
    /// It has entries that its row does not have.
    pub(super) is_dirty: bool,
    /// There is a row of it, in the engine or in the overlay.
    pub(super) is_stored: bool,
}

/// No page yet: the first reference looks for its page in the rows.
impl Default for Page {
    fn default() -> Page {
        Page::empty(u64::MAX)
    }
}

impl Page {
    /// The page of `first`, without entries.
    pub(super) fn empty(first: u64) -> Page {
        Page { first, bytes: Vec::new(), client: None, is_dirty: false, is_stored: false }
    }

    /// The page of `first` as its row has it.
    pub(super) fn stored(first: u64, row: &[u8]) -> Result<Page, DecodeError> {
        let mut client = None;
        for entry in Entries::new(first, row) {
            client = Some(entry?.client);
        }
        Ok(Page { first, bytes: row.to_vec(), client, is_dirty: false, is_stored: true })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn push(&mut self, entry: &Entry<'_>) {
        let same = self.client.as_ref() == Some(&entry.client);
        write_entry(&mut self.bytes, self.first, entry, same);
        if !same {
            self.client = Some(Arc::clone(&entry.client));
        }
        self.is_dirty = true;
    }
}

fn write_entry(out: &mut Vec<u8>, first: u64, entry: &Entry<'_>, same_client: bool) {
    let mut writer = Writer(std::mem::take(out));
    writer.number(entry.slot - first);
    let kind = match entry.body {
        Body::Dropped => DROPPED,
        Body::Inline(_) => INLINE,
        Body::Echo(_) => ECHO,
        Body::Apart(_) => APART,
    };
    writer.byte(kind | if same_client { SAME_CLIENT } else { 0 });
    if !same_client {
        writer.string(&entry.client);
    }
    writer.number(entry.sequence);
    writer.number(entry.mark);
    match entry.body {
        Body::Dropped => {}
        Body::Inline(bytes) => {
            writer.number(bytes.len() as u64);
            writer.0.extend_from_slice(bytes);
        }
        Body::Echo(hash) => writer.0.extend_from_slice(&hash),
        Body::Apart(bytes) => writer.number(bytes),
    }
    *out = writer.0;
}

/// Reads an encoded answer.
pub(super) fn decode_answer(bytes: &[u8]) -> Result<Answer, DecodeError> {
    let mut reader = Reader::new(bytes);
    let answer = reader.answer()?;
    reader.end()?;
    Ok(answer)
}

/// The entries of a page, in the order of their slots.
pub(super) struct Entries<'a> {
    first: u64,
    /// The slot before which no further entry may lie.
    next: u64,
    client: Option<Arc<str>>,
    reader: Reader<'a>,
    failed: bool,
}

impl<'a> Entries<'a> {
    pub(super) fn new(first: u64, row: &'a [u8]) -> Entries<'a> {
        Entries { first, next: first, client: None, reader: Reader::new(row), failed: false }
    }

    fn read(&mut self) -> Result<Entry<'a>, DecodeError> {
        let delta = self.reader.number("a slot")?;
        let slot = self.first.checked_add(delta).filter(|_| delta < PAGE_SLOTS);
        let slot = slot.filter(|slot| *slot >= self.next);
        let slot = slot.ok_or_else(|| self.reader.error("a slot of this page"))?;
        self.next = slot + 1;
        let kind = self.reader.byte("the kind of an answer")?;
        let client = match &self.client {
            Some(client) if kind & SAME_CLIENT != 0 => Arc::clone(client),
            None if kind & SAME_CLIENT != 0 => return Err(self.reader.error("a client")),
            _ => Arc::from(self.reader.string("a client")?),
        };
        self.client = Some(Arc::clone(&client));
        let sequence = self.reader.number("a sequence")?;
        let mark = self.reader.number("a mark")?;
        let body = match kind & !SAME_CLIENT {
            DROPPED => Body::Dropped,
            INLINE => {
                let length = self.reader.count("the length of an answer")?;
                Body::Inline(self.reader.take(length, "an answer")?)
            }
            ECHO => Body::Echo(self.reader.array("the hash of a value")?),
            APART => Body::Apart(self.reader.number("the length of an answer")?),
            _ => return Err(self.reader.error("the kind of an answer")),
        };
        Ok(Entry { slot, client, sequence, mark, body })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.rest().is_empty() {
            return None;
        }
        let entry = self.read();
        self.failed = entry.is_err();
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let entry = |slot, client: &Arc<str>, body| Entry {
            slot,
            client: Arc::clone(client),
            sequence: slot * 3,
            mark: 7,
            body,
        };
        let entries = [
            entry(32, &a, Body::Inline(b"bytes")),
            entry(33, &a, Body::Dropped),
            entry(40, &b, Body::Echo([9; 16])),
            entry(47, &a, Body::Apart(70_000)),
        ];
        let mut page = Page::empty(page_of(47));
        for entry in &entries {
            page.push(entry);
        }
        let read: Result<Vec<_>, _> = Entries::new(32, page.bytes()).collect();
        assert_eq!(read.expect("whole"), entries);
        // One that is read and goes on is as one that was never away.
        let mut again = Page::stored(32, page.bytes()).expect("whole");
        assert_eq!(again.client, page.client);
        again.is_dirty = true;
        assert_eq!(again.bytes(), page.bytes());
    }

    #[test]
    fn what_is_no_page_is_told() {
        let mut page = Page::empty(0);
        let body = Body::Inline(b"x");
        page.push(&Entry { slot: 3, client: "a".into(), sequence: 1, mark: 0, body });
        let whole = page.bytes().to_vec();
        for cut in 1..whole.len() {
            assert!(Entries::new(0, &whole[..cut]).any(|entry| entry.is_err()), "cut at {cut}");
        }
        let twice = [&whole[..], &whole[..]].concat();
        assert!(Entries::new(0, &twice).any(|entry| entry.is_err()), "one slot twice");
        let mut beyond = whole.clone();
        beyond[0] = PAGE_SLOTS as u8;
        assert!(Entries::new(0, &beyond).any(|entry| entry.is_err()), "a slot of another page");
        let mut nobody = whole;
        nobody[1] |= SAME_CLIENT;
        assert!(Entries::new(0, &nobody).any(|entry| entry.is_err()), "the client of no entry");
    }
}
