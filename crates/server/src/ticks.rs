//! The clock of the core: ticks of a fixed length, never many at once.

use std::time::Duration;
use tokio::time::Instant;

/// What a tick is worth.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Most ticks handed in at once. A process that was paused, or had no time, must not conclude that
/// everybody else was silent meanwhile: it has to hear them first.
const TICKS_MAX: u32 = 2;

/// Counts ticks that are due.
#[derive(Debug)]
pub(crate) struct Ticks {
    /// When the last tick passed.
    last: Instant,
}

impl Ticks {
    pub(crate) fn new(now: Instant) -> Ticks {
        Ticks { last: now }
    }

    /// When the next tick is due.
    pub(crate) fn next(&self) -> Instant {
        self.last + TICK
    }

    /// How many ticks to hand in now; what is beyond two is forgotten.
    pub(crate) fn take_due(&mut self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.last).as_millis() / TICK.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed <= TICKS_MAX {
            self.last += TICK * passed;
        } else {
            self.last = now;
        }
        passed.min(TICKS_MAX)
    }

    /// Whether this process got no time for so long that messages may wait unread.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        now > self.last + TICK * (TICKS_MAX + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_due_by_time_alone() {
        let start = Instant::now();
        let mut ticks = Ticks::new(start);
        assert_eq!(ticks.take_due(start + TICK / 2), 0);
        assert_eq!(ticks.take_due(start + TICK), 1);
        // Late by half a tick: the next one is due half a tick later.
        assert_eq!(ticks.take_due(start + TICK * 5 / 2), 1);
        assert_eq!(ticks.next(), start + TICK * 3);
    }

    #[test]
    fn a_long_pause_counts_two_ticks() {
        let start = Instant::now();
        let mut ticks = Ticks::new(start);
        let later = start + TICK * 1_000;
        assert!(!ticks.is_late(start + TICK * 2));
        assert!(ticks.is_late(later));
        assert_eq!(ticks.take_due(later), 2);
        assert_eq!(ticks.take_due(later), 0);
        assert_eq!(ticks.next(), later + TICK);
    }
}
