//! The watch thread: tells clients what changes (`docs/design/watch.md`).
//!
//! A watch is a request for the next part of a feed, from a place on. Where the feed has gone on already, it is
//! answered from the log's entries and the store's change rows. Else it waits, and is woken by what is applied.
//!
//! What costs: nothing while nobody watches; then one look at each applied change, however many watch, and an
//! answer for each of those whom it concerns.
//!
//! Invariants:
//! 1. Whoever waits has no event between the place it asked for and the end of `seen`.
//! 2. An answer's `next` is behind all its events, and no event that is wanted lies between the two.
//!
//! Bounds: watches are requests under way, which the event loop bounds; an answer has the frame's size at most;
//! one round of answers takes [`ROUND_BYTES_MAX`] together; [`Recent`] keeps [`RECENT_BYTES_MAX`].

use crate::apply_thread::{Decided, cost_bytes};
use crate::cursors::FRAMING_BYTES;
use crate::error::ServerError;
use crate::inbox::{Alarm, Inbox};
use crate::log_thread::LogJob;
use crate::queue::{Queue, Taken};
use crate::readers::SharedReader;
use api::encode::place as place_value;
use api::limits::PAGE_ITEMS_DEFAULT;
use api::{Document, Error, ErrorCode, Place, Subject, Value, Watch, json};
use paxos::{Entry, Slot};
use replica::{Effect, RequestId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use store::{Change, Fatal, Interest};

/// Bytes of applied entries that are kept at hand, while somebody watches.
const RECENT_BYTES_MAX: usize = 8 << 20;
/// Bytes of entries that are read from the log at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of entries after which a part without events is answered, so that others have their turn.
const SCANNED_BYTES_MAX: usize = 16 << 20;
/// Bytes of events after which an answer takes no more, unless its first event alone is longer.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of events of all the answers of one round.
const ROUND_BYTES_MAX: usize = 64 << 20;
/// How long the log thread may take: it may be waiting for the disk.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// The way to the watch thread.
pub(crate) struct Watches {
    queue: Queue<WatchJob>,
    /// Watches that are not answered yet.
    open: AtomicUsize,
    recent: Mutex<Recent>,
}

enum WatchJob {
    Begin(Watching),
    /// Something was applied.
    Applied,
    /// The node stops: nobody is to wait any more.
    Stop,
}

/// A watch that came in.
pub(crate) struct Watching {
    pub(crate) id: RequestId,
    pub(crate) watch: Watch,
    pub(crate) deadline: Instant,
    pub(crate) answer_bytes_max: usize,
}

/// The entries applied last, without gaps.
#[derive(Default)]
struct Recent {
    entries: VecDeque<Decided>,
    bytes: usize,
}

impl Watches {
    pub(crate) fn new() -> Watches {
        let (open, recent) = (AtomicUsize::new(0), Mutex::default());
        Watches { queue: Queue::new(), open, recent }
    }

    /// Takes a watch in; the answer comes through the inbox, at its deadline at the latest.
    pub(crate) fn begin(&self, watching: Watching) {
        // Before the watch thread looks what is applied: whatever is applied after that look is told of.
        self.open.fetch_add(1, Ordering::SeqCst);
        self.queue.push(WatchJob::Begin(watching));
    }

    /// These were applied, and readers can see it.
    pub(crate) fn applied(&self, batch: &[Decided]) {
        let mut recent = self.recent();
        if self.open.load(Ordering::SeqCst) == 0 {
            *recent = Recent::default();
            return;
        }
        recent.add(batch);
        drop(recent);
        self.queue.push(WatchJob::Applied);
    }

    /// A snapshot is the store now.
    pub(crate) fn switched(&self) {
        *self.recent() = Recent::default();
        self.queue.push(WatchJob::Applied);
    }

    /// Adds how many watches are open to a node's status.
    pub(crate) fn describe(&self, status: &mut Document) {
        let count = self.open.load(Ordering::SeqCst);
        status.insert("watches", i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The node stops: whoever waits is sent away.
    pub(crate) fn stop(&self) {
        self.queue.push(WatchJob::Stop);
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watches").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Recent {
    fn add(&mut self, batch: &[Decided]) {
        let (Some((first, _)), last) = (batch.first(), self.entries.back()) else { return };
        if last.is_some_and(|(last, _)| last.next() != *first) {
            *self = Recent::default();
        }
        self.bytes += batch.iter().map(cost_bytes).sum::<usize>();
        self.entries.extend(batch.iter().cloned());
        while self.bytes > RECENT_BYTES_MAX
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= cost_bytes(&oldest);
        }
    }

    /// Some of the entries from `from` on, if they are here.
    fn from(&self, from: Slot, upto: Slot) -> Option<Vec<Decided>> {
        let (first, _) = self.entries.front()?;
        let skipped = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        let mut bytes = 0;
        let wanted = self.entries.iter().skip(skipped).take_while(|entry| {
            let is_wanted = entry.0 <= upto && bytes < CHUNK_BYTES;
            bytes += cost_bytes(entry);
            is_wanted
        });
        let found: Vec<Decided> = wanted.cloned().collect();
        (!found.is_empty()).then_some(found)
    }
}

pub(crate) struct WatchThread {
    pub(crate) watches: Arc<Watches>,
    pub(crate) reader: SharedReader,
    pub(crate) log: Arc<Queue<LogJob>>,
    pub(crate) path: PathBuf,
    pub(crate) inbox: Arc<Inbox>,
}

impl WatchThread {
    /// Starts the thread; it ends when [`Watches::close`] is called.
    ///
    /// # Errors
    /// [`ServerError::Thread`].
    pub(crate) fn spawn(self) -> Result<JoinHandle<()>, ServerError> {
        let start = || {
            let _alarm = Alarm { inbox: Arc::clone(&self.inbox), part: "watch" };
            let (inbox, path) = (Arc::clone(&self.inbox), self.path.clone());
            if let Err(source) = Worker::new(self).run() {
                inbox.fail(ServerError::Store { path, source });
            }
        };
        let spawned = thread::Builder::new().name("mondongo-watch".into()).spawn(start);
        spawned.map_err(|source| ServerError::Thread { what: "the watch thread", source })
    }
}

struct Worker {
    thread: WatchThread,
    waiting: BTreeMap<RequestId, Watcher>,
    collections: BTreeMap<String, BTreeSet<RequestId>>,
    keys: BTreeMap<String, BTreeSet<RequestId>>,
    prefixes: BTreeMap<String, BTreeSet<RequestId>>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    /// Whoever waits has been told of everything up to this slot.
    seen: Slot,
    is_stopping: bool,
}

/// Why changes cannot be told now.
enum Trouble {
    /// Those up to this slot are not kept.
    Compacted(Slot),
    /// The log thread takes long.
    Busy,
    Fatal(Fatal),
}

impl From<Fatal> for Trouble {
    fn from(fatal: Fatal) -> Trouble {
        Trouble::Fatal(fatal)
    }
}

impl Worker {
    fn new(thread: WatchThread) -> Worker {
        Worker {
            thread,
            waiting: BTreeMap::new(),
            collections: BTreeMap::new(),
            keys: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            seen: Slot::ZERO,
            is_stopping: false,
        }
    }

    fn run(&mut self) -> Result<(), Fatal> {
        loop {
            let now = Instant::now();
            let wait = self.deadlines.first().map(|(at, _)| at.saturating_duration_since(now));
            match self.thread.watches.queue.take(usize::MAX, wait) {
                Taken::Items(jobs) => {
                    let mut is_applied = false;
                    for job in jobs {
                        match job {
                            WatchJob::Begin(watching) => self.begin(watching)?,
                            WatchJob::Applied => is_applied = true,
                            WatchJob::Stop => self.stop(),
                        }
                    }
                    if is_applied {
                        self.tell_applied()?;
                    }
                }
                Taken::Nothing => {}
                Taken::Closed => return Ok(()),
            }
            self.expire();
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        let waiting: Vec<RequestId> = self.waiting.keys().copied().collect();
        for id in waiting {
            self.remove(id);
            self.answer(id, Err(stopping()));
        }
    }

    fn begin(&mut self, watching: Watching) -> Result<(), Fatal> {
        let applied = Slot(self.thread.reader.lock().applied_slot());
        let Watching { id, watch, deadline, answer_bytes_max } = watching;
        if self.is_stopping {
            self.answer(id, Err(stopping()));
            return Ok(());
        }
        let now = Place { slot: applied.0 + 1, position: 0 };
        let from = match watch.from {
            Some(from) => from.max(Place { slot: 1, position: 0 }),
            // Where to begin: everything that was acknowledged is before it.
            None => {
                self.answer(id, Ok(page_answer(Vec::new(), now)));
                return Ok(());
            }
        };
        let interest = match Interest::of(&watch) {
            Ok(interest) => interest,
            Err(error) => {
                self.answer(id, Err(error));
                return Ok(());
            }
        };
        let page = Page::new(from, watch.batch, answer_bytes_max);
        let mut watcher = Watcher { interest, deadline, page };
        match self.catch_up(&mut watcher, applied) {
            Ok(()) => {}
            Err(Trouble::Fatal(fatal)) => return Err(fatal),
            Err(trouble) => {
                self.answer(id, trouble.into_answer());
                return Ok(());
            }
        }
        if watcher.page.is_to_be_answered() || Instant::now() >= deadline {
            self.answer(id, watcher.page.finish());
            return Ok(());
        }
        if self.waiting.is_empty() {
            self.seen = self.seen.max(applied);
        }
        self.wait(id, watcher);
        Ok(())
    }

    /// Fills a watcher's page with what was applied up to `applied`.
    fn catch_up(&self, watcher: &mut Watcher, applied: Slot) -> Result<(), Trouble> {
        let mut scanned_bytes = 0;
        while watcher.page.next.slot <= applied.0 && !watcher.page.is_full() {
            let entries = self.entries(Slot(watcher.page.next.slot), applied)?;
            let reader = self.thread.reader.lock();
            let feed = reader.feed()?;
            if feed.trimmed_slot() >= watcher.page.next.slot {
                return match watcher.page.events.is_empty() {
                    true => Err(Trouble::Compacted(Slot(feed.trimmed_slot()))),
                    false => Ok(()),
                };
            }
            for (slot, effect) in &entries {
                let from = watcher.page.next.position;
                let ended =
                    feed.changes(slot.0, effect.as_store(), from, &mut |position, change| {
                        let place = Place { slot: slot.0, position };
                        watcher.offer(place, &change, usize::MAX)
                    })?;
                if !ended {
                    return Ok(());
                }
                watcher.page.next = Place { slot: slot.0 + 1, position: 0 };
                scanned_bytes += cost_bytes(&(*slot, effect.clone()));
            }
            if scanned_bytes >= SCANNED_BYTES_MAX {
                watcher.page.has_more = true;
            }
        }
        Ok(())
    }

    /// Tells those who wait what was applied since they were told last.
    fn tell_applied(&mut self) -> Result<(), Fatal> {
        let applied = Slot(self.thread.reader.lock().applied_slot());
        while self.seen < applied {
            if self.waiting.is_empty() {
                self.seen = applied;
                break;
            }
            match self.tell_some(applied) {
                Ok(()) => {}
                // The next entry that is applied tries again, or the deadline ends it.
                Err(Trouble::Busy) => break,
                Err(Trouble::Fatal(fatal)) => return Err(fatal),
                Err(Trouble::Compacted(slot)) => {
                    let concerned: Vec<RequestId> = (self.waiting.iter())
                        .filter(|(_, watcher)| watcher.page.next.slot <= slot.0)
                        .map(|(id, _)| *id)
                        .collect();
                    for id in concerned {
                        self.remove(id);
                        self.answer(id, Trouble::Compacted(slot).into_answer());
                    }
                    self.seen = self.seen.max(slot);
                }
            }
        }
        Ok(())
    }

    fn tell_some(&mut self, applied: Slot) -> Result<(), Trouble> {
        let entries = self.entries(self.seen.next(), applied)?;
        let reader = self.thread.reader.clone();
        let reader = reader.lock();
        let feed = reader.feed()?;
        if feed.trimmed_slot() > self.seen.0 {
            return Err(Trouble::Compacted(Slot(feed.trimmed_slot())));
        }
        let mut round_bytes = 0;
        let mut concerned = BTreeSet::new();
        for (slot, effect) in &entries {
            feed.changes(slot.0, effect.as_store(), 0, &mut |position, change| {
                let place = Place { slot: slot.0, position };
                for id in self.watchers_of(&change) {
                    let Some(watcher) = self.waiting.get_mut(&id) else { continue };
                    if place >= watcher.page.next && !watcher.page.is_full() {
                        let before = watcher.page.bytes;
                        watcher.offer(place, &change, ROUND_BYTES_MAX.saturating_sub(round_bytes));
                        round_bytes += watcher.page.bytes - before;
                        if watcher.page.is_to_be_answered() {
                            concerned.insert(id);
                        }
                    }
                }
                true
            })?;
            self.seen = *slot;
        }
        drop(reader);
        let end = Place { slot: self.seen.0 + 1, position: 0 };
        for id in concerned {
            let Some(mut watcher) = self.remove(id) else { continue };
            if !watcher.page.is_full() {
                watcher.page.next = watcher.page.next.max(end);
            }
            self.answer(id, watcher.page.finish());
        }
        Ok(())
    }

    /// Some of the entries from `from` on, at least one.
    fn entries(&self, from: Slot, upto: Slot) -> Result<Vec<Decided>, Trouble> {
        if let Some(entries) = self.thread.watches.recent().from(from, upto) {
            return Ok(entries);
        }
        let (answer, answered) = mpsc::channel();
        self.thread.log.push(LogJob::Tell { from, upto, bytes_max: CHUNK_BYTES, answer });
        let told: Result<Vec<Entry>, Slot> =
            answered.recv_timeout(LOG_PATIENCE).map_err(|_| Trouble::Busy)?;
        let entries = told.map_err(Trouble::Compacted)?;
        assert!(!entries.is_empty(), "the log holds what is applied");
        let slots = (from.0..).map(Slot);
        Ok(slots.zip(entries.into_iter().map(|entry| Effect::of(entry.payload))).collect())
    }

    fn watchers_of(&self, change: &Change) -> Vec<RequestId> {
        let mut found = Vec::new();
        match change {
            Change::Write { key, .. } => {
                found.extend(self.keys.get(key).into_iter().flatten());
                if !self.prefixes.is_empty() {
                    let ends = key.char_indices().map(|(end, _)| end).chain([key.len()]);
                    for end in ends {
                        found.extend(self.prefixes.get(&key[..end]).into_iter().flatten());
                    }
                }
            }
            Change::Insert { collection, .. }
            | Change::Update { collection, .. }
            | Change::Delete { collection, .. }
            | Change::Create { collection }
            | Change::Destroy { collection } => {
                found.extend(self.collections.get(collection).into_iter().flatten());
            }
        }
        found
    }

    fn wait(&mut self, id: RequestId, watcher: Watcher) {
        let (index, name) = self.index_of(watcher.interest.subject());
        index.entry(name).or_default().insert(id);
        self.deadlines.insert((watcher.deadline, id));
        self.waiting.insert(id, watcher);
    }

    fn remove(&mut self, id: RequestId) -> Option<Watcher> {
        let watcher = self.waiting.remove(&id)?;
        self.deadlines.remove(&(watcher.deadline, id));
        let (index, name) = self.index_of(watcher.interest.subject());
        if let Some(ids) = index.get_mut(&name) {
            ids.remove(&id);
            if ids.is_empty() {
                index.remove(&name);
            }
        }
        Some(watcher)
    }

    fn index_of(
        &mut self,
        subject: &Subject,
    ) -> (&mut BTreeMap<String, BTreeSet<RequestId>>, String) {
        match subject {
            Subject::Collection(name) => (&mut self.collections, name.clone()),
            Subject::Key(key) => (&mut self.keys, key.clone()),
            Subject::Prefix(prefix) => (&mut self.prefixes, prefix.clone()),
        }
    }

    /// Answers those whose time is over with the place up to which nothing has happened.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            let Some(mut watcher) = self.remove(id) else { return };
            let end = Place { slot: self.seen.0 + 1, position: 0 };
            watcher.page.next = watcher.page.next.max(end);
            self.answer(id, watcher.page.finish());
        }
    }

    fn answer(&self, id: RequestId, answer: Result<Value, Error>) {
        self.thread.watches.open.fetch_sub(1, Ordering::SeqCst);
        self.thread.inbox.put(|mail| mail.answers.push((id, answer)));
    }
}

struct Watcher {
    interest: Interest,
    deadline: Instant,
    page: Page,
}

impl Watcher {
    /// Adds a change, if it is asked for; false if the page takes no more.
    fn offer(&mut self, place: Place, change: &Change, bytes_left: usize) -> bool {
        match self.interest.admits(change) {
            Ok(true) => self.page.add(place, event(place, change), bytes_left),
            Ok(false) => true,
            Err(error) => {
                self.page.next = place;
                self.page.refuse(error);
                false
            }
        }
    }
}

/// An answer while it is being filled.
struct Page {
    events: Vec<Value>,
    bytes: usize,
    /// Where the next one begins.
    next: Place,
    /// It ends before there is nothing more to tell.
    has_more: bool,
    error: Option<Error>,
    items_max: u64,
    frame_bytes: usize,
    scratch: Vec<u8>,
}

impl Page {
    fn new(next: Place, batch: Option<u64>, answer_bytes_max: usize) -> Page {
        Page {
            events: Vec::new(),
            bytes: 0,
            next,
            has_more: false,
            error: None,
            items_max: batch.unwrap_or(PAGE_ITEMS_DEFAULT),
            frame_bytes: answer_bytes_max - FRAMING_BYTES,
            scratch: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.has_more || self.error.is_some()
    }

    fn is_to_be_answered(&self) -> bool {
        self.is_full() || !self.events.is_empty()
    }

    fn refuse(&mut self, error: Error) {
        if self.events.is_empty() {
            self.error = Some(error);
        }
        self.has_more = true;
    }

    fn add(&mut self, place: Place, event: Value, bytes_left: usize) -> bool {
        let length = json::length(&event, &mut self.scratch) + 1;
        let is_first = self.events.is_empty();
        let bytes_max = PAGE_BYTES_MAX.min(self.frame_bytes).min(bytes_left.max(1));
        let is_too_much = self.bytes + length > bytes_max && !is_first;
        if self.events.len() as u64 >= self.items_max || is_too_much {
            (self.has_more, self.next) = (true, place);
            return false;
        }
        if length > self.frame_bytes {
            self.next = place;
            self.refuse(Error::new(
                ErrorCode::ResultTooLarge,
                format!(
                    "the change at [{},{}] takes {length} bytes of JSON, more than the {} that fit this \
                     answer; send [\"hello\",{{\"frame\":4}}] first, or go on from [{},{}]",
                    place.slot,
                    place.position,
                    self.frame_bytes,
                    place.slot,
                    place.position + 1
                ),
            ));
            return false;
        }
        self.bytes += length;
        self.events.push(event);
        self.next = Place { position: place.position + 1, ..place };
        true
    }

    fn finish(self) -> Result<Value, Error> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(page_answer(self.events, self.next)),
        }
    }
}

impl Trouble {
    fn into_answer(self) -> Result<Value, Error> {
        let (code, message) = match self {
            Trouble::Compacted(slot) => (
                ErrorCode::Compacted,
                format!(
                    "changes up to slot {slot} are not kept at this node any more (serve --log-retain-mib): ask \
                     another node, or read what there is now and watch from a place of now on"
                ),
            ),
            Trouble::Busy | Trouble::Fatal(_) => (
                ErrorCode::Busy,
                "the log of this node is busy; try again or another member".into(),
            ),
        };
        Err(Error::new(code, message))
    }
}

fn stopping() -> Error {
    Error::new(ErrorCode::Stopping, "this node is stopping; go on at another member")
}

fn page_answer(events: Vec<Value>, next: Place) -> Value {
    let mut answer = Document::new();
    answer.insert("events", events);
    answer.insert("next", place_value(next));
    Value::Document(answer)
}

fn event(place: Place, change: &Change) -> Value {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut event = Document::new();
    event.insert("slot", number(place.slot));
    event.insert("position", number(place.position));
    let mut of = |operation: &str, kind: &str, name: &str| {
        event.insert("op", operation);
        event.insert(kind, name);
    };
    match change {
        Change::Insert { collection, document } | Change::Update { collection, document } => {
            let is_new = matches!(change, Change::Insert { .. });
            of(if is_new { "insert" } else { "update" }, "collection", collection);
            event.insert("_id", document.get("_id").cloned().unwrap_or(Value::Null));
            event.insert("document", document.clone());
        }
        Change::Delete { collection, id } => {
            of("delete", "collection", collection);
            event.insert("_id", id.clone());
        }
        Change::Write { key, value } => {
            of("write", "key", key);
            event.insert("value", value.clone());
        }
        Change::Create { collection } => of("create", "collection", collection),
        Change::Destroy { collection } => of("destroy", "collection", collection),
    }
    Value::Document(event)
}
