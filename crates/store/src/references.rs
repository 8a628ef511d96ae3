//! References: the first answer of every operation, kept so that a retry has no second effect.
//!
//! Rows: one per kept answer, under its slot, and one per client whose mark would be lost with its
//! answers. In memory: an index of them, rebuilt at open.
//!
//! Invariants, all functions of the log alone:
//! 1. A reference whose answer is kept gets that answer again.
//! 2. One below its client's mark is refused: whether it took effect can no longer be told.
//! 3. The mark never goes back while the client is known. It rises by what the client says it has
//!    received, and past every answer that is dropped for want of room.
//! 4. At most [`REFERENCES_MAX`] answers of at most [`REFERENCES_BYTES_MAX`] bytes are kept, and as
//!    many marks of clients without answers; the oldest slot goes first. Only a client that lost
//!    even its mark is a stranger again.
//! 5. A client's mark is the greatest of the marks in its rows, so a command usually costs one row
//!    put and, when it acknowledges an earlier one, one row deleted.

use crate::codec::{Reader, Writer};
use crate::command::{DecodeError, read_reference, write_reference};
use crate::engine::{Direction, View};
use crate::failure::{Fatal, Outcome};
use crate::keys;
use crate::overlay::Overlay;
use api::{Error, ErrorCode, Reference, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most answers kept, and most marks of clients without answers.
pub const REFERENCES_MAX: usize = 200_000;
/// Most bytes of rows of kept answers; the newest is kept whatever its size.
pub const REFERENCES_BYTES_MAX: u64 = 256 << 20;

/// An answer as it was first given.
pub(crate) type Answer = Result<Value, Error>;

/// The index in memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    clients: BTreeMap<Arc<str>, Client>,
    /// Rows by slot, oldest first.
    rows: BTreeMap<u64, Kept>,
    bytes: u64,
    /// Clients without answers, by the slot of their mark's row.
    idle: BTreeSet<(u64, Arc<str>)>,
    limits: Limits,
}

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
    bytes: u64,
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

struct Row {
    reference: Reference,
    mark: u64,
    /// None: dropped on demand.
    answer: Option<Answer>,
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
        let (from, to) = keys::family_range(keys::family::REFERENCE);
        for row in view.range(&from, &to, Direction::Forward) {
            let (key, value) = row?;
            let slot = slot_of(&key)?;
            let row = Row::decode(&value).map_err(|error| damaged_row(slot, &error))?;
            references.insert(&row.reference, slot, value.len() as u64);
            if let Some(client) = references.clients.get_mut(row.reference.client.as_str()) {
                client.mark = client.mark.max(row.mark);
            }
        }
        for (name, client) in &references.clients {
            if client.sequences.is_empty() {
                references.idle.insert((client.mark_slot, Arc::clone(name)));
            }
        }
        Ok(references)
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

    /// The first answer, given at `slot`.
    pub(crate) fn answer(&self, view: &impl View, slot: u64) -> Outcome<Answer> {
        let row = read_row(view, slot)?;
        Ok(row.answer.unwrap_or_else(|| Err(forgotten(&row.reference))))
    }

    /// Keeps the answer of a new reference, takes note of what its client acknowledges, and makes
    /// room.
    pub(crate) fn record<V: View>(
        &mut self,
        overlay: &mut Overlay<V>,
        reference: &Reference,
        acked: u64,
        slot: u64,
        answer: &Answer,
    ) {
        let mark = self.raise_mark(overlay, reference, acked);
        let bytes = encode_row(reference, mark, Some(answer));
        self.insert(reference, slot, bytes.len() as u64);
        if let Some(client) = self.clients.get_mut(reference.client.as_str()) {
            client.mark = mark;
        }
        overlay.put_fresh(keys::reference(slot), bytes);
        self.make_room(overlay, slot);
    }

    /// Takes note of what a repeated command acknowledges: it has no new row to carry the mark.
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
        let mut row = read_row(overlay, slot)?;
        if row.answer.take().is_none() {
            return Ok(Value::Boolean(false));
        }
        let bytes = encode_row(&row.reference, row.mark, None);
        if let Some(kept) = self.rows.get_mut(&slot) {
            self.bytes = self.bytes - kept.bytes + bytes.len() as u64;
            kept.bytes = bytes.len() as u64;
        }
        overlay.put(keys::reference(slot), bytes);
        Ok(Value::Boolean(true))
    }

    fn insert(&mut self, reference: &Reference, slot: u64, bytes: u64) {
        let name = match self.clients.get_key_value(reference.client.as_str()) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(reference.client.as_str()),
        };
        let client = self.clients.entry(Arc::clone(&name)).or_default();
        if client.sequences.is_empty() {
            self.idle.remove(&(client.mark_slot, Arc::clone(&name)));
        }
        client.sequences.insert(reference.sequence, slot);
        self.bytes += bytes;
        self.rows.insert(slot, Kept { client: name, sequence: reference.sequence, bytes });
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
            while let Some((sequence, slot)) = client.sequences.first_key_value()
                && *sequence < acked
            {
                let (sequence, slot) = (*sequence, *slot);
                client.sequences.remove(&sequence);
                overlay.delete(keys::reference(slot));
                if let Some(kept) = self.rows.remove(&slot) {
                    self.bytes -= kept.bytes;
                }
            }
        }
        client.mark
    }

    fn make_room<V: View>(&mut self, overlay: &mut Overlay<V>, slot: u64) {
        while self.rows.len() > 1
            && (self.rows.len() > self.limits.count || self.bytes > self.limits.bytes)
        {
            let Some((oldest, kept)) = self.rows.pop_first() else { break };
            self.bytes -= kept.bytes;
            overlay.delete(keys::reference(oldest));
            if let Some(client) = self.clients.get_mut(&kept.client) {
                client.sequences.remove(&kept.sequence);
                client.mark = client.mark.max(kept.sequence + 1);
            }
            self.write_mark(overlay, &kept.client, slot);
        }
        while self.idle.len() > self.limits.count {
            let Some((_, client)) = self.idle.pop_first() else { break };
            overlay.delete(keys::client(&client));
            self.clients.remove(&client);
        }
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

impl Row {
    fn decode(bytes: &[u8]) -> Result<Row, DecodeError> {
        let mut reader = Reader::new(bytes);
        let reference = read_reference(&mut reader)?;
        let mark = reader.number("a mark")?;
        let kept = reader.flag("whether there is an answer")?;
        let answer = if kept { Some(reader.answer()?) } else { None };
        reader.end()?;
        Ok(Row { reference, mark, answer })
    }
}

fn encode_row(reference: &Reference, mark: u64, answer: Option<&Answer>) -> Vec<u8> {
    let mut writer = Writer::default();
    write_reference(&mut writer, reference);
    writer.number(mark);
    writer.byte(u8::from(answer.is_some()));
    if let Some(answer) = answer {
        writer.answer(answer);
    }
    writer.0
}

fn decode_mark(bytes: &[u8]) -> Result<(u64, u64), DecodeError> {
    let mut reader = Reader::new(bytes);
    let mark = (reader.number("a mark")?, reader.number("a slot")?);
    reader.end()?;
    Ok(mark)
}

fn slot_of(key: &[u8]) -> Result<u64, Fatal> {
    let bytes = key.get(1..).and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| Fatal::Damaged(format!("reference row {key:02x?}")))?;
    Ok(u64::from_be_bytes(bytes))
}

fn damaged_row(slot: u64, error: &DecodeError) -> Fatal {
    Fatal::Damaged(format!("the reference row of slot {slot}: {error}"))
}

fn read_row(view: &impl View, slot: u64) -> Outcome<Row> {
    let row = view.get(&keys::reference(slot))?;
    let row = row.ok_or_else(|| Fatal::Damaged(format!("no reference row of slot {slot}")))?;
    Ok(Row::decode(&row).map_err(|error| damaged_row(slot, &error))?)
}
