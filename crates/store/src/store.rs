//! The state machine: applies log entries in order, each batch of them in one engine batch.

use crate::apply::{self, Applying, State};
use crate::codec::{Reader as RowReader, Writer};
use crate::command::{Command, DecodeError};
use crate::engine::{Direction, Engine, EngineError, Rows, View, ViewOf};
use crate::failure::{Failure, Fatal, bad_request, split};
use crate::feed;
use crate::keys;
use crate::overlay::Overlay;
use crate::pairs;
use crate::reader::Reader;
use crate::references::{Known, forgotten};
use api::{Error, Reference, Value};
use bytes::Bytes;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::Xxh3;

/// Format of the rows; raised when they change.
pub const FORMAT_VERSION: u16 = 3;

/// One decided log position, as the store sees it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its position.
    pub slot: u64,
    /// What it does to the store.
    pub effect: Effect<'a>,
}

/// What an entry does to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Nothing: only the applied slot moves on.
    Blank,
    /// The bytes of a [`Command`] are carried out and answered.
    Command(&'a [u8]),
    /// A decided fact about the group, opaque here: the store keeps the last one with its slot, so
    /// that whoever gets a snapshot knows it without the log.
    Group(&'a [u8]),
}

/// A command, or no effect.
impl<'a> From<Option<&'a [u8]>> for Effect<'a> {
    fn from(command: Option<&'a [u8]>) -> Effect<'a> {
        command.map_or(Effect::Blank, Effect::Command)
    }
}

/// The last decided fact about the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) slot: u64,
    pub(crate) bytes: Bytes,
}

impl Group {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.slot);
        writer.0.extend_from_slice(&self.bytes);
        writer.0
    }

    /// None in a store that has met none, or whose writer kept none.
    pub(crate) fn read(view: &impl View) -> Result<Option<Group>, Fatal> {
        let Some(row) = view.get(&keys::group())? else { return Ok(None) };
        let damaged = |error| Fatal::Damaged(format!("the row of the group: {error}"));
        let mut reader = RowReader::new(&row);
        let slot = reader.number("a slot").map_err(damaged)?;
        Ok(Some(Group { slot, bytes: row.slice_ref(reader.rest()) }))
    }
}

/// What one entry answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The entry's position.
    pub slot: u64,
    /// The command's reference; none for an entry without command.
    pub reference: Option<Reference>,
    /// The answer; none for an entry without command.
    pub answer: Option<Result<Value, Error>>,
    /// Whether this is the first answer of an earlier slot, given again without a second effect.
    pub repeated: bool,
    /// Whether an index is being built after this entry, so that somebody has to propose the next
    /// [step](api::Request::BuildIndex).
    pub is_building: bool,
}

/// The hash of a store's logical content.
pub type ContentHash = [u8; 16];

/// The deterministic state machine over an engine.
///
/// Invariants:
/// 1. The rows are a function of the applied entries alone, but for those of destroyed collections and
///    dropped indexes, and of changes that are not kept any more ([`crate::Feed`]).
/// 2. The applied slot stands in the same engine batch as the effects: whatever a crash leaves, the
///    store stands at exactly that slot.
/// 3. Every entry answers the same on every node, refusals included.
pub struct Store<E: Engine> {
    engine: E,
    state: State,
    shared: Arc<Shared>,
    failed: bool,
    /// The log has been cut up to here: change rows up to it are of no use.
    log_floor: u64,
    change_rows_bytes_max: u64,
    #[cfg(feature = "planted-bugs")]
    planted: Option<crate::PlantedBug>,
}

/// What readers on other threads see of the store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) applied_slot: AtomicU64,
}

/// The row that every batch writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) applied_slot: u64,
    pub(crate) catalog_version: u64,
    pub(crate) next_collection: u32,
}

impl Meta {
    fn encode(self) -> Vec<u8> {
        let mut writer = Writer(FORMAT_VERSION.to_be_bytes().to_vec());
        writer.number(self.applied_slot);
        writer.number(self.catalog_version);
        writer.number(u64::from(self.next_collection));
        writer.0
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Meta, Fatal> {
        let damaged =
            |error: DecodeError| Fatal::Damaged(format!("the store's first row: {error}"));
        let mut reader = RowReader::new(row);
        let version = reader.take(2, "a format version").map_err(damaged)?;
        let found = u16::from_be_bytes([version[0], version[1]]);
        if found != FORMAT_VERSION {
            return Err(Fatal::Format { found, known: FORMAT_VERSION });
        }
        let mut number = |expected| reader.number(expected).map_err(damaged);
        let applied_slot = number("an applied slot")?;
        let catalog_version = number("a catalog version")?;
        let next_collection = u32::try_from(number("a collection number")?)
            .map_err(|_| Fatal::Damaged("the store's first row: a collection number".into()))?;
        reader.end().map_err(damaged)?;
        Ok(Meta { applied_slot, catalog_version, next_collection })
    }

    /// The row as a view sees it; a view of an empty engine sees an empty store.
    pub(crate) fn read(view: &impl View) -> Result<Meta, Fatal> {
        match view.get(&keys::meta())? {
            Some(row) => Meta::decode(&row),
            None => Ok(Meta { applied_slot: 0, catalog_version: 0, next_collection: 1 }),
        }
    }
}

impl<E: Engine> Store<E> {
    /// Opens the store over an engine, empty or not.
    ///
    /// # Errors
    /// If the engine fails, its data is damaged or of another format.
    pub fn open(engine: E) -> Result<Store<E>, Fatal> {
        let view = engine.view();
        if view.get(&keys::import())?.is_some() {
            return Err(Fatal::UnfinishedImport);
        }
        let state = State::load(&view, Meta::read(&view)?)?;
        let shared = Shared { applied_slot: AtomicU64::new(state.applied_slot) };
        Ok(Store {
            engine,
            state,
            shared: Arc::new(shared),
            failed: false,
            log_floor: 0,
            change_rows_bytes_max: feed::CHANGE_ROWS_BYTES_MAX,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        })
    }

    /// The last slot whose entry is applied; 0: none.
    pub fn applied_slot(&self) -> u64 {
        self.state.applied_slot
    }

    /// The last [`Effect::Group`] with its slot; none if there was none, also in a store whose early
    /// entries were applied before such facts were kept.
    pub fn group(&self) -> Option<(u64, Bytes)> {
        self.state.group.as_ref().map(|group| (group.slot, group.bytes.clone()))
    }

    /// Applies entries and answers one outcome for each. All of them, and the applied slot, are one
    /// engine batch; how entries are cut into batches changes nothing that can be seen.
    ///
    /// # Errors
    /// This node's trouble. Nothing of the batch is then to be relied on, and every later call
    /// fails.
    ///
    /// # Panics
    /// If the slots do not follow the applied one without a gap.
    pub fn apply(&mut self, entries: &[Entry<'_>]) -> Result<Vec<Outcome>, Fatal> {
        if self.failed {
            return Err(Fatal::Stopped);
        }
        let result = self.apply_batch(entries);
        self.failed = result.is_err();
        result
    }

    /// A handle for queries on other threads.
    pub fn reader(&self) -> Reader<E> {
        Reader::new(self.engine.snapshots(), Arc::clone(&self.shared))
    }

    /// Makes everything applied so far durable.
    ///
    /// # Errors
    /// This node's trouble: every later call fails.
    pub fn persist(&mut self) -> Result<(), Fatal> {
        if self.failed {
            return Err(Fatal::Stopped);
        }
        let result = self.engine.persist();
        self.failed = result.is_err();
        Ok(result?)
    }

    /// The applied slot and the hash of the content at it: catalog, documents, key-value pairs,
    /// references with their answers, the last group fact. The same on every node that applied the same entries, however
    /// they were batched and whatever the engine.
    ///
    /// # Errors
    /// If the engine fails or finds damage.
    pub fn content_hash(&self) -> Result<(u64, ContentHash), Fatal> {
        let view = self.engine.view();
        Ok((self.state.applied_slot, content_hash(&view, &self.state)?))
    }

    /// Checks by reading everything that indexes, counts and memory agree with the documents.
    ///
    /// # Errors
    /// The first thing that does not agree, as damage.
    pub fn verify(&self) -> Result<(), Fatal> {
        let view = self.engine.view();
        apply::verify(&view, &self.state)?;
        let mut stored = State::load(&view, Meta::read(&view)?)?;
        stored.references = stored.references.with_limits_of(&self.state.references);
        if stored != self.state {
            return Err(Fatal::Damaged("what is in memory is not what is stored".to_owned()));
        }
        Ok(())
    }

    /// How many collections there are, and how many documents in them.
    pub fn documents(&self) -> (usize, u64) {
        (self.state.catalog.collections.len(), self.state.counts.values().sum())
    }

    /// As [`Store::verify`], and reads every other row as well; `watch` is told now and then how many rows were read.
    ///
    /// # Errors
    /// The first thing that does not agree, as damage.
    pub fn verify_watched(&self, watch: &dyn Fn(u64)) -> Result<(), Fatal> {
        let view = Watched { inner: self.engine.view(), rows: Cell::default(), watch };
        apply::verify(&view, &self.state)?;
        content_hash(&view, &self.state)?;
        let (from, to) = keys::family_range(keys::family::PAIR);
        for row in view.range(&from, &to, Direction::Forward) {
            let (key, _) = row?;
            let name = std::str::from_utf8(&key[1..]);
            let name =
                name.map_err(|_| Fatal::Damaged(format!("the key at {key:02x?} is no text")))?;
            pairs::read(&view, name).map_err(|failure| match failure {
                Failure::Fatal(fatal) => fatal,
                Failure::Rejected(error) => Fatal::Damaged(error.to_string()),
            })?;
        }
        Ok(())
    }

    /// The log holds no entries up to this slot any more: what the store keeps to tell their changes goes with
    /// later batches.
    pub fn log_was_cut(&mut self, upto: u64) {
        self.log_floor = self.log_floor.max(upto);
    }

    /// The engine, for its own measures.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Gives the engine back.
    pub fn into_engine(self) -> E {
        self.engine
    }

    /// Plants a bug, for a test that must notice it.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: crate::PlantedBug) {
        self.planted = Some(bug);
    }

    /// Another bound of change rows, for tests.
    #[cfg(feature = "planted-bugs")]
    pub fn set_change_rows_bytes_max(&mut self, bytes: u64) {
        self.change_rows_bytes_max = bytes;
    }

    /// Other bounds of the reference table, for tests.
    #[cfg(feature = "planted-bugs")]
    pub fn set_reference_limits(&mut self, count: usize, bytes: u64) {
        self.state.references.set_limits(count, bytes);
    }

    fn apply_batch(&mut self, entries: &[Entry<'_>]) -> Result<Vec<Outcome>, Fatal> {
        let mut overlay = Overlay::new(self.engine.view());
        let change_rows = self.state.change_rows;
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            let next = self.state.applied_slot + 1;
            assert!(entry.slot == next, "slot {} applied where {next} follows", entry.slot);
            self.state.applied_slot = entry.slot;
            outcomes.push(self.apply_entry(&mut overlay, entry)?);
        }
        if outcomes.is_empty() {
            return Ok(outcomes);
        }
        self.applying(&mut overlay, 0).sweep()?;
        let (floor, bytes_max) = (self.log_floor, self.change_rows_bytes_max);
        feed::trim(&mut overlay, &mut self.state, change_rows, floor, bytes_max)?;
        let meta = Meta {
            applied_slot: self.state.applied_slot,
            catalog_version: self.state.catalog_version,
            next_collection: self.state.next_collection,
        };
        #[cfg(feature = "planted-bugs")]
        if self.planted == Some(crate::PlantedBug::SlotInAnotherBatch) {
            self.engine.commit(
                std::mem::replace(&mut overlay, Overlay::new(self.engine.view())).into_batch(),
            )?;
        }
        overlay.put(keys::meta(), meta.encode());
        self.engine.commit(overlay.into_batch())?;
        // Readers that see this slot must see its effects: the commit stands before it.
        self.shared.applied_slot.store(self.state.applied_slot, Ordering::Release);
        Ok(outcomes)
    }

    fn applying<'a>(
        &'a mut self,
        overlay: &'a mut Overlay<ViewOf<E>>,
        time_ms: u64,
    ) -> Applying<'a, ViewOf<E>> {
        Applying {
            overlay,
            state: &mut self.state,
            time_ms,
            #[cfg(feature = "planted-bugs")]
            planted: self.planted,
        }
    }

    fn apply_entry(
        &mut self,
        overlay: &mut Overlay<ViewOf<E>>,
        entry: &Entry<'_>,
    ) -> Result<Outcome, Fatal> {
        let slot = entry.slot;
        let is_building = !self.state.building.is_empty();
        let nothing = Outcome { slot, reference: None, answer: None, repeated: false, is_building };
        let bytes = match entry.effect {
            Effect::Blank => return Ok(nothing),
            Effect::Group(bytes) => {
                let group = Group { slot, bytes: Bytes::copy_from_slice(bytes) };
                overlay.put(keys::group(), group.encode());
                self.state.group = Some(group);
                return Ok(nothing);
            }
            Effect::Command(bytes) => bytes,
        };
        let command = Command::decode(bytes).map_err(|error| Fatal::Command { slot, error })?;
        let (answer, repeated) = self.apply_command(overlay, slot, &command)?;
        Ok(Outcome {
            slot,
            reference: Some(command.reference),
            answer: Some(answer),
            repeated,
            is_building: !self.state.building.is_empty(),
        })
    }

    fn note_nothing(
        &mut self,
        overlay: &mut Overlay<ViewOf<E>>,
        slot: u64,
        request: &api::Request,
    ) {
        #[cfg(feature = "planted-bugs")]
        if self.planted == Some(crate::PlantedBug::RefusalsLookDone) {
            return;
        }
        feed::note_nothing(overlay, &mut self.state, slot, request);
    }

    fn apply_command(
        &mut self,
        overlay: &mut Overlay<ViewOf<E>>,
        slot: u64,
        command: &Command,
    ) -> Result<(Result<Value, Error>, bool), Fatal> {
        let reference = &command.reference;
        if reference.sequence == u64::MAX {
            // The mark that forgets it could not be written.
            self.note_nothing(overlay, slot, &command.request);
            return Ok((Err(bad_request("ref: the sequence is too great")), false));
        }
        match self.state.references.find(reference) {
            Known::Forgotten => {
                self.note_nothing(overlay, slot, &command.request);
                Ok((Err(forgotten(reference)), false))
            }
            Known::Answered(first) => {
                self.note_nothing(overlay, slot, &command.request);
                let answer = self.state.references.answer(overlay, first);
                self.state.references.acknowledge(overlay, reference, command.acked, slot);
                let answer = split(answer)?;
                Ok((answer.and_then(|answer| answer), true))
            }
            Known::New => {
                overlay.savepoint();
                let result = self.applying(overlay, command.time_ms).run(&command.request);
                if let Err(Failure::Rejected(_)) = result
                    && !self.keeps_what_a_refused_batch_did(&command.request)
                {
                    overlay.roll_back();
                }
                let answer = split(result)?;
                // Before the references are touched: those are not followed.
                match &answer {
                    Ok(_) => feed::note_effect(overlay, &mut self.state, slot, &command.request)?,
                    Err(_) => self.note_nothing(overlay, slot, &command.request),
                }
                #[cfg(feature = "planted-bugs")]
                if self.planted == Some(crate::PlantedBug::ReferencesNotWritten) {
                    return Ok((answer, false));
                }
                self.state.references.record(overlay, reference, command.acked, slot, &answer);
                Ok((answer, false))
            }
        }
    }
}

#[cfg(feature = "planted-bugs")]
impl<E: Engine> Store<E> {
    fn keeps_what_a_refused_batch_did(&self, request: &api::Request) -> bool {
        self.planted == Some(crate::PlantedBug::BatchStays)
            && matches!(request, api::Request::Batch { .. })
    }
}

#[cfg(not(feature = "planted-bugs"))]
impl<E: Engine> Store<E> {
    #[expect(clippy::unused_self, reason = "the same call in both builds")]
    fn keeps_what_a_refused_batch_did(&self, _request: &api::Request) -> bool {
        false
    }
}

/// Hashes every row of the logical content, each with its length, in key order.
/// Rows between two words to who watches.
const ROWS_PER_WORD: u64 = 4096;

/// A view that tells how much was read through it.
struct Watched<'w, V> {
    inner: V,
    rows: Cell<u64>,
    watch: &'w dyn Fn(u64),
}

impl<V> Watched<'_, V> {
    fn count(&self) {
        let rows = self.rows.get() + 1;
        self.rows.set(rows);
        if rows.is_multiple_of(ROWS_PER_WORD) {
            (self.watch)(rows);
        }
    }
}

impl<V: View> View for Watched<'_, V> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.count();
        self.inner.get(key)
    }

    fn range(&self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'_> {
        Box::new(self.inner.range(from, to, direction).inspect(|_| self.count()))
    }
}

fn content_hash(view: &impl View, state: &State) -> Result<ContentHash, Fatal> {
    let mut ranges = vec![
        keys::prefix_range(&keys::group()),
        keys::family_range(keys::family::CATALOG),
        keys::family_range(keys::family::BUILD),
        keys::family_range(keys::family::PAIR),
        keys::family_range(keys::family::REFERENCE),
        keys::family_range(keys::family::CLIENT),
    ];
    // Rows of destroyed collections go at a pace that depends on batching.
    for collection in state.catalog.collections.values() {
        ranges.push(keys::prefix_range(&keys::documents(collection.number)));
    }
    let mut hasher = Xxh3::new();
    hasher.update(&state.next_collection.to_be_bytes());
    for (from, to) in ranges {
        for row in view.range(&from, &to, Direction::Forward) {
            let (key, value) = row?;
            for bytes in [key, value] {
                hasher.update(&(bytes.len() as u64).to_be_bytes());
                hasher.update(&bytes);
            }
        }
    }
    Ok(hasher.digest128().to_be_bytes())
}
