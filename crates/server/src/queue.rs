//! A queue from the network thread to a working thread.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue whose taker gets all there is at once, and is woken once for it.
///
/// It has no bound of its own; each user states what bounds it.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    /// How many takers wait: nobody is woken who does not.
    waiting: usize,
    closed: bool,
}

/// What a taker got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    /// Everything that was queued.
    Items(Vec<T>),
    /// Nothing in the time it wanted to wait.
    Nothing,
    /// Nothing, and nothing will come.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        let state = State { items: Vec::new(), waiting: 0, closed: false };
        Queue { state: Mutex::new(state), filled: Condvar::new() }
    }

    /// Adds an item. After [`Queue::close`] it is dropped.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.items.push(item);
        let wake = state.waiting > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Adds items, and wakes one taker for all of them.
    pub(crate) fn push_all(&self, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.closed {
            items.clear();
            return;
        }
        state.items.append(items);
        let wake = state.waiting > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Takes what is queued, at most `count_max` items from the front, waiting for the first.
    pub(crate) fn take(&self, count_max: usize, wait: Option<Duration>) -> Taken<T> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state.waiting += 1;
            let timed_out;
            (state, timed_out) = match wait {
                None => {
                    let state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                    (state, false)
                }
                Some(wait) => {
                    let waited = self.filled.wait_timeout(state, wait);
                    let (state, result) = waited.unwrap_or_else(PoisonError::into_inner);
                    (state, result.timed_out())
                }
            };
            state.waiting -= 1;
            if timed_out && state.items.is_empty() && !state.closed {
                return Taken::Nothing;
            }
        }
        if state.items.len() <= count_max {
            return Taken::Items(std::mem::take(&mut state.items));
        }
        let taken = state.items.drain(..count_max).collect();
        let wake = state.waiting > 0;
        drop(state);
        if wake {
            // There is more: another taker may begin with it.
            self.filled.notify_one();
        }
        Taken::Items(taken)
    }

    /// How many items wait, and what `look` sees in the first of them.
    pub(crate) fn first<R>(&self, look: impl FnOnce(&T) -> R) -> (usize, Option<R>) {
        let state = self.lock();
        (state.items.len(), state.items.first().map(look))
    }

    /// Ends the queue: takers get what is left, then [`Taken::Closed`].
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Whether [`Queue::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_WAIT: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn everything_is_taken_at_once_or_as_much_as_is_wanted() {
        let queue = Queue::new();
        queue.push(1);
        queue.push_all(&mut vec![2, 3]);
        assert_eq!(queue.first(|first| *first), (3, Some(1)));
        assert_eq!(queue.take(2, None), Taken::Items(vec![1, 2]));
        assert_eq!(queue.take(2, None), Taken::Items(vec![3]));
        assert_eq!(queue.first(|first| *first), (0, None));
        assert_eq!(queue.take(2, NO_WAIT), Taken::Nothing);
    }

    #[test]
    fn a_closed_queue_gives_what_is_left_and_takes_no_more() {
        let queue = Queue::new();
        queue.push(1);
        queue.close();
        queue.push(2);
        assert_eq!(queue.take(9, None), Taken::Items(vec![1]));
        assert_eq!(queue.take(9, None), Taken::Closed);
    }

    #[test]
    fn every_taker_that_waits_is_woken_for_its_share() {
        let queue = Queue::new();
        std::thread::scope(|scope| {
            let takers: Vec<_> = (0..3).map(|_| scope.spawn(|| queue.take(1, None))).collect();
            queue.push_all(&mut vec![1, 2, 3]);
            let mut taken: Vec<_> = (takers.into_iter())
                .map(|taker| match taker.join().expect("a taker") {
                    Taken::Items(items) => items[0],
                    other => panic!("{other:?}"),
                })
                .collect();
            taken.sort_unstable();
            assert_eq!(taken, [1, 2, 3]);
        });
    }
}
