//! Who may send when: phases, the end, and in an open loop the times at which requests are due.

use super::arrivals::Arrivals;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// How long after the end of an open loop requests are still sent that were due before it.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);

/// Shared by all tasks of a measurement.
///
/// **Invariants.** (1) The n-th turn of an open loop is the n-th time of its arrivals, whoever takes it and however
/// late. (2) With a count, at most so many turns count.
#[derive(Debug)]
pub(crate) struct Schedule {
    warm_up: Duration,
    /// After the warm-up; none: it ends by the count.
    duration: Option<Duration>,
    begin: OnceLock<Instant>,
    is_over: AtomicBool,
    over: Notify,
    /// Turns that may still count, if they are counted.
    left: Option<AtomicU64>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// One permit for each arrival that is due and that nobody has taken.
    due: Semaphore,
    /// Those that were not taken yet.
    arrivals: Mutex<Arrivals>,
    /// The same, for the clock.
    clock: Arrivals,
    /// Arrivals that counted and came due.
    came: AtomicU64,
    /// Arrivals that somebody has taken, to send them or, too late for the warm-up, to leave them.
    taken: AtomicU64,
}

/// One request may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Since when it counts as waiting.
    pub(crate) due: Instant,
    /// Now.
    pub(crate) sent: Instant,
    /// Whether its outcome counts, or belongs to the warm-up.
    pub(crate) counts: bool,
    pub(crate) is_open: bool,
}

impl Schedule {
    pub(crate) fn new(
        warm_up: Duration,
        duration: Option<Duration>,
        count: Option<u64>,
        arrivals: Option<Arrivals>,
    ) -> Schedule {
        let open = arrivals.map(|arrivals| Open {
            due: Semaphore::new(0),
            clock: arrivals.clone(),
            arrivals: Mutex::new(arrivals),
            came: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        });
        Schedule {
            warm_up,
            duration,
            begin: OnceLock::new(),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
            left: count.map(AtomicU64::new),
            open,
        }
    }

    /// It begins now.
    pub(crate) fn begin(&self) {
        self.begin.get_or_init(Instant::now);
    }

    fn began(&self) -> Instant {
        *self.begin.get().expect("it has begun")
    }

    /// When the warm-up is over.
    pub(crate) fn counts_from(&self) -> Instant {
        self.began() + self.warm_up
    }

    /// Nobody gets a turn any more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(open) = &self.open {
            open.due.close();
        }
        self.over.notify_one();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Waits until it is over; one may wait.
    pub(crate) async fn over(&self) {
        self.over.notified().await;
    }

    /// Waits until the caller may send a request; none: it is over.
    pub(crate) async fn turn(&self) -> Option<Turn> {
        loop {
            let due = match &self.open {
                None => None,
                Some(open) => {
                    open.due.acquire().await.ok()?.forget();
                    let next = open.arrivals.lock().unwrap_or_else(PoisonError::into_inner).next();
                    Some(self.began() + next.expect("arrivals do not end"))
                }
            };
            let sent = Instant::now();
            let counts_from = self.counts_from();
            let counts = due.unwrap_or(sent) >= counts_from;
            let is_late = self.last_turn().is_some_and(|last| sent >= last);
            if self.is_over() || is_late || (counts && !self.take()) {
                self.end();
                return None;
            }
            if let Some(open) = &self.open {
                // Last of all: what is taken is sent, though the end comes now.
                open.taken.fetch_add(1, Ordering::Relaxed);
            }
            // What the warm-up left behind must not hold up what counts.
            if !counts && sent >= counts_from {
                continue;
            }
            return Some(Turn { due: due.unwrap_or(sent), sent, counts, is_open: due.is_some() });
        }
    }

    /// When nobody gets a turn any more, if that is a matter of time.
    pub(crate) fn last_turn(&self) -> Option<Instant> {
        let drain = if self.open.is_some() { DRAIN } else { Duration::ZERO };
        self.duration.map(|time| self.counts_from() + time + drain)
    }

    /// Whether one more may count.
    fn take(&self) -> bool {
        let Some(left) = &self.left else { return true };
        let one_less = |left: u64| left.checked_sub(1);
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Requests that counted and were due until the end, in an open loop.
    pub(crate) fn came(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.came.load(Ordering::Relaxed))
    }

    /// Wakes one task for each request that is due, on a thread of its own until it is over: the timers of the
    /// tasks are too coarse.
    pub(crate) fn run_clock(self: &Arc<Self>) {
        let Some(open) = &self.open else { return };
        let mut arrivals = open.clock.clone().peekable();
        let end = self.duration.map(|time| self.warm_up + time);
        let mut all = 0;
        while !self.is_over() {
            let now = self.began().elapsed();
            let horizon = end.map_or(now, |end| now.min(end));
            let (mut due, mut counted) = (0, 0);
            while let Some(next) = arrivals.next_if(|next| *next < horizon) {
                due += 1;
                counted += u64::from(next >= self.warm_up);
            }
            open.came.fetch_add(counted, Ordering::Relaxed);
            open.due.add_permits(due);
            all += due as u64;
            let next = *arrivals.peek().expect("arrivals do not end");
            if end.is_some_and(|end| next >= end) {
                return self.drain(open, all);
            }
            // Not for long, so that the end is noticed.
            let wait = next.saturating_sub(self.began().elapsed()).min(Duration::from_millis(50));
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
        }
    }

    /// Ends it when all of so many requests that were due have been sent, or it takes too long.
    fn drain(&self, open: &Open, all: u64) {
        let is_late = || self.last_turn().is_some_and(|last| Instant::now() >= last);
        let is_open = || Instant::now() < self.counts_from() + self.duration.unwrap_or_default();
        while !self.is_over()
            && (is_open() || open.taken.load(Ordering::Relaxed) < all)
            && !is_late()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrivals::Form;
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn no_more_turns_count_than_were_asked_for() {
        let schedule = Schedule::new(Duration::ZERO, None, Some(5), None);
        schedule.begin();
        let turns = runtime().block_on(async {
            let mut turns = 0;
            while let Some(turn) = schedule.turn().await {
                turns += u64::from(turn.counts);
            }
            turns
        });
        assert_eq!(turns, 5);
        assert!(schedule.is_over());
    }

    /// Whoever comes late gets the time at which the request was due, not the present one.
    #[test]
    fn turns_of_an_open_loop_are_due_when_the_schedule_says() {
        let arrivals = Arrivals::new(Form::Poisson, 2_000.0, 3);
        let expected: Vec<Duration> = arrivals.clone().take(50).collect();
        let schedule = Arc::new(Schedule::new(Duration::ZERO, None, Some(50), Some(arrivals)));
        schedule.begin();
        let clock = Arc::clone(&schedule);
        let clock = std::thread::spawn(move || clock.run_clock());
        let turns = runtime().block_on(async {
            let mut turns = Vec::new();
            while let Some(turn) = schedule.turn().await {
                assert!(turn.sent >= turn.due, "nobody is early");
                turns.push(turn);
                if turns.len() == 20 {
                    // A stall of ten arrivals.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            turns
        });
        clock.join().expect("the clock ends");
        let due: Vec<Duration> = turns.iter().map(|turn| turn.due - schedule.began()).collect();
        assert_eq!(due, expected);
        assert!(turns.iter().all(|turn| turn.counts && turn.is_open));
    }

    /// What is due before the end is sent, also by those who are busy then; nothing that is due later is.
    #[test]
    fn an_open_loop_sends_what_was_due_before_its_end() {
        let arrivals = Arrivals::new(Form::Uniform, 1_000.0, 3);
        let time = Duration::from_millis(50);
        let schedule = Arc::new(Schedule::new(Duration::ZERO, Some(time), None, Some(arrivals)));
        schedule.begin();
        let clock = Arc::clone(&schedule);
        let clock = std::thread::spawn(move || clock.run_clock());
        let take = || async {
            let mut turns = 0;
            while schedule.turn().await.is_some() {
                turns += 1;
                if turns % 8 == 0 {
                    tokio::time::sleep(time / 4).await;
                }
            }
            turns
        };
        let turns = runtime().block_on(async {
            let (a, b, c) = tokio::join!(take(), take(), take());
            a + b + c
        });
        clock.join().expect("the clock ends");
        assert_eq!((turns, schedule.came()), (50, Some(50)));
    }

    /// What a warm-up could not send is left, so that what counts is sent when it is due.
    #[test]
    fn what_the_warm_up_left_behind_is_not_sent() {
        let arrivals = Arrivals::new(Form::Uniform, 1_000.0, 3);
        let (warm_up, time) = (Duration::from_millis(20), Duration::from_millis(20));
        let schedule = Arc::new(Schedule::new(warm_up, Some(time), None, Some(arrivals)));
        schedule.begin();
        let clock = Arc::clone(&schedule);
        let clock = std::thread::spawn(move || clock.run_clock());
        let turns = runtime().block_on(async {
            tokio::time::sleep(warm_up + time / 2).await;
            let mut turns = Vec::new();
            while let Some(turn) = schedule.turn().await {
                turns.push(turn.counts);
            }
            turns
        });
        clock.join().expect("the clock ends");
        assert_eq!((turns, schedule.came()), (vec![true; 20], Some(20)));
    }

    #[test]
    fn who_waits_for_a_turn_is_told_of_the_end() {
        let arrivals = Arrivals::new(Form::Uniform, 0.001, 3);
        let schedule = Schedule::new(Duration::ZERO, None, None, Some(arrivals));
        schedule.begin();
        runtime().block_on(async {
            let (turn, ()) = tokio::join!(schedule.turn(), async { schedule.end() });
            assert!(turn.is_none());
            schedule.over().await;
        });
    }
}
