//! Whom a node lets wait: what it could only answer late is refused at once.
//!
//! A queue with room for many requests turns overload into waiting: with twice as much asked as can be done, every
//! request waits as long as the queue is deep, and most are answered after their client has given up. So the bound
//! is one of time: while the requests that came first have waited for longer than [`WAIT_MAX`], no others join
//! them. What may wait is then what the node does in so long, be it fast or slow, and nobody sets a number
//! (`docs/decisions/0012-refuse-by-waiting-time.md`).

use api::Request;
use replica::RequestId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long the first in a line may have waited while others still join it.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(500);
/// So many may wait however long the first has: a single request that is stuck refuses nobody, and neither does a
/// change of leader where there are few clients.
pub(crate) const WAIT_FREELY: usize = 256;

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be decided and applied.
    Write,
    /// To be confirmed by a quorum.
    Read,
    /// For something that may take its time, such as the next change or a reader that is at it.
    Free,
}

impl Kind {
    pub(crate) fn of(request: &Request) -> Kind {
        match request {
            // Who looks after a busy node must get an answer; who watches waits for others; to end something helps.
            Request::Status { .. }
            | Request::Members
            | Request::Member(_)
            | Request::Fault(_)
            | Request::Close { .. }
            | Request::Watch(_) => Kind::Free,
            request if request.is_write() => Kind::Write,
            _ => Kind::Read,
        }
    }
}

/// The requests of one kind that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// With some that wait no more.
    arrivals: VecDeque<(RequestId, Instant)>,
    /// How many really wait.
    waiting: usize,
}

impl Line {
    pub(crate) fn join(&mut self, id: RequestId, came: Instant) {
        self.arrivals.push_back((id, came));
        self.waiting += 1;
    }

    /// One of them waits no more.
    pub(crate) fn leave(&mut self) {
        assert!(self.waiting > 0, "nobody leaves a line without having joined it");
        self.waiting -= 1;
        if self.waiting == 0 {
            self.arrivals.clear();
        }
    }

    /// Whether nobody else should join now. `waits` says whether a request is still in this line.
    pub(crate) fn is_late(&mut self, now: Instant, waits: impl Fn(RequestId) -> bool) -> bool {
        while self.arrivals.front().is_some_and(|(id, _)| !waits(*id)) {
            self.arrivals.pop_front();
        }
        // One that is stuck must not keep all that came and went behind it.
        if self.arrivals.len() > 2 * self.waiting + WAIT_FREELY {
            self.arrivals.retain(|(id, _)| waits(*id));
        }
        let first = self.arrivals.front().map(|(_, came)| *came);
        is_late(self.waiting, first, now)
    }
}

/// Whether a line of so many, the first of whom came then, is too slow for others to join.
pub(crate) fn is_late(waiting: usize, first: Option<Instant>, now: Instant) -> bool {
    waiting >= WAIT_FREELY
        && first.is_some_and(|came| now.saturating_duration_since(came) > WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const TICK: Duration = Duration::from_millis(1);

    /// Serves one request a tick while two come: the line grows to what is served in [`WAIT_MAX`], and no further;
    /// everybody let in is served within little more than that, and the server is never idle.
    #[test]
    fn at_twice_the_capacity_half_is_refused_and_the_rest_waits_no_longer_than_is_allowed() {
        let start = Instant::now();
        let (mut line, mut queue) = (Line::default(), VecDeque::new());
        let mut in_line = BTreeSet::new();
        let (mut refused, mut served, mut longest) = (0, 0, Duration::ZERO);
        for tick in 0..20_000_u64 {
            let now = start + TICK * u32::try_from(tick).expect("small");
            let late = line.is_late(now, |id| in_line.contains(&id));
            for half in 0..2 {
                if late {
                    refused += 1;
                    continue;
                }
                let id = RequestId(tick * 2 + half);
                line.join(id, now);
                in_line.insert(id);
                queue.push_back((id, now));
            }
            if let Some((id, came)) = queue.pop_front() {
                longest = longest.max(now - came);
                served += 1;
                in_line.remove(&id);
                line.leave();
            }
        }
        assert_eq!(served, 20_000);
        assert!((19_000..20_000).contains(&refused), "{refused}");
        assert!(longest <= WAIT_MAX * 2 + TICK * 2, "{longest:?}");
        assert!(queue.len() <= 1_100, "{}", queue.len());
    }

    #[test]
    fn a_stuck_request_refuses_nobody_as_long_as_the_others_are_answered() {
        let start = Instant::now();
        let mut line = Line::default();
        line.join(RequestId(0), start);
        for number in 1..100_000 {
            let now = start + TICK * u32::try_from(number).expect("small");
            line.join(RequestId(number), now);
            assert!(!line.is_late(now, |id| id.0 == 0 || id.0 == number));
            line.leave();
        }
        assert!(line.arrivals.len() <= 2 * (WAIT_FREELY + 1), "{}", line.arrivals.len());
    }

    #[test]
    fn many_may_join_as_long_as_the_first_has_not_waited_long() {
        let start = Instant::now();
        let mut line = Line::default();
        for number in 0..10_000 {
            line.join(RequestId(number), start);
        }
        assert!(!line.is_late(start + WAIT_MAX, |_| true));
        assert!(line.is_late(start + WAIT_MAX + TICK, |_| true));
        for _ in 0..9_900 {
            line.leave();
        }
        assert!(!line.is_late(start + WAIT_MAX + TICK, |id| id.0 >= 9_900), "few wait");
    }
}
