//! References: the first answer of every operation, kept so that a retry has no second effect.
//!
//! Rows: the answers of every few slots in one *page* ([`page`]), long ones in rows of their own, and one per
//! client whose mark would be lost with its answers. In memory: an index of them, rebuilt at open.
//!
//! Invariants, all functions of the log alone:
//! 1. A reference whose answer is kept gets that answer again.
//! 2. One below its client's mark is refused: whether it took effect can no longer be told. No
//!    answer below its client's mark is kept.
//! 3. The mark never goes back while the client is known. It rises by what the client says it has
//!    received, and past every answer that is dropped for want of room.
//! 4. At most [`REFERENCES_MAX`] answers of at most [`REFERENCES_BYTES_MAX`] bytes are kept, and as
//!    many marks of clients without answers; the oldest slot goes first. Only a client that lost
//!    even its mark is a stranger again.
//! 5. A client's mark is the greatest of the marks in its entries and in its own row.
//! 6. A page goes when none of its answers is kept. Until then it may hold entries that were acknowledged; they lie
//!    below their client's mark, and their client has an answer in a later slot. What is dropped for
//!    want of room is taken out of its page at once, with all that is not kept there.
//! 7. The bytes of a page follow from the log, whatever was applied together and wherever a node started.

mod page;

use crate::codec::{Reader, Writer};
use crate::command::{Command, DecodeError};
use crate::engine::{Direction, View};
use crate::failure::{Fatal, Outcome, bad_request};
use crate::keys;
use crate::overlay::Overlay;
use api::{Error, ErrorCode, Reference, Request, Value};
use bytes::Bytes;
use page::{Body, Entries, Entry, Kept as KeptAnswer, Page, page_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most answers kept, and most marks of clients without answers.
pub const REFERENCES_MAX: usize = 200_000;
/// Most bytes of kept answers, each with what belongs to it; the newest is kept whatever its size.
pub const REFERENCES_BYTES_MAX: u64 = 256 << 20;

/// An answer as it was first given.
pub(crate) type Answer = Result<Value, Error>;

/// The index in memory.
#[derive(Debug, Default)]
pub(crate) struct References {
    clients: BTreeMap<Arc<str>, Client>,
    /// Kept answers by slot, oldest first.
    kept: BTreeMap<u64, Kept>,
    bytes: u64,
    /// How many answers of each page are kept; none without any.
    pages: BTreeMap<u64, u64>,
    /// The page that grows, ahead of its row within a batch.
    page: Page,
    /// Clients without answers, by the slot of their mark's row.
    idle: BTreeSet<(u64, Arc<str>)>,
    limits: Limits,
}

/// But for the page that grows, which is read from its row when it is needed.
impl PartialEq for References {
    fn eq(&self, other: &References) -> bool {
        self.clients == other.clients
            && self.kept == other.kept
            && self.bytes == other.bytes
            && self.pages == other.pages
            && self.idle == other.idle
            && self.limits == other.limits
    }
}

impl Eq for References {}

#[derive(Debug, Default, PartialEq, Eq)]
struct Client {
    mark: u64,
    /// The slot in the mark's own row; 0 if it has none.
    mark_slot: u64,
    /// Sequence → slot.
    sequences: BTreeMap<u64, u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Kept {
    client: Arc<str>,
    sequence: u64,
    /// What it counts against the bound.
    bytes: u64,
    /// It has a row of its own.
    is_apart: bool,
}

/// The bounds of the table; part of the replicated behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    count: usize,
    bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { count: REFERENCES_MAX, bytes: REFERENCES_BYTES_MAX }
    }
}

/// What is known of a reference.
#[derive(Debug, PartialEq)]
pub(crate) enum Known {
    /// Nothing: the operation is to be carried out.
    New,
    /// It was answered at this slot.
    Answered(u64),
    /// It may have been answered; the answer is gone.
    Forgotten,
}

impl References {
    /// Rebuilds the index from the rows.
    pub(crate) fn load(view: &impl View) -> Result<References, Fatal> {
        let mut references = References::default();
        let (from, to) = keys::family_range(keys::family::CLIENT);
        for row in view.range(&from, &to, Direction::Forward) {
            let (key, value) = row?;
            let damaged = || Fatal::Damaged(format!("mark row {key:02x?}"));
            let client = std::str::from_utf8(&key[1..]).map_err(|_| damaged())?;
            let (mark, mark_slot) = decode_mark(&value).map_err(|_| damaged())?;
            let client = references.clients.entry(Arc::from(client)).or_default();
            (client.mark, client.mark_slot) = (mark, mark_slot);
        }
        let mut apart = BTreeSet::new();
        let mut pages = 0;
        let (from, to) = keys::family_range(keys::family::REFERENCE);
        for row in view.range(&from, &to, Direction::Forward) {
            let (key, value) = row?;
            match keys::reference_row(&key) {
                Some((first, false)) if first == page_of(first) => {
                    references.load_page(first, &value)?;
                    pages += 1;
                }
                Some((slot, true)) => {
                    apart.insert(slot);
                }
                _ => return Err(Fatal::Damaged(format!("reference row {key:02x?}"))),
            }
        }
        references.settle(pages, &apart)?;
        Ok(references)
    }

    fn load_page(&mut self, first: u64, row: &[u8]) -> Result<(), Fatal> {
        for entry in Entries::new(first, row) {
            let entry = entry.map_err(|error| damaged_page(first, &error))?;
            self.insert(&entry);
            if let Some(client) = self.clients.get_mut(&entry.client) {
                client.mark = client.mark.max(entry.mark);
            }
        }
        Ok(())
    }

    /// Leaves out what was read and is not kept, now that all marks are known, and compares with the rows
    /// that were there: `pages` and long answers.
    fn settle(&mut self, pages: usize, apart: &BTreeSet<u64>) -> Result<(), Fatal> {
        let below = |client: &Client| {
            client.sequences.range(..client.mark).map(|(_, slot)| *slot).collect::<Vec<u64>>()
        };
        let gone: Vec<u64> = self.clients.values().flat_map(below).collect();
        for slot in gone {
            self.remove(slot);
        }
        for (name, client) in &self.clients {
            if client.sequences.is_empty() {
                self.idle.insert((client.mark_slot, Arc::clone(name)));
            }
        }
        let named = self.kept.iter().filter(|(_, kept)| kept.is_apart).map(|(slot, _)| slot);
        if pages != self.pages.len() {
            return Err(Fatal::Damaged("a reference page has no answer that is kept".into()));
        }
        if !named.eq(apart) {
            return Err(Fatal::Damaged("rows of long answers are not those of the pages".into()));
        }
        Ok(())
    }

    /// What is known of a reference.
    pub(crate) fn find(&self, reference: &Reference) -> Known {
        let Some(client) = self.clients.get(reference.client.as_str()) else { return Known::New };
        match client.sequences.get(&reference.sequence) {
            Some(slot) => Known::Answered(*slot),
            None if reference.sequence < client.mark => Known::Forgotten,
            None => Known::New,
        }
    }

    /// The first answer, given at `slot`, to a request that is repeated.
    pub(crate) fn answer(&self, view: &impl View, slot: u64, request: &Request) -> Outcome<Answer> {
        let first = page_of(slot);
        let row = self.page_bytes(view, first)?;
        let entry = find_entry(first, &row, slot)?;
        let damaged = |error: DecodeError| damaged_page(first, &error);
        Ok(match entry.body {
            Body::Dropped => Err(forgotten(&entry.reference())),
            Body::Inline(bytes) => page::decode_answer(bytes).map_err(damaged)?,
            Body::Apart(_) => {
                let row = view.get(&keys::long_answer(slot))?;
                let row = row.ok_or_else(|| no_row(slot))?;
                page::decode_answer(&row).map_err(damaged)?
            }
            Body::Echo(hash) => page::echoed(request, hash).ok_or_else(|| {
                bad_request(format!(
                    "ref: {} names another write, which was carried out; use each reference for \
                     one operation only",
                    entry.reference()
                ))
            }),
        })
    }

    /// Keeps the answer of a new reference, takes note of what its client acknowledges, and makes
    /// room.
    pub(crate) fn record<V: View>(
        &mut self,
        overlay: &mut Overlay<V>,
        command: &Command,
        slot: u64,
        answer: &Answer,
    ) -> Result<(), Fatal> {
        let reference = &command.reference;
        let mark = self.raise_mark(overlay, reference, command.acked);
        let kept = KeptAnswer::of(&command.request, answer);
        let client = self.name(&reference.client);
        let sequence = reference.sequence;
        let entry = Entry { slot, client, sequence, mark, body: kept.body() };
        self.turn_to_page(overlay, page_of(slot))?;
        self.page.push(&entry);
        self.insert(&entry);
        if let Some(client) = self.clients.get_mut(&entry.client) {
            client.mark = mark;
        }
        if let KeptAnswer::Apart(bytes) = kept {
            overlay.put_fresh(keys::long_answer(slot), bytes);
        }
        self.make_room(overlay, slot)
    }

    /// Takes note of what a repeated command acknowledges: it has no new entry to carry the mark.
    pub(crate) fn acknowledge<V: View>(
        &mut self,
        overlay: &mut Overlay<V>,
        reference: &Reference,
        acked: u64,
        slot: u64,
    ) {
        let before = self.clients.get(reference.client.as_str()).map_or(0, |client| client.mark);
        if self.raise_mark(overlay, reference, acked) > before {
            self.write_mark(overlay, &Arc::from(reference.client.as_str()), slot);
        }
    }

    /// Drops an answer. The reference stays known, so that a retry has no second effect. Answers
    /// whether there was an answer.
    pub(crate) fn forget<V: View>(
        &mut self,
        overlay: &mut Overlay<V>,
        reference: &Reference,
    ) -> Outcome<Value> {
        let Known::Answered(slot) = self.find(reference) else { return Ok(Value::Boolean(false)) };
        let first = page_of(slot);
        let row = self.page_bytes(overlay, first)?;
        let entry = find_entry(first, &row, slot)?;
        if entry.body == Body::Dropped {
            return Ok(Value::Boolean(false));
        }
        let bytes = Entry { body: Body::Dropped, ..entry }.cost_bytes();
        if let Some(kept) = self.kept.get_mut(&slot) {
            self.bytes = self.bytes - kept.bytes + bytes;
            kept.bytes = bytes;
            if std::mem::take(&mut kept.is_apart) {
                overlay.delete(keys::long_answer(slot));
            }
        }
        self.rewrite_page(overlay, first, Some(slot))?;
        Ok(Value::Boolean(true))
    }

    /// Writes the page that grows into its row: at the end of every batch, before it is committed.
    pub(crate) fn write_page<V: View>(&mut self, overlay: &mut Overlay<V>) {
        if !std::mem::take(&mut self.page.is_dirty) {
            return;
        }
        let (key, bytes) = (keys::reference(self.page.first), self.page.bytes().to_vec());
        match std::mem::replace(&mut self.page.is_stored, true) {
            true => overlay.put(key, bytes),
            false => overlay.put_fresh(key, bytes),
        }
    }

    /// Makes the page of `first` the one that grows.
    fn turn_to_page<V: View>(&mut self, overlay: &mut Overlay<V>, first: u64) -> Result<(), Fatal> {
        if self.page.first == first {
            return Ok(());
        }
        self.write_page(overlay);
        self.page = match self.pages.contains_key(&first) {
            true => {
                let row = self.page_bytes(overlay, first)?;
                Page::stored(first, &row).map_err(|error| damaged_page(first, &error))?
            }
            false => Page::empty(first),
        };
        Ok(())
    }

    /// A page as it is now.
    fn page_bytes(&self, view: &impl View, first: u64) -> Result<Bytes, Fatal> {
        if self.page.first == first && !self.page.bytes().is_empty() {
            return Ok(Bytes::copy_from_slice(self.page.bytes()));
        }
        let row = view.get(&keys::reference(first))?;
        row.ok_or_else(|| Fatal::Damaged(format!("no reference page of slot {first}")))
    }

    /// Takes out of a page what is not kept, and the answer of `forgotten`.
    fn rewrite_page<V: View>(
        &mut self,
        overlay: &mut Overlay<V>,
        first: u64,
        forgotten: Option<u64>,
    ) -> Result<(), Fatal> {
        if !self.pages.contains_key(&first) {
            return Ok(());
        }
        let row = self.page_bytes(overlay, first)?;
        let mut page = Page::empty(first);
        for entry in Entries::new(first, &row) {
            let mut entry = entry.map_err(|error| damaged_page(first, &error))?;
            if !self.kept.contains_key(&entry.slot) {
                continue;
            }
            if forgotten == Some(entry.slot) {
                entry.body = Body::Dropped;
            }
            page.push(&entry);
        }
        if self.page.first == first {
            page.is_stored = self.page.is_stored;
            self.page = page;
        } else {
            overlay.put(keys::reference(first), page.bytes().to_vec());
        }
        Ok(())
    }

    /// The one copy of a client's name.
    fn name(&self, client: &str) -> Arc<str> {
        match self.clients.get_key_value(client) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(client),
        }
    }

    fn insert(&mut self, entry: &Entry<'_>) {
        let name = self.name(&entry.client);
        let client = self.clients.entry(Arc::clone(&name)).or_default();
        if client.sequences.is_empty() {
            self.idle.remove(&(client.mark_slot, Arc::clone(&name)));
        }
        client.sequences.insert(entry.sequence, entry.slot);
        *self.pages.entry(page_of(entry.slot)).or_default() += 1;
        let (sequence, bytes) = (entry.sequence, entry.cost_bytes());
        self.bytes += bytes;
        let is_apart = matches!(entry.body, Body::Apart(_));
        self.kept.insert(entry.slot, Kept { client: name, sequence, bytes, is_apart });
    }

    /// Keeps the answer of a slot no longer. Answers it, and whether its page has none left.
    fn remove(&mut self, slot: u64) -> Option<(Kept, bool)> {
        let kept = self.kept.remove(&slot)?;
        self.bytes -= kept.bytes;
        if let Some(client) = self.clients.get_mut(&kept.client) {
            client.sequences.remove(&kept.sequence);
        }
        let first = page_of(slot);
        let left = self.pages.get_mut(&first).map_or(0, |left| {
            *left -= 1;
            *left
        });
        if left == 0 {
            self.pages.remove(&first);
        }
        Some((kept, left == 0))
    }

    /// Keeps the answer of a slot no longer, in the rows too; an entry of it may stay in its page.
    fn drop_answer<V: View>(&mut self, overlay: &mut Overlay<V>, slot: u64) {
        let Some((kept, is_empty)) = self.remove(slot) else { return };
        if kept.is_apart {
            overlay.delete(keys::long_answer(slot));
        }
        if !is_empty {
            return;
        }
        let first = page_of(slot);
        let is_stored = if self.page.first == first {
            std::mem::replace(&mut self.page, Page::empty(first)).is_stored
        } else {
            true
        };
        if is_stored {
            overlay.delete(keys::reference(first));
        }
    }

    /// Drops the client's answers below what it acknowledges. An operation cannot acknowledge
    /// itself. Answers the mark.
    fn raise_mark<V: View>(
        &mut self,
        overlay: &mut Overlay<V>,
        reference: &Reference,
        acked: u64,
    ) -> u64 {
        let acked = acked.min(reference.sequence);
        let Some(client) = self.clients.get_mut(reference.client.as_str()) else { return acked };
        if acked > client.mark {
            client.mark = acked;
            while let Some(slot) = self.first_below_mark(&reference.client) {
                self.drop_answer(overlay, slot);
            }
            return acked;
        }
        client.mark
    }

    /// The slot of a client's first answer below its mark.
    fn first_below_mark(&self, client: &str) -> Option<u64> {
        let client = self.clients.get(client)?;
        let (sequence, slot) = client.sequences.first_key_value()?;
        (*sequence < client.mark).then_some(*slot)
    }

    fn make_room<V: View>(&mut self, overlay: &mut Overlay<V>, slot: u64) -> Result<(), Fatal> {
        while self.kept.len() > 1
            && (self.kept.len() > self.limits.count || self.bytes > self.limits.bytes)
        {
            let Some((_, oldest)) = self.kept.first_key_value() else { break };
            let (name, sequence) = (Arc::clone(&oldest.client), oldest.sequence);
            if let Some(client) = self.clients.get_mut(&name) {
                client.mark = client.mark.max(sequence + 1);
            }
            let mut pages = BTreeSet::new();
            while let Some(slot) = self.first_below_mark(&name) {
                self.drop_answer(overlay, slot);
                pages.insert(page_of(slot));
            }
            for first in pages {
                self.rewrite_page(overlay, first, None)?;
            }
            self.write_mark(overlay, &name, slot);
        }
        while self.idle.len() > self.limits.count {
            let Some((_, client)) = self.idle.pop_first() else { break };
            overlay.delete(keys::client(&client));
            self.clients.remove(&client);
        }
        Ok(())
    }

    /// Writes a client's mark into a row of its own.
    fn write_mark<V: View>(&mut self, overlay: &mut Overlay<V>, name: &Arc<str>, slot: u64) {
        let Some(client) = self.clients.get_mut(name) else { return };
        client.mark_slot = slot;
        if client.sequences.is_empty() {
            self.idle.insert((slot, Arc::clone(name)));
        }
        let mut writer = Writer::default();
        writer.number(client.mark);
        writer.number(slot);
        overlay.put(keys::client(name), writer.0);
    }

    /// The same bounds as another table.
    pub(crate) fn with_limits_of(mut self, other: &References) -> References {
        self.limits = other.limits;
        self
    }

    /// Other bounds, for tests; every node of a group must have the same.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn set_limits(&mut self, count: usize, bytes: u64) {
        self.limits = Limits { count, bytes };
    }
}

/// The answer to a reference whose answer is gone.
pub(crate) fn forgotten(reference: &Reference) -> Error {
    Error::new(
        ErrorCode::ForgottenReference,
        format!(
            "the answer of reference {reference} was forgotten; whether the operation took effect \
             can be seen only by reading"
        ),
    )
}

fn decode_mark(bytes: &[u8]) -> Result<(u64, u64), DecodeError> {
    let mut reader = Reader::new(bytes);
    let mark = (reader.number("a mark")?, reader.number("a slot")?);
    reader.end()?;
    Ok(mark)
}

fn find_entry(first: u64, row: &[u8], slot: u64) -> Result<Entry<'_>, Fatal> {
    for entry in Entries::new(first, row) {
        let entry = entry.map_err(|error| damaged_page(first, &error))?;
        if entry.slot == slot {
            return Ok(entry);
        }
    }
    Err(no_row(slot))
}

fn no_row(slot: u64) -> Fatal {
    Fatal::Damaged(format!("no reference row of slot {slot}"))
}

fn damaged_page(first: u64, error: &DecodeError) -> Fatal {
    Fatal::Damaged(format!("the reference page of slot {first}: {error}"))
}
