//! How far a long work is, with its rate and the time that it will still take: a bar on a terminal, now and then a
//! line elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE_WAIT: Duration = Duration::from_secs(5);

/// Shows how far a work is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    shows_lines: bool,
    began: Instant,
    told: Instant,
    /// Documents that were done before it began.
    documents_before: u64,
    bytes_before: u64,
    bytes_total: Option<u64>,
}

impl Progress {
    /// Of a work of `bytes_total` bytes, if that is known, of which so much is done already.
    pub(crate) fn new(
        quiet: bool,
        bytes_total: Option<u64>,
        bytes_before: u64,
        documents_before: u64,
    ) -> Progress {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let template = match bytes_total {
                Some(_) => "{bar:30} {percent:>3} %  {msg}  {eta} left",
                None => "{spinner}  {msg}",
            };
            let bar = ProgressBar::with_draw_target(bytes_total, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_position(bytes_before);
            bar.reset_eta();
            bar.reset_elapsed();
            bar
        });
        let now = Instant::now();
        let shows_lines = !quiet && bar.is_none();
        Progress {
            bar,
            shows_lines,
            began: now,
            told: now,
            documents_before,
            bytes_before,
            bytes_total,
        }
    }

    /// So many documents and bytes are done.
    pub(crate) fn show(&mut self, documents: u64, bytes: u64) {
        let rate = self.rate(documents);
        let message = format!("{} documents, {rate:.0}/s", grouped(documents));
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(message);
            if self.bytes_total.is_none() {
                bar.tick();
            }
        } else if self.shows_lines && self.told.elapsed() >= LINE_WAIT {
            self.told = Instant::now();
            eprintln!("{message}{}", self.rest(bytes));
        }
    }

    /// The work is over: nothing of it stays on the terminal.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Documents in a second, since it began.
    pub(crate) fn rate(&self, documents: u64) -> f64 {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        documents.saturating_sub(self.documents_before) as f64 / seconds
    }

    /// How long it has taken.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn rest(&self, bytes: u64) -> String {
        let Some(total) = self.bytes_total.filter(|total| *total > 0) else {
            return String::new();
        };
        let done = bytes.saturating_sub(self.bytes_before);
        let left = total.saturating_sub(bytes) as f64 / done.max(1) as f64;
        let left = Duration::try_from_secs_f64(left * self.began.elapsed().as_secs_f64());
        let left = left.map_or_else(
            |_| "?".into(),
            |left| humantime::format_duration(Duration::from_secs(left.as_secs())).to_string(),
        );
        format!(", {} % of the input, {left} left", bytes.min(total) * 100 / total)
    }
}

/// A number with commas between groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
