//! What came of the requests: how long each took, how many went wrong and how.

use super::mix::Operation;
use api::{Error, ErrorCode};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest time that is told from longer ones, in nanoseconds: ten minutes.
const LATENCY_MAX: u64 = 600_000_000_000;
/// Shorter times are not told from each other, in nanoseconds.
const LATENCY_UNIT: u64 = 1_000;

/// An empty histogram of times in nanoseconds, three digits exact.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_UNIT, LATENCY_MAX, 3).expect("bounds that are allowed")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(LATENCY_MAX);
    histogram.saturating_record(nanoseconds.clamp(LATENCY_UNIT, LATENCY_MAX));
}

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer that is as it must be.
    Right,
    /// A compare-and-set that found another value, which may be.
    NotSwapped,
    /// An answer that should not be.
    Wrong(String),
    /// The members have too much to do; it had no effect.
    Refused,
    /// No answer in time: it may have had effect.
    Unknown(String),
    /// An error; it had no effect.
    Failed(ErrorCode, String),
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Outcome {
        match error.code {
            ErrorCode::Busy => Outcome::Refused,
            ErrorCode::Timeout => Outcome::Unknown(error.message),
            code => Outcome::Failed(code, error.message),
        }
    }
}

/// What came of the requests of one operation.
#[derive(Clone, Debug)]
pub(crate) struct OfOperation {
    /// Of right answers alone.
    pub(crate) latency: Histogram<u64>,
    pub(crate) not_swapped: u64,
    pub(crate) wrong: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) failed: BTreeMap<&'static str, u64>,
}

impl OfOperation {
    fn new() -> OfOperation {
        OfOperation {
            latency: histogram(),
            not_swapped: 0,
            wrong: 0,
            refused: 0,
            unknown: 0,
            failed: BTreeMap::new(),
        }
    }

    fn add(&mut self, other: &OfOperation) {
        self.latency.add(&other.latency).expect("histograms of one shape");
        self.not_swapped += other.not_swapped;
        self.wrong += other.wrong;
        self.refused += other.refused;
        self.unknown += other.unknown;
        for (code, count) in &other.failed {
            *self.failed.entry(code).or_default() += count;
        }
    }

    /// Requests that ended, in whatever way.
    pub(crate) fn ended(&self) -> u64 {
        let failed: u64 = self.failed.values().sum();
        self.latency.len() + self.wrong + self.refused + self.unknown + failed
    }
}

/// One request that counts.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) operation: Operation,
    /// From when it was due (an open loop) or sent (a closed one) to its answer.
    pub(crate) took: Duration,
    /// When it ended, from when requests began to count.
    pub(crate) at: Duration,
    /// How long after it was due it was sent; open loops alone.
    pub(crate) late: Option<Duration>,
    pub(crate) outcome: Outcome,
}

/// What came of the requests of one thread, or of all.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// By [`Operation::index`]; none where none has ended.
    operations: [Option<Box<OfOperation>>; Operation::ALL.len()],
    /// Right answers in each second.
    pub(crate) per_second: Vec<u64>,
    /// When the last request ended.
    pub(crate) last_end: Duration,
    pub(crate) late: Histogram<u64>,
    /// One message of each kind of trouble.
    pub(crate) examples: BTreeMap<&'static str, String>,
    /// Right answers since somebody looked last, warm-up included.
    recent: Histogram<u64>,
    recent_trouble: u64,
}

/// What happened since somebody looked last.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    pub(crate) latency: Histogram<u64>,
    pub(crate) trouble: u64,
}

impl Recent {
    pub(crate) fn new() -> Recent {
        let latency = Histogram::new_with_bounds(LATENCY_UNIT, LATENCY_MAX, 2);
        Recent { latency: latency.expect("bounds that are allowed"), trouble: 0 }
    }
}

impl Tally {
    pub(crate) fn new() -> Tally {
        let Recent { latency: recent, trouble: recent_trouble } = Recent::new();
        Tally {
            operations: [const { None }; Operation::ALL.len()],
            per_second: Vec::new(),
            last_end: Duration::ZERO,
            late: histogram(),
            examples: BTreeMap::new(),
            recent,
            recent_trouble,
        }
    }

    /// Notes a request for who watches, whether it counts or not.
    pub(crate) fn watch(&mut self, took: Duration, outcome: &Outcome) {
        match outcome {
            Outcome::Right | Outcome::NotSwapped => record(&mut self.recent, took),
            _ => self.recent_trouble += 1,
        }
    }

    /// Notes a request that counts.
    pub(crate) fn note(&mut self, ended: Ended) {
        let slot = &mut self.operations[ended.operation.index()];
        let of = slot.get_or_insert_with(|| Box::new(OfOperation::new()));
        self.last_end = self.last_end.max(ended.at);
        if let Some(late) = ended.late {
            record(&mut self.late, late);
        }
        let (kind, message) = match ended.outcome {
            Outcome::Right | Outcome::NotSwapped => {
                of.not_swapped += u64::from(ended.outcome == Outcome::NotSwapped);
                record(&mut of.latency, ended.took);
                let second = ended.at.as_secs() as usize;
                if self.per_second.len() <= second {
                    self.per_second.resize(second + 1, 0);
                }
                self.per_second[second] += 1;
                return;
            }
            Outcome::Refused => {
                of.refused += 1;
                return;
            }
            Outcome::Wrong(message) => {
                of.wrong += 1;
                ("wrong", message)
            }
            Outcome::Unknown(message) => {
                of.unknown += 1;
                ("unknown", message)
            }
            Outcome::Failed(code, message) => {
                *of.failed.entry(code.as_str()).or_default() += 1;
                (code.as_str(), message)
            }
        };
        let name = ended.operation.name();
        self.examples.entry(kind).or_insert_with(|| format!("{name}: {message}"));
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        for (mine, theirs) in self.operations.iter_mut().zip(&other.operations) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_with(|| Box::new(OfOperation::new())).add(theirs);
            }
        }
        if self.per_second.len() < other.per_second.len() {
            self.per_second.resize(other.per_second.len(), 0);
        }
        for (mine, theirs) in self.per_second.iter_mut().zip(&other.per_second) {
            *mine += theirs;
        }
        self.last_end = self.last_end.max(other.last_end);
        self.late.add(&other.late).expect("histograms of one shape");
        for (kind, message) in &other.examples {
            self.examples.entry(kind).or_insert_with(|| message.clone());
        }
    }

    /// Adds what happened since this was called last.
    pub(crate) fn take_recent(&mut self, to: &mut Recent) {
        to.latency.add(&self.recent).expect("histograms of one shape");
        to.trouble += self.recent_trouble;
        self.recent.reset();
        self.recent_trouble = 0;
    }

    /// The operations of which any request ended.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (Operation, &OfOperation)> {
        let all = Operation::ALL.into_iter().zip(&self.operations);
        all.filter_map(|(operation, of)| Some((operation, of.as_deref()?)))
    }

    /// All operations as one.
    pub(crate) fn total(&self) -> OfOperation {
        let mut total = OfOperation::new();
        self.operations().for_each(|(_, of)| total.add(of));
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(operation: Operation, milliseconds: u64, outcome: Outcome) -> Ended {
        let took = Duration::from_millis(milliseconds);
        Ended { operation, took, at: took, late: None, outcome }
    }

    #[test]
    fn every_outcome_is_counted_once_and_in_its_place() {
        let mut tally = Tally::new();
        let error = |code| Outcome::from(Error::new(code, "no"));
        tally.note(ended(Operation::Put, 1, Outcome::Right));
        tally.note(ended(Operation::Put, 1_500, Outcome::Right));
        tally.note(ended(Operation::Put, 2, error(ErrorCode::Busy)));
        tally.note(ended(Operation::Put, 2, error(ErrorCode::Timeout)));
        tally.note(ended(Operation::Cas, 2, Outcome::NotSwapped));
        tally.note(ended(Operation::Cas, 2, error(ErrorCode::Down)));
        tally.note(ended(Operation::Get, 2, Outcome::Wrong("odd".into())));
        let mut all = Tally::new();
        all.add(&tally);
        all.add(&tally);
        let total = all.total();
        assert_eq!((total.latency.len(), total.not_swapped), (6, 2));
        assert_eq!((total.refused, total.unknown, total.wrong), (2, 2, 2));
        assert_eq!(total.failed, BTreeMap::from([("down", 2)]));
        assert_eq!(total.ended(), 14);
        assert_eq!(all.per_second, [4, 2]);
        assert_eq!(all.last_end, Duration::from_millis(1_500));
        let kinds: Vec<_> = all.examples.keys().copied().collect();
        assert_eq!(kinds, ["down", "unknown", "wrong"]);
        let names: Vec<_> = all.operations().map(|(operation, _)| operation.name()).collect();
        assert_eq!(names, ["put", "get", "cas"]);
        let put = all.operations().next().expect("put").1;
        let longest = put.latency.max() as f64 / 1e9;
        assert!((longest - 1.5).abs() < 0.002, "{longest}");
    }

    #[test]
    fn times_beyond_the_bounds_are_kept_at_the_bounds() {
        let mut histogram = histogram();
        record(&mut histogram, Duration::ZERO);
        record(&mut histogram, Duration::from_secs(1_000_000));
        assert_eq!(histogram.len(), 2);
        assert!(histogram.max() >= LATENCY_MAX);
    }
}
