//! How long to wait before the next try.

use std::time::Duration;

/// Waits that double from `first` to `longest`, each drawn evenly from its upper half so that many
/// clients do not come back at once.
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { next: first.min(longest), longest }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.longest);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_bounds() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
        for most in [10, 20, 40, 80, 100, 100] {
            let wait = backoff.next();
            assert!(wait <= Duration::from_millis(most) && wait >= Duration::from_millis(most / 2));
        }
    }
}
