//! Long results that wait to be read on (`docs/design/cursors.md`).
//!
//! A cursor's name says which page is wanted: the node's start, the cursor's number, and how many pages are
//! behind. The page before is kept, as a place, so that a request whose answer was lost can be sent again.
//!
//! Bounds: the number of cursors of a node and of a connection, the bytes they hold, the time they wait, and
//! their age. A result that nobody asked to have in parts gives way to any other, and waits less.
//!
//! Invariant: a cursor is read only while [`crate::readers::SharedReader`] is locked, so that its rows are those
//! of a store that is there.

use api::limits::PAGE_ITEMS_DEFAULT;
use api::{Document, Error, ErrorCode, Request, Value};
use gateway::Origin;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store::{Fatal, FjallEngine, FjallView, Found, Page, PageLimits, PageStart, Pages, Reader};

/// Most cursors of one node.
pub(crate) const CURSORS_MAX: usize = 1_000;
/// Most cursors that one connection has opened.
pub(crate) const CURSORS_PER_CONNECTION_MAX: usize = 100;
/// Most bytes of memory that the cursors of a node hold.
const HELD_BYTES_MAX: usize = 256 << 20;
/// How long a cursor waits at most that was opened because a result did not fit, or that has given all.
const UNASKED_TIMEOUT: Duration = Duration::from_secs(60);
/// How old a cursor may grow, however often it is asked for: while it lives, the store keeps what it sees.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Bytes of an answer besides the documents in it.
pub(crate) const FRAMING_BYTES: usize = 256;
/// How long a cursor waits if nobody says otherwise.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);

const _: () = assert!(FRAMING_BYTES < api::limits::SHORT_FRAME_BYTES_MAX);

/// The cursors of one node.
pub(crate) struct Cursors {
    /// Names this start of this node.
    start: String,
    timeout: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    cursors: BTreeMap<u64, Cursor>,
    held_bytes: usize,
    last: u64,
}

struct Cursor {
    /// None while a page is read.
    pages: Option<Arc<Pages<FjallView>>>,
    held_bytes: usize,
    connection: u64,
    items: u64,
    was_asked_for: bool,
    /// Its last page was given. It stays a little, in case that answer was lost.
    is_finished: bool,
    opened: Instant,
    used: Instant,
    /// How many pages are behind.
    given: u64,
    /// Where the last page began that was given, and where the next one does.
    before: Option<PageStart>,
    next: PageStart,
}

/// What a cursor's name says.
struct Name {
    number: u64,
    page: u64,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursors").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Cursors {
    /// No cursors. `start` names this start of this node: no other cursor anywhere is called so.
    pub(crate) fn new(start: String, timeout: Duration) -> Cursors {
        Cursors { start, timeout, table: Mutex::default() }
    }

    /// Answers a query of the store, and what is asked of a cursor.
    ///
    /// # Errors
    /// Outside, this node's trouble; inside, what is wrong with the request.
    pub(crate) fn answer(
        &self,
        reader: &Reader<FjallEngine>,
        request: &Request,
        origin: Origin,
    ) -> Result<Result<Value, Error>, Fatal> {
        let bytes_max = origin.answer_bytes_max - FRAMING_BYTES;
        let found: Found<FjallView> = match request {
            Request::Next { cursor, batch, pass_long } => {
                return self.next(cursor, *batch, bytes_max, *pass_long);
            }
            Request::Close { cursor } => return Ok(Ok(Value::Boolean(self.close(cursor)))),
            request => match reader.query_within(request, bytes_max)? {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            },
        };
        match found {
            Found::Whole(value) => Ok(Ok(value)),
            Found::Pages(pages) => {
                let (batch, pass_long) = match request {
                    Request::Search { search, .. } => (search.batch, search.pass_long),
                    Request::Aggregate { batch, .. } => (*batch, false),
                    _ => (None, false),
                };
                self.open(pages, batch, origin.connection, bytes_max, pass_long)
            }
            Found::TooLong(pages) => {
                let cursor = self.keep(pages, origin.connection);
                let bytes_max = origin.answer_bytes_max;
                Ok(Err(Error::too_long_for_one_answer(bytes_max, cursor.as_deref())))
            }
        }
    }

    /// Answers the first page, and keeps the rest.
    ///
    /// # Errors
    /// As [`Pages::page`]; [`ErrorCode::Busy`] if there are too many cursors.
    fn open(
        &self,
        pages: Pages<FjallView>,
        items: Option<u64>,
        connection: u64,
        bytes_max: usize,
        pass_long: bool,
    ) -> Result<Result<Value, Error>, Fatal> {
        let items = items.unwrap_or(PAGE_ITEMS_DEFAULT);
        let limits = PageLimits { items, bytes: bytes_max };
        let page = match read(&pages, &PageStart::default(), limits, pass_long)? {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let Page { items: documents, next, too_long } = page;
        let Some(next) = next else { return Ok(Ok(answer(documents, too_long, None))) };
        let mut cursor = Cursor::new(pages, items, connection, true);
        (cursor.given, cursor.before, cursor.next) = (1, Some(PageStart::default()), next);
        let number = self.add(cursor);
        Ok(number.map(|number| answer(documents, too_long, Some(self.name(number, 1)))))
    }

    /// Keeps a result that did not fit its answer; its cursor, unless there are too many.
    fn keep(&self, pages: Pages<FjallView>, connection: u64) -> Option<String> {
        let cursor = Cursor::new(pages, PAGE_ITEMS_DEFAULT, connection, false);
        self.add(cursor).ok().map(|number| self.name(number, 0))
    }

    /// Answers the page that a cursor names.
    ///
    /// # Errors
    /// As [`Pages::page`]; [`ErrorCode::CursorGone`]; [`ErrorCode::Busy`] if it is being read.
    fn next(
        &self,
        name: &str,
        items: Option<u64>,
        bytes_max: usize,
        pass_long: bool,
    ) -> Result<Result<Value, Error>, Fatal> {
        let Some(Name { number, page }) = self.parse(name) else { return Ok(Err(gone(name))) };
        let (pages, from, items) = {
            let mut table = self.lock();
            self.drop_expired(&mut table, Instant::now());
            let Some(cursor) = table.cursors.get_mut(&number) else { return Ok(Err(gone(name))) };
            let from = match cursor.given.checked_sub(page) {
                Some(0) => cursor.next.clone(),
                Some(1) => cursor.before.clone().unwrap_or_default(),
                _ => return Ok(Err(gone(name))),
            };
            let Some(pages) = cursor.pages.take() else {
                let message = "the cursor is being read by another request; one after the other";
                return Ok(Err(Error::new(ErrorCode::Busy, message)));
            };
            (pages, from, items.unwrap_or(cursor.items))
        };
        let read = read(&pages, &from, PageLimits { items, bytes: bytes_max }, pass_long);
        let mut table = self.lock();
        // It may have been closed meanwhile.
        let Some(cursor) = table.cursors.get_mut(&number) else { return Ok(Err(gone(name))) };
        cursor.pages = Some(pages);
        (cursor.used, cursor.was_asked_for) = (Instant::now(), true);
        Ok(match read? {
            Err(error) => Err(error),
            Ok(Page { items: documents, next, too_long }) => {
                let is_last = next.is_none();
                (cursor.given, cursor.before) = (page + 1, Some(from));
                cursor.is_finished = is_last;
                if let Some(next) = next {
                    cursor.next = next;
                }
                let name = (!is_last).then(|| self.name(number, page + 1));
                Ok(answer(documents, too_long, name))
            }
        })
    }

    /// Drops a cursor; whether there was one.
    fn close(&self, name: &str) -> bool {
        let Some(Name { number, .. }) = self.parse(name) else { return false };
        self.lock().remove(number)
    }

    /// Drops all.
    pub(crate) fn clear(&self) {
        let mut table = self.lock();
        table.cursors.clear();
        table.held_bytes = 0;
    }

    /// Drops those that have waited too long.
    pub(crate) fn expire(&self, now: Instant) {
        self.drop_expired(&mut self.lock(), now);
    }

    /// How long until some cursor may have waited too long; none: there is none.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        let table = self.lock();
        let ends = table.cursors.values().map(|cursor| self.end(cursor));
        Some(ends.min()?.saturating_duration_since(now) + Duration::from_millis(1))
    }

    /// Adds how many are open to a node's status.
    pub(crate) fn describe(&self, status: &mut Document) {
        let count = self.lock().cursors.values().filter(|cursor| !cursor.is_finished).count();
        status.insert("cursors", i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn add(&self, cursor: Cursor) -> Result<u64, Error> {
        let mut table = self.lock();
        self.drop_expired(&mut table, Instant::now());
        let too_many = |what: String| {
            Error::new(
                ErrorCode::Busy,
                format!("{what}; read cursors to their ends or close them, or try again later"),
            )
        };
        let of_same = |other: &&Cursor| {
            other.connection == cursor.connection && other.was_asked_for && !other.is_finished
        };
        let of_connection = table.cursors.values().filter(of_same).count();
        if cursor.was_asked_for && of_connection >= CURSORS_PER_CONNECTION_MAX {
            let what =
                format!("this connection has {of_connection} cursors open, which is the most");
            return Err(too_many(what));
        }
        let is_full = |table: &Table| {
            table.cursors.len() >= CURSORS_MAX
                || table.held_bytes + cursor.held_bytes > HELD_BYTES_MAX
        };
        while is_full(&table) {
            // Only what hardly anybody waits for gives way, the oldest first.
            let unwanted = table.cursors.iter().find(|(_, other)| !other.is_wanted());
            let Some(number) = unwanted.map(|(number, _)| *number) else {
                return Err(too_many("the cursors open at this node are at their limit".into()));
            };
            table.remove(number);
        }
        table.last += 1;
        let number = table.last;
        table.held_bytes += cursor.held_bytes;
        table.cursors.insert(number, cursor);
        Ok(number)
    }

    fn end(&self, cursor: &Cursor) -> Instant {
        let timeout = match cursor.is_wanted() {
            true => self.timeout,
            false => self.timeout.min(UNASKED_TIMEOUT),
        };
        (cursor.used + timeout).min(cursor.opened + AGE_MAX)
    }

    fn drop_expired(&self, table: &mut Table, now: Instant) {
        let over = |cursor: &Cursor| cursor.pages.is_some() && now >= self.end(cursor);
        let numbers: Vec<u64> =
            table.cursors.iter().filter(|(_, c)| over(c)).map(|(number, _)| *number).collect();
        for number in numbers {
            table.remove(number);
        }
    }

    fn name(&self, number: u64, page: u64) -> String {
        format!("{}-{number}-{page}", self.start)
    }

    fn parse(&self, name: &str) -> Option<Name> {
        let rest = name.strip_prefix(&self.start)?.strip_prefix('-')?;
        let (number, page) = rest.split_once('-')?;
        Some(Name { number: number.parse().ok()?, page: page.parse().ok()? })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, number: u64) -> bool {
        let removed = self.cursors.remove(&number);
        self.held_bytes -= removed.as_ref().map_or(0, |cursor| cursor.held_bytes);
        removed.is_some()
    }
}

impl Cursor {
    fn is_wanted(&self) -> bool {
        self.was_asked_for && !self.is_finished
    }

    fn new(pages: Pages<FjallView>, items: u64, connection: u64, was_asked_for: bool) -> Cursor {
        let now = Instant::now();
        Cursor {
            held_bytes: pages.held_bytes(),
            pages: Some(Arc::new(pages)),
            connection,
            items,
            was_asked_for,
            is_finished: false,
            opened: now,
            used: now,
            given: 0,
            before: None,
            next: PageStart::default(),
        }
    }
}

fn read(
    pages: &Pages<FjallView>,
    start: &PageStart,
    limits: PageLimits,
    pass_long: bool,
) -> Result<Result<Page, Error>, Fatal> {
    if pass_long { pages.page_passing_long(start, limits) } else { pages.page(start, limits) }
}

fn answer(documents: Vec<Value>, too_long: Vec<Value>, cursor: Option<String>) -> Value {
    let mut answer = Document::new();
    answer.insert("documents", documents);
    if !too_long.is_empty() {
        answer.insert("too_long", too_long);
    }
    answer.insert("cursor", cursor);
    Value::Document(answer)
}

fn gone(name: &str) -> Error {
    let name: String = name.chars().take(api::limits::CURSOR_BYTES_MAX).collect();
    Error::new(
        ErrorCode::CursorGone,
        format!(
            "cursor {name:?} is not at this node: it was closed or read to its end, has waited too long \
             (serve --cursor-timeout), was opened at another node, or this one was started anew; search again"
        ),
    )
}
