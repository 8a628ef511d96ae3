//! When requests are due, where they do not wait for each other: an open loop.
//!
//! The times depend on rate, form and seed alone. Two that walk the schedule, the clock that wakes clients and the
//! clients that ask which request is theirs, therefore see the same times.

use clap::ValueEnum;
use std::time::Duration;

/// How arrivals are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// As of many clients who know nothing of each other: waits between arrivals are exponential
    Poisson,
    /// One after the other at equal distances
    Uniform,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::Poisson => "poisson",
            Form::Uniform => "uniform",
        }
    }
}

/// An endless schedule, as times since the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    form: Form,
    per_second: f64,
    rng: fastrand::Rng,
    count: u64,
    seconds: f64,
}

impl Arrivals {
    pub(crate) fn new(form: Form, per_second: f64, seed: u64) -> Arrivals {
        assert!(per_second > 0.0 && per_second.is_finite(), "options check it");
        let rng = fastrand::Rng::with_seed(seed);
        Arrivals { form, per_second, rng, count: 0, seconds: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.count += 1;
        self.seconds = match self.form {
            // From the number, so that no error adds up.
            Form::Uniform => (self.count - 1) as f64 / self.per_second,
            // 1 - f64() is above 0.
            Form::Poisson => self.seconds - (1.0 - self.rng.f64()).ln() / self.per_second,
        };
        Some(Duration::from_secs_f64(self.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(form: Form, per_second: f64, seconds: u64) -> Vec<f64> {
        let end = Duration::from_secs(seconds);
        let arrivals = Arrivals::new(form, per_second, 5).take_while(|due| *due < end);
        arrivals.map(|due| due.as_secs_f64()).collect()
    }

    #[test]
    fn equal_distances_do_not_drift() {
        let due = within(Form::Uniform, 3_000.0, 100);
        assert_eq!(due.len(), 300_000);
        assert!((due[299_999] - 299_999.0 / 3_000.0).abs() < 1e-6, "{}", due[299_999]);
        assert_eq!(due[0], 0.0);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_variance_of_their_kind() {
        let due = within(Form::Poisson, 1_000.0, 100);
        let count = due.len() as f64;
        assert!((count - 100_000.0).abs() < 4.5 * 100_000f64.sqrt(), "{count}");
        let waits: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        let variance = waits.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / waits.len() as f64;
        // Of exponential waits the deviation is the mean; of equal ones it is nothing.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{} {mean}", variance.sqrt());
        assert!(waits.iter().all(|wait| *wait >= 0.0));
    }

    #[test]
    fn a_schedule_is_the_same_for_all_who_walk_it() {
        let of = |seed| Arrivals::new(Form::Poisson, 50.0, seed).take(100).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2), "the seed matters");
    }
}
