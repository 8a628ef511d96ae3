//! Queries that the event loop answers itself, because that takes less than handing them to a reader
//! (`docs/decisions/0011-short-queries-on-the-event-loop.md`).
//!
//! The event loop must not be kept from its messages and ticks, and with a slow disk reads must go on beside each other.
//! So a query is only *tried* here: it may look at few rows; if that is not enough, a reader answers it from the
//! start. And what was slow here, or was in vain, keeps the next ones away for a while. A slow disk costs one row, read
//! once, each time.
//!
//! Invariants:
//! 1. Whatever is tried here would be answered by a reader with the same words.
//! 2. Nothing is waited for: not for the store while it is being replaced, nor for another query.
//! 3. A query comes here only when the applied slot that the event loop knows has reached what it asks for, and
//!    the glance is taken after that.

use crate::cursors::FRAMING_BYTES;
use crate::readers::{Query, SharedReader, not_begun};
use api::{Error, Request, Value};
use replica::RequestId;
use std::time::{Duration, Instant};
use store::{Fatal, GlanceLimits};

/// What one query may read here: about as much as takes as long as waking a reader, and being woken by it.
const LIMITS: GlanceLimits = GlanceLimits { rows: 64, bytes: 256 << 10 };
/// Queries longer than this are not looked at: only to plan them may take long.
const REQUEST_BYTES_MAX: usize = 4 << 10;
/// How long queries are answered in one turn of the event loop; readers get the rest.
const TURN_TIME_MAX: Duration = Duration::from_micros(500);
/// A query that takes longer than this has to read the disk, most likely; it is given up.
const SLOW: Duration = Duration::from_micros(300);
/// How long readers get all queries after a slow one, as a multiple of what that took: so slow ones take a twentieth of the
/// event loop's time at most.
const SLOW_REST: u32 = 20;
/// How many searches readers get after one that was tried in vain.
const VAIN_REST: u32 = 15;

/// Tries queries, and remembers how that went.
pub(crate) struct AtOnce {
    reader: SharedReader,
    /// Until when everything goes to the readers.
    rests_until: Option<Instant>,
    /// How many searches still go to the readers.
    searches_away: u32,
    /// [`TURN_TIME_MAX`] and [`SLOW`]; tests, which may be slow, have others.
    turn_time_max: Duration,
    slow: Duration,
}

impl AtOnce {
    pub(crate) fn new(reader: SharedReader) -> AtOnce {
        let (turn_time_max, slow) = (TURN_TIME_MAX, SLOW);
        AtOnce { reader, rests_until: None, searches_away: 0, turn_time_max, slow }
    }

    /// Answers what it can of `queries`; what it cannot stays in there, in order.
    ///
    /// # Errors
    /// This node's trouble.
    pub(crate) fn answer(
        &mut self,
        queries: &mut Vec<Query>,
        mut answer: impl FnMut(RequestId, Result<Value, Error>),
    ) -> Result<(), Fatal> {
        if queries.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        if self.rests_until.is_some_and(|until| began < until) {
            return Ok(());
        }
        let shared = self.reader.clone();
        // A snapshot takes the place of the store: the readers wait for it.
        let Some(reader) = shared.try_lock() else { return Ok(()) };
        let glance = reader.glance();
        let mut now = began;
        let mut trouble = None;
        queries.retain(|query| {
            if trouble.is_some() || self.rests_until.is_some_and(|until| now < until) {
                return true;
            }
            if now - began >= self.turn_time_max || !self.is_worth_it(query) {
                return true;
            }
            if now >= query.deadline {
                answer(query.id, Err(not_begun()));
                return false;
            }
            let bytes_max = query.origin.answer_bytes_max - FRAMING_BYTES;
            let may_go_on = || now.elapsed() < self.slow;
            let found = glance.query(&query.request, bytes_max, LIMITS, &may_go_on);
            let before = std::mem::replace(&mut now, Instant::now());
            self.note_time(now, now - before);
            match found {
                Ok(Some(found)) => answer(query.id, found),
                Ok(None) => {
                    self.searches_away = VAIN_REST;
                    return true;
                }
                Err(fatal) => trouble = Some(fatal),
            }
            false
        });
        trouble.map_or(Ok(()), Err)
    }

    /// A query that has just been tried took so long.
    fn note_time(&mut self, now: Instant, took: Duration) {
        if took >= self.slow {
            self.rests_until = Some(now + took * SLOW_REST);
        }
    }

    fn is_worth_it(&mut self, query: &Query) -> bool {
        if query.bytes > REQUEST_BYTES_MAX {
            return false;
        }
        match &query.request {
            Request::Read { .. } => true,
            Request::Search { .. } | Request::Count { .. } | Request::Distinct { .. } => {
                let is_away = self.searches_away > 0;
                self.searches_away = self.searches_away.saturating_sub(1);
                !is_away
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursors::{Cursors, TIMEOUT_DEFAULT};
    use api::{Document, ErrorCode, Reference, Schema, SearchOptions};
    use gateway::Origin;
    use store::{Command, Effect, Entry, FjallEngine, FjallOptions, Store};

    const LONG: Duration = Duration::from_secs(3_600);

    type Answers = Vec<(RequestId, Result<Value, Error>)>;

    struct Bench {
        _folder: tempfile::TempDir,
        store: Store<FjallEngine>,
        shared: SharedReader,
        at_once: AtOnce,
    }

    impl Bench {
        /// A store with a key and 200 documents.
        fn new() -> Bench {
            let folder = tempfile::tempdir().expect("a folder");
            let engine = FjallEngine::open(folder.path(), FjallOptions::default());
            let mut store = Store::open(engine.expect("an engine")).expect("a store");
            let documents =
                (0..200).map(|number| document(&[("_id", number), ("n", number)])).collect();
            let requests = [
                Request::Create { collection: "c".into(), schema: Schema::default() },
                Request::Write { key: "k".into(), value: Value::from("v") },
                Request::Insert { collection: "c".into(), documents, list: true },
            ];
            for (slot, request) in (1..).zip(requests) {
                let reference = Reference::new("test", slot);
                let command = Command { reference, acked: slot, time_ms: 0, request }.encode();
                let entry = Entry { slot, effect: Effect::Command(&command) };
                store.apply(&[entry]).expect("applied")[0]
                    .answer
                    .clone()
                    .expect("an answer")
                    .expect("accepted");
            }
            let shared = SharedReader::new(store.reader());
            let mut at_once = AtOnce::new(shared.clone());
            (at_once.turn_time_max, at_once.slow) = (LONG, LONG);
            Bench { _folder: folder, store, shared, at_once }
        }

        /// What is answered at once, and which are left.
        fn answer(&mut self, mut queries: Vec<Query>) -> (Answers, Vec<u64>) {
            let mut answers = Vec::new();
            let answered =
                self.at_once.answer(&mut queries, |id, answer| answers.push((id, answer)));
            answered.expect("no trouble");
            (answers, queries.iter().map(|query| query.id.0).collect())
        }
    }

    fn document(fields: &[(&str, i32)]) -> Document {
        fields.iter().map(|(name, number)| ((*name).to_owned(), Value::from(*number))).collect()
    }

    fn query(id: u64, request: Request) -> Query {
        let deadline = Instant::now() + Duration::from_secs(60);
        let (since, origin) = (Instant::now(), Origin::default());
        Query { id: RequestId(id), request, since, deadline, origin, bytes: 512 }
    }

    fn read(id: u64) -> Query {
        query(id, Request::Read { key: "k".into(), empty_if_absent: false })
    }

    fn search(id: u64, filter: Document) -> Query {
        let search = SearchOptions::default();
        query(id, Request::Search { collection: "c".into(), filter, search })
    }

    #[test]
    fn short_ones_are_answered_and_long_ones_left_to_the_readers_with_the_same_answer() {
        let mut bench = Bench::new();
        let (answers, left) = bench.answer(vec![
            read(1),
            search(2, document(&[("_id", 7)])),
            search(3, document(&[("n", 7)])),
            read(4),
        ]);
        assert_eq!(left, [3], "without an index everything would be read");
        let ids: Vec<u64> = answers.iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [1, 2, 4]);
        let cursors = Cursors::new("t".into(), TIMEOUT_DEFAULT);
        let reader = bench.shared.lock();
        let by_reader = |query: Query| {
            cursors.answer(&reader, &query.request, query.origin).expect("no trouble")
        };
        assert_eq!(answers[0].1, by_reader(read(1)));
        assert_eq!(answers[1].1, by_reader(search(2, document(&[("_id", 7)]))));
        let found = by_reader(search(3, document(&[("n", 7)]))).expect("found");
        assert_eq!(found, Value::from(vec![Value::from(document(&[("_id", 7), ("n", 7)]))]));
    }

    #[test]
    fn after_a_search_in_vain_some_go_to_the_readers_at_once_and_reads_do_not() {
        let mut bench = Bench::new();
        assert_eq!(bench.answer(vec![search(1, document(&[("n", 7)]))]).1, [1]);
        let short = |id| search(id, document(&[("_id", 7)]));
        for id in 0..u64::from(VAIN_REST) {
            assert_eq!(bench.answer(vec![short(id), read(1_000)]).1, [id]);
        }
        assert_eq!(bench.answer(vec![short(0)]).1, Vec::<u64>::new());
    }

    #[test]
    fn nothing_is_waited_for_while_the_store_is_replaced() {
        let mut bench = Bench::new();
        let (shared, reader) = (bench.shared.clone(), bench.store.reader());
        shared.replace(reader, || {
            let (answers, left) = bench.answer(vec![read(1), read(2)]);
            assert!(answers.is_empty());
            assert_eq!(left, [1, 2]);
        });
        assert_eq!(bench.answer(vec![read(3)]).1, Vec::<u64>::new());
    }

    #[test]
    fn after_a_slow_one_the_readers_get_all_for_a_while() {
        let mut bench = Bench::new();
        let now = Instant::now();
        let (past, slow) = (now.checked_sub(LONG / 100).expect("a time"), LONG / 1_000);
        bench.at_once.slow = slow;
        bench.at_once.note_time(now, slow - Duration::from_micros(1));
        assert_eq!(bench.answer(vec![read(1)]).1, Vec::<u64>::new());
        bench.at_once.note_time(now, slow);
        assert_eq!(bench.answer(vec![read(1), read(2)]).1, [1, 2]);
        bench.at_once.note_time(past, slow);
        assert_eq!(bench.answer(vec![read(1), read(2)]).1, [1, 2], "for twenty times as long");
        bench.at_once.rests_until = Some(past);
        assert_eq!(bench.answer(vec![read(1)]).1, Vec::<u64>::new());
    }

    #[test]
    fn one_that_is_slow_is_given_up_and_ends_the_turn() {
        let mut bench = Bench::new();
        bench.at_once.slow = Duration::ZERO;
        assert_eq!(bench.answer(vec![read(1), read(2)]).1, [1, 2]);
    }

    #[test]
    fn a_turn_ends_after_its_time() {
        let mut bench = Bench::new();
        bench.at_once.turn_time_max = Duration::ZERO;
        assert_eq!(bench.answer(vec![read(1), read(2)]).1, [1, 2]);
    }

    #[test]
    fn late_ones_are_told_so_and_long_requests_are_not_looked_at() {
        let mut bench = Bench::new();
        let late = Query { deadline: Instant::now(), ..read(1) };
        let long = Query { bytes: REQUEST_BYTES_MAX + 1, ..read(2) };
        let (answers, left) = bench.answer(vec![late, long]);
        assert_eq!(left, [2]);
        assert_eq!(answers.len(), 1);
        assert!(matches!(&answers[0].1, Err(error) if error.code == ErrorCode::Timeout));
    }

    #[test]
    fn what_does_not_fit_its_answer_is_left() {
        let mut bench = Bench::new();
        let origin = Origin { connection: 1, answer_bytes_max: FRAMING_BYTES + 20 };
        let filter =
            [("_id".to_owned(), Value::from(document(&[("$lt", 9)])))].into_iter().collect();
        let (answers, left) = bench.answer(vec![Query { origin, ..search(1, filter) }]);
        assert_eq!((answers.len(), left), (0, vec![1]), "a cursor is opened for it");
    }
}
