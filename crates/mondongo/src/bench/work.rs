//! One of the tasks that send requests: it makes them, waits for their answers, and looks whether they are right.

use super::content::{self, Content, RANGE_DOCUMENTS, short, whole};
use super::keys::Keys;
use super::mix::{Mix, Operation};
use super::schedule::{Schedule, Turn};
use super::tally::{Ended, Outcome, Tally};
use api::{Call, Document, Level, Options, Request, SearchOptions, UpdateOptions, Value};
use client::Client;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The wait after an error other than a refusal, so that members that are gone are not asked in a tight loop.
const WAIT_AFTER_ERROR: Duration = Duration::from_millis(10);

/// What all tasks of a thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mix: Mix,
    pub(crate) keys: Keys,
    pub(crate) content: Content,
    pub(crate) collection: String,
    pub(crate) batch: u64,
    /// Names of what this run alone writes begin with it.
    pub(crate) run: String,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) tally: Mutex<Tally>,
}

/// One task.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    client: Client,
    rng: fastrand::Rng,
    /// Which of all tasks it is.
    number: u64,
    /// Keys that this task alone compares and sets, with what it wrote there last; none where it cannot know.
    owned: BTreeMap<u64, Option<Value>>,
    owned_count: u64,
    /// Things it has made so far.
    made: u64,
}

/// What an answer must be.
enum Check {
    /// The value written.
    Written(Value),
    /// A value of this key.
    ValueOf(String),
    /// The value of this key before; nothing, if it was not there.
    ValueBefore(String),
    /// That this owned key was swapped for the value, certainly so if what it held was known.
    Swapped { number: u64, value: Value, certainly: bool },
    /// The `_id` of a new document.
    Id,
    /// One document with this email.
    OneWith(String),
    /// So many documents with ages in order within bounds.
    InOrder { low: i64, high: i64 },
    /// That one document was changed.
    OneChanged,
    /// The values of so many writes.
    Answers(u64),
}

impl Worker {
    /// `number` of `count` tasks.
    pub(crate) fn new(
        shared: Arc<Shared>,
        client: Client,
        number: u64,
        count: u64,
        keys: u64,
        seed: u64,
    ) -> Worker {
        let rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
        let owned_count = (keys / count).max(1);
        Worker { shared, client, rng, number, owned: BTreeMap::new(), owned_count, made: 0 }
    }

    /// Works until the schedule is over.
    pub(crate) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            // It is made before it is due, so that making it takes none of its time.
            let operation = shared.mix.draw(&mut self.rng);
            let (request, check) = self.make(operation);
            let level = match operation {
                Operation::GetLocal => Level::Local,
                _ => Level::Linearizable,
            };
            let call = Call { request, options: Options { level, ..Options::default() } };
            let Some(Turn { due, sent, counts, is_open }) = shared.schedule.turn().await else {
                return;
            };
            let answer = self.client.call(call).await;
            let end = Instant::now();
            let outcome = match answer {
                Ok(answer) => self.look(check, answer),
                Err(error) => {
                    let outcome = Outcome::from(error);
                    if let (Check::Swapped { number, .. }, Outcome::Unknown(_)) = (check, &outcome)
                    {
                        self.owned.insert(number, None);
                    }
                    outcome
                }
            };
            let is_error = matches!(outcome, Outcome::Failed(..) | Outcome::Unknown(_));
            let took = end.saturating_duration_since(due);
            {
                let mut tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.watch(took, &outcome);
                if counts {
                    let at = end.saturating_duration_since(shared.schedule.counts_from());
                    let late = is_open.then(|| sent.saturating_duration_since(due));
                    tally.note(Ended { operation, took, at, late, outcome });
                }
            }
            if is_error && !shared.schedule.is_over() {
                tokio::time::sleep(WAIT_AFTER_ERROR).await;
            }
        }
    }

    fn make(&mut self, operation: Operation) -> (Request, Check) {
        let shared = Arc::clone(&self.shared);
        let number = shared.keys.draw(&mut self.rng);
        let key = content::key(number);
        let collection = shared.collection.clone();
        match operation {
            Operation::Put => {
                let value = Value::String(shared.content.value(&key, &mut self.rng));
                (Request::Write { key, value: value.clone() }, Check::Written(value))
            }
            Operation::Get | Operation::GetLocal => {
                (Request::Read { key: key.clone(), empty_if_absent: false }, Check::ValueOf(key))
            }
            Operation::Swap => {
                let value = Value::String(shared.content.value(&key, &mut self.rng));
                (Request::Swap { key: key.clone(), value }, Check::ValueBefore(key))
            }
            Operation::Cas => self.make_cas(number % self.owned_count),
            Operation::Insert => {
                self.made += 1;
                let email = format!("{}-{}-{}@example.org", shared.run, self.number, self.made);
                let documents = vec![shared.content.document(self.rng.u64(..), email)];
                (Request::Insert { collection, documents, list: false }, Check::Id)
            }
            Operation::Search => {
                let email = content::email(number);
                let filter = Document::from_iter([("email".to_string(), email.as_str().into())]);
                let search = SearchOptions::default();
                (Request::Search { collection, filter, search }, Check::OneWith(email))
            }
            Operation::Range => {
                let (low, high) = content::range(&mut self.rng);
                let bounds = [("$gte".to_string(), low.into()), ("$lte".to_string(), high.into())];
                let bounds = Value::Document(Document::from_iter(bounds));
                let filter = Document::from_iter([("age".to_string(), bounds)]);
                let search = SearchOptions {
                    sort: vec![("age".into(), 1)],
                    limit: Some(RANGE_DOCUMENTS),
                    ..SearchOptions::default()
                };
                (Request::Search { collection, filter, search }, Check::InOrder { low, high })
            }
            Operation::Update => {
                let email = content::email(number);
                let filter = Document::from_iter([("email".to_string(), email.into())]);
                // Another one each time: what is as before would not count as changed.
                let score = Value::Int64(self.rng.i64(1..));
                let set = Value::Document(Document::from_iter([("score".to_string(), score)]));
                let changes = Document::from_iter([("$set".to_string(), set)]);
                let options = UpdateOptions::default();
                (Request::Update { collection, filter, changes, options }, Check::OneChanged)
            }
            Operation::Batch => {
                let write = |_| {
                    let key = content::key(shared.keys.draw(&mut self.rng));
                    let value = Value::String(shared.content.value(&key, &mut self.rng));
                    Request::Write { key, value }
                };
                let requests = (0..shared.batch).map(write).collect();
                (Request::Batch { requests }, Check::Answers(shared.batch))
            }
        }
    }

    fn make_cas(&mut self, number: u64) -> (Request, Check) {
        let key = self.owned_key(number);
        let value = Value::String(self.shared.content.value(&key, &mut self.rng));
        let known = self.owned.get(&number).cloned().flatten();
        let certainly = known.is_some();
        let expected = known.unwrap_or(Value::Null);
        let check = Check::Swapped { number, value: value.clone(), certainly };
        (Request::Cas { key, expected, value }, check)
    }

    fn owned_key(&self, number: u64) -> String {
        format!("{}cas/{}/{number}", content::KEY_PREFIX, self.number)
    }

    /// Whether the answer is as it must be.
    fn look(&mut self, check: Check, answer: Value) -> Outcome {
        let content = &self.shared.content;
        let wrong = match check {
            Check::Written(value) => (answer != value).then(|| {
                format!("a write was answered with {}, not with the value written", short(&answer))
            }),
            Check::ValueOf(key) => content.wrong_value(&key, &answer),
            Check::ValueBefore(_) if answer == Value::Null => None,
            Check::ValueBefore(key) => content.wrong_value(&key, &answer),
            Check::Swapped { number, value, certainly } => {
                return self.look_at_cas(number, value, certainly, answer);
            }
            Check::Id => {
                matches!(answer, Value::Null | Value::Array(_) | Value::Document(_)).then(|| {
                    format!("an insert was answered with {}, not with an _id", short(&answer))
                })
            }
            Check::OneWith(email) => {
                let found = documents(&answer);
                let is_right = matches!(&found[..], [one] if one.get_str("email").is_ok_and(|found| found == email));
                (!is_right).then(|| {
                    format!("{} documents were found with email {email}, not one", found.len())
                })
            }
            Check::InOrder { low, high } => {
                let found = documents(&answer);
                let ages: Option<Vec<i64>> = found.iter().map(|one| whole(one, "age")).collect();
                let ages = ages.unwrap_or_default();
                let is_right = ages.len() as u64 == RANGE_DOCUMENTS
                    && ages.is_sorted()
                    && ages.iter().all(|age| (low..=high).contains(age));
                (!is_right).then(|| {
                    format!("ages {low} to {high}, {RANGE_DOCUMENTS} documents: ages {ages:?} were found")
                })
            }
            Check::OneChanged => (answer != Value::Int64(1) && answer != Value::Int32(1))
                .then(|| format!("an update of one document was answered with {}", short(&answer))),
            Check::Answers(count) => {
                let answers = answer.as_array().map_or(0, Vec::len);
                (answers as u64 != count)
                    .then(|| format!("a batch of {count} writes has {answers} answers"))
            }
        };
        wrong.map_or(Outcome::Right, Outcome::Wrong)
    }

    fn look_at_cas(
        &mut self,
        number: u64,
        value: Value,
        certainly: bool,
        answer: Value,
    ) -> Outcome {
        let Value::Document(mut document) = answer else {
            return Outcome::Wrong(format!(
                "a compare-and-set was answered with {}",
                short(&answer)
            ));
        };
        match document.get("swapped") {
            Some(Value::Boolean(true)) => {
                self.owned.insert(number, Some(value));
                Outcome::Right
            }
            Some(Value::Boolean(false)) => {
                let current = document.remove("current").unwrap_or(Value::Null);
                let told = short(&current);
                self.owned.insert(number, (current != Value::Null).then_some(current));
                // Nobody else writes the key: what was written last must be there.
                if certainly {
                    let key = self.owned_key(number);
                    return Outcome::Wrong(format!(
                        "{key} holds {told}, not what was written last"
                    ));
                }
                Outcome::NotSwapped
            }
            _ => Outcome::Wrong(format!("a compare-and-set was answered with {document}")),
        }
    }
}

fn documents(answer: &Value) -> Vec<&Document> {
    answer.as_array().into_iter().flatten().filter_map(Value::as_document).collect()
}
