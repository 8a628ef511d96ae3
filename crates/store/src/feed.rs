//! What each log entry changed, so that others can follow the store (`docs/design/watch.md`).
//!
//! Most entries say themselves what they change: such an entry leaves nothing here, and its changes are read
//! off it while the log keeps it. What cannot be read off an entry stands in *change rows* under its slot.
//!
//! Invariants:
//! 1. An entry that is evident (an insert, a write, a create, a destroy) and took effect exactly as it says has
//!    no row.
//! 2. An evident entry that had no effect, being refused or repeated, has the one row [`NOTHING`]. One that had
//!    another effect has its changes as rows.
//! 3. Any other entry has one row for each change that it made, from position 0 without gaps.
//! 4. Rows are put in the same batch as the effects. They go, oldest slot first, as the log is cut and when
//!    they take too much room; up to which slot they may have gone stands in the batch that removes them.
//! 5. They are this node's own: no part of the content hash, nor of a snapshot.
//!
//! So at any view, for every slot after the trimmed one and up to the applied one, entry and rows together give
//! the same changes, in the same order, at every node.

use crate::apply::State;
use crate::codec::{Reader as RowReader, Writer};
use crate::command::{Command, DecodeError};
use crate::engine::{Direction, View};
use crate::failure::Fatal;
use crate::keys::{self, family};
use crate::overlay::Overlay;
use crate::store::{Effect, Meta};
use api::value::ID_FIELD;
use api::{Document, Request, Value, binary};
use bson::RawDocument;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Most bytes of change rows; the rows of the newest entry are kept whatever their size.
pub const CHANGE_ROWS_BYTES_MAX: u64 = 256 << 20;
/// Rows that go with an apply batch because the log was cut; for want of room it may be more.
const TRIMMED_ROWS_PER_BATCH: usize = 1024;

/// One change of the store's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A document that was not there.
    Insert {
        /// Its collection.
        collection: String,
        /// The document.
        document: Document,
    },
    /// A document that was there before, with another content.
    Update {
        /// Its collection.
        collection: String,
        /// The document as it is now.
        document: Document,
    },
    /// A document that is there no more.
    Delete {
        /// Its collection.
        collection: String,
        /// Its `_id`.
        id: Value,
    },
    /// A key was set.
    Write {
        /// The key.
        key: String,
        /// Its value now; null: none.
        value: Value,
    },
    /// A collection that was not there.
    Create {
        /// Its name.
        collection: String,
    },
    /// A collection that is there no more, nor are its documents.
    Destroy {
        /// Its name.
        collection: String,
    },
}

const NOTHING: u8 = 0;
const INSERT: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 3;
const WRITE: u8 = 4;
const CREATE: u8 = 5;
const DESTROY: u8 = 6;

/// How much there is of change rows; part of the store's state, but of this node alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangeRows {
    /// Rows of slots up to this one may be gone.
    pub(crate) trimmed: u64,
    /// What the rows take.
    pub(crate) bytes: u64,
}

impl ChangeRows {
    pub(crate) fn load(view: &impl View) -> Result<ChangeRows, Fatal> {
        let Some(row) = view.get(&keys::change_rows())? else { return Ok(ChangeRows::default()) };
        let damaged =
            |error: DecodeError| Fatal::Damaged(format!("the row on change rows: {error}"));
        let mut reader = RowReader::new(&row);
        let trimmed = reader.number("a slot").map_err(damaged)?;
        let bytes = reader.number("a number of bytes").map_err(damaged)?;
        reader.end().map_err(damaged)?;
        Ok(ChangeRows { trimmed, bytes })
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.trimmed);
        writer.number(self.bytes);
        writer.0
    }
}

/// Writes down what a command did that it does not say itself, from what it changed since the savepoint.
pub(crate) fn note_effect<V: View>(
    overlay: &mut Overlay<V>,
    state: &mut State,
    slot: u64,
    request: &Request,
) -> Result<(), Fatal> {
    if did_as_it_says(overlay, state, request) {
        return Ok(());
    }
    let changes = changes_made(overlay, state, request)?;
    if changes.is_empty() && is_evident(request) {
        put_row(overlay, state, slot, 0, None);
    }
    for (position, change) in changes.iter().enumerate() {
        put_row(overlay, state, slot, position as u64, Some(change));
    }
    Ok(())
}

/// Writes down that a command that seems to do something did nothing.
pub(crate) fn note_nothing<V: View>(
    overlay: &mut Overlay<V>,
    state: &mut State,
    slot: u64,
    request: &Request,
) {
    if is_evident(request) {
        put_row(overlay, state, slot, 0, None);
    }
}

/// Removes rows that are not needed, and writes down how much is left, at the end of an apply batch that
/// began with `before`. `goal`: the log has been cut up to there.
pub(crate) fn trim<V: View>(
    overlay: &mut Overlay<V>,
    state: &mut State,
    before: ChangeRows,
    goal: u64,
    bytes_max: u64,
) -> Result<(), Fatal> {
    let rows = &mut state.change_rows;
    if rows.bytes > 0 && (goal > rows.trimmed || rows.bytes > bytes_max) {
        let from = keys::change(rows.trimmed, 0);
        let (_, to) = keys::family_range(family::CHANGE);
        let mut gone = Vec::new();
        for row in overlay.range(&from, &to, Direction::Forward) {
            let (key, value) = row?;
            let (slot, _) = place_of(&key)?;
            let is_too_much = rows.bytes > bytes_max;
            let may_wait = !is_too_much && (slot > goal || gone.len() >= TRIMMED_ROWS_PER_BATCH);
            // Of the newest entry nothing goes for want of room.
            if may_wait || slot >= state.applied_slot {
                break;
            }
            rows.bytes = rows.bytes.saturating_sub(row_bytes(&value));
            rows.trimmed = rows.trimmed.max(slot);
            gone.push(key.to_vec());
        }
        for key in gone {
            overlay.delete(key);
        }
    }
    if *rows != before {
        overlay.put(keys::change_rows(), rows.encode());
    }
    Ok(())
}

/// The changes of entries at one view.
pub struct Feed<V> {
    view: V,
    applied: u64,
    trimmed: u64,
}

impl<V: View> Feed<V> {
    pub(crate) fn new(view: V) -> Result<Feed<V>, Fatal> {
        let applied = Meta::read(&view)?.applied_slot;
        let trimmed = ChangeRows::load(&view)?.trimmed;
        Ok(Feed { view, applied, trimmed })
    }

    /// The last slot whose changes can be seen.
    pub fn applied_slot(&self) -> u64 {
        self.applied
    }

    /// The changes of slots up to this one cannot be told any more.
    pub fn trimmed_slot(&self) -> u64 {
        self.trimmed
    }

    /// Gives the changes of an entry, from a position on, to `each`, until it answers false. Answers whether it
    /// came to the end of the entry.
    ///
    /// # Errors
    /// This node's trouble.
    ///
    /// # Panics
    /// If the slot is not between [`Feed::trimmed_slot`] and [`Feed::applied_slot`].
    pub fn changes(
        &self,
        slot: u64,
        effect: Effect<'_>,
        from: u64,
        each: &mut dyn FnMut(u64, Change) -> bool,
    ) -> Result<bool, Fatal> {
        assert!(slot > self.trimmed && slot <= self.applied, "slot {slot} can be told");
        let Effect::Command(bytes) = effect else { return Ok(true) };
        if self.view.get(&keys::change(slot, 0))?.is_none() {
            let command = Command::decode(bytes).map_err(|error| Fatal::Command { slot, error })?;
            let changes = evident_changes(command.request).into_iter().enumerate();
            for (position, change) in changes.skip(usize::try_from(from).unwrap_or(usize::MAX)) {
                if !each(position as u64, change) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let (from, to) = (keys::change(slot, from), keys::change(slot + 1, 0));
        for row in self.view.range(&from, &to, Direction::Forward) {
            let (key, value) = row?;
            let (_, position) = place_of(&key)?;
            let Some(change) = decode(&key, &value)? else { return Ok(true) };
            if !each(position, change) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Checks that every row is one.
pub(crate) fn verify(view: &impl View, rows: ChangeRows) -> Result<(), Fatal> {
    let (from, to) = keys::family_range(family::CHANGE);
    let mut bytes = 0;
    for row in view.range(&from, &to, Direction::Forward) {
        let (key, value) = row?;
        place_of(&key)?;
        decode(&key, &value)?;
        bytes += row_bytes(&value);
    }
    if bytes != rows.bytes {
        return Err(Fatal::Damaged(format!(
            "change rows take {bytes} bytes, but {} is written",
            rows.bytes
        )));
    }
    Ok(())
}

/// Whether what a request changes can be read off it, if it has its effect.
fn is_evident(request: &Request) -> bool {
    matches!(
        request,
        Request::Insert { .. }
            | Request::Write { .. }
            | Request::Create { .. }
            | Request::Destroy { .. }
    )
}

fn evident_changes(request: Request) -> Vec<Change> {
    match request {
        Request::Insert { collection, documents, .. } => {
            let insert = |document| Change::Insert { collection: collection.clone(), document };
            documents.into_iter().map(insert).collect()
        }
        Request::Write { key, value } => vec![Change::Write { key, value }],
        Request::Create { collection, .. } => vec![Change::Create { collection }],
        Request::Destroy { collection } => vec![Change::Destroy { collection }],
        _ => Vec::new(),
    }
}

/// Whether an evident request that went well did exactly what it says.
fn did_as_it_says<V: View>(overlay: &Overlay<V>, state: &State, request: &Request) -> bool {
    let Request::Insert { collection, documents, .. } = request else {
        return is_evident(request);
    };
    let Some(collection) = state.catalog.collections.get(collection) else { return false };
    // Only a default adds to what is inserted.
    if collection.schema.fields.iter().all(|field| field.default.is_none()) {
        return true;
    }
    let prefix = keys::documents(collection.number);
    let mut stored = overlay.changed_keys().filter(|key| key.starts_with(&prefix));
    documents.iter().all(|document| {
        let row = stored.next().and_then(|key| overlay.put_value(key));
        row.is_some() && binary::to_bytes(document).ok().as_deref() == row.as_deref()
    })
}

/// The net changes since the savepoint, encoded, in the order in which the rows were first touched.
fn changes_made<V: View>(
    overlay: &Overlay<V>,
    state: &State,
    request: &Request,
) -> Result<Vec<Vec<u8>>, Fatal> {
    let mut names = BTreeMap::new();
    note_names(request, state, &mut names);
    let mut changes = Vec::new();
    let is_content = |key: &[u8]| {
        matches!(key.first(), Some(&(family::DOCUMENT | family::PAIR | family::CATALOG)))
    };
    for (key, before) in overlay.changed_from(is_content)? {
        let after = overlay.get(key)?;
        changes.extend(change_of(key, before, after, &names)?);
    }
    Ok(changes)
}

/// The numbers of the collections that a request names, as far as they are there.
fn note_names(request: &Request, state: &State, names: &mut BTreeMap<u32, String>) {
    let name = match request {
        Request::Insert { collection, .. }
        | Request::Update { collection, .. }
        | Request::Replace { collection, .. }
        | Request::Modify { collection, .. }
        | Request::Delete { collection, .. } => collection,
        Request::Batch { requests } => {
            return requests.iter().for_each(|request| note_names(request, state, names));
        }
        _ => return,
    };
    if let Some(collection) = state.catalog.collections.get(name) {
        names.insert(collection.number, name.clone());
    }
}

/// The change of a row, encoded as [`decode`] reads it. The bytes of a document are taken as they are: they were encoded a moment ago.
fn change_of(
    key: &[u8],
    before: Option<Bytes>,
    after: Option<Bytes>,
    names: &BTreeMap<u32, String>,
) -> Result<Option<Vec<u8>>, Fatal> {
    let damaged = |error: String| Fatal::Damaged(format!("row {key:02x?}: {error}"));
    let rest = &key[1..];
    let mut writer = Writer::default();
    match key[0] {
        family::PAIR => {
            let key = std::str::from_utf8(rest).map_err(|error| damaged(error.to_string()))?;
            writer.byte(WRITE);
            writer.string(key);
            match after {
                Some(row) => writer.0.extend_from_slice(&row),
                None => writer.value(&Value::Null),
            }
        }
        family::CATALOG => {
            let (kind, row) = match (before, after) {
                (None, Some(row)) => (CREATE, row),
                (Some(row), None) => (DESTROY, row),
                // Its indexes, or what is known of them.
                _ => return Ok(None),
            };
            let name = RowReader::new(&row).string("a name");
            writer.byte(kind);
            writer.string(&name.map_err(|error| damaged(error.to_string()))?);
        }
        _ => {
            let number = rest.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
            // A collection that is not there any more went with its documents.
            let Some(collection) = number.and_then(|number| names.get(&number)) else {
                return Ok(None);
            };
            let kind = match (&before, &after) {
                (None, Some(_)) => INSERT,
                (Some(before), Some(row)) if before != row => UPDATE,
                (Some(_), None) => DELETE,
                _ => return Ok(None),
            };
            writer.byte(kind);
            writer.string(collection);
            match after {
                Some(row) => writer.0.extend_from_slice(&row),
                None => {
                    let id = before.map(|row| id_of(&row)).transpose().map_err(damaged)?;
                    writer.value(&id.unwrap_or(Value::Null));
                }
            }
        }
    }
    Ok(Some(writer.0))
}

/// The `_id` of a document as it is stored.
fn id_of(row: &[u8]) -> Result<Value, String> {
    let document = RawDocument::from_bytes(row).map_err(|error| error.to_string())?;
    let id = document.get(ID_FIELD).map_err(|error| error.to_string())?;
    id.map_or(Ok(Value::Null), |id| Value::try_from(id).map_err(|error| error.to_string()))
}

/// Puts a row with an encoded change; none says that nothing was done.
fn put_row<V: View>(
    overlay: &mut Overlay<V>,
    state: &mut State,
    slot: u64,
    position: u64,
    change: Option<&[u8]>,
) {
    let key = keys::change(slot, position);
    let change = change.unwrap_or(&[NOTHING]);
    let row = [&checksum(&key, change)[..], change].concat();
    state.change_rows.bytes += row_bytes(&row);
    overlay.put_fresh(key, row);
}

/// None: the entry did nothing.
fn decode(key: &[u8], row: &[u8]) -> Result<Option<Change>, Fatal> {
    let damaged = |what: String| Fatal::Damaged(format!("change row {key:02x?}: {what}"));
    let (found, bytes) =
        row.split_at_checked(CHECKSUM_BYTES).ok_or_else(|| damaged("it is too short".into()))?;
    if found != checksum(key, bytes) {
        return Err(damaged("its checksum is wrong".into()));
    }
    let mut reader = RowReader::new(bytes);
    let change = read_change(&mut reader).map_err(|error| damaged(error.to_string()))?;
    reader.end().map_err(|error| damaged(error.to_string()))?;
    Ok(change)
}

fn read_change(reader: &mut RowReader<'_>) -> Result<Option<Change>, DecodeError> {
    const COLLECTION: &str = "a collection name";
    Ok(Some(match reader.byte("a kind of change")? {
        NOTHING => return Ok(None),
        INSERT => Change::Insert {
            collection: reader.string(COLLECTION)?,
            document: reader.document("a document")?,
        },
        UPDATE => Change::Update {
            collection: reader.string(COLLECTION)?,
            document: reader.document("a document")?,
        },
        DELETE => {
            Change::Delete { collection: reader.string(COLLECTION)?, id: reader.value("an _id")? }
        }
        WRITE => Change::Write { key: reader.string("a key")?, value: reader.value("a value")? },
        CREATE => Change::Create { collection: reader.string(COLLECTION)? },
        DESTROY => Change::Destroy { collection: reader.string(COLLECTION)? },
        _ => return Err(reader.error("a known kind of change")),
    }))
}

const CHECKSUM_BYTES: usize = 4;

/// The low half of a hash of key and content: rows are in no content hash.
fn checksum(key: &[u8], bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, xxhash_rust::xxh3::xxh3_64(key));
    (hash as u32).to_le_bytes()
}

/// What a row counts for: its value and its key.
fn row_bytes(value: &[u8]) -> u64 {
    const KEY_BYTES: u64 = 1 + 8 + 8;
    KEY_BYTES + value.len() as u64
}

fn place_of(key: &[u8]) -> Result<(u64, u64), Fatal> {
    let parts = key.get(1..9).zip(key.get(9..17)).filter(|_| key.len() == 17);
    let numbers = parts.map(|(slot, position)| {
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        (number(slot), number(position))
    });
    numbers.ok_or_else(|| Fatal::Damaged(format!("change row {key:02x?}")))
}
