//! How it goes, while it goes: a line that changes on a terminal, a line every few seconds elsewhere.

use super::tally::Recent;
use crate::progress::grouped;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE_WAIT: Duration = Duration::from_secs(5);

/// Tells on the error stream how it goes.
pub(crate) struct Live {
    bar: Option<ProgressBar>,
    shows_lines: bool,
    looked: Instant,
    told: Instant,
    /// Of the lines that were not told.
    gathered: Recent,
}

impl Live {
    pub(crate) fn new(quiet: bool) -> Live {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner}  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        let shows_lines = !quiet && bar.is_none();
        Live { bar, shows_lines, looked: now, told: now, gathered: Recent::new() }
    }

    /// `recent` happened since the last call.
    pub(crate) fn show(&mut self, phase: &str, recent: &Recent) {
        if let Some(bar) = &self.bar {
            bar.set_message(line(phase, recent, self.looked.elapsed()));
            bar.tick();
        } else if self.shows_lines {
            self.gathered.latency.add(&recent.latency).expect("histograms of one shape");
            self.gathered.trouble += recent.trouble;
            if self.told.elapsed() >= LINE_WAIT {
                eprintln!("{}", line(phase, &self.gathered, self.told.elapsed()));
                self.told = Instant::now();
                self.gathered = Recent::new();
            }
        }
        self.looked = Instant::now();
    }

    /// Nothing of it stays on a terminal.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(phase: &str, recent: &Recent, over: Duration) -> String {
    let rate = recent.latency.len() as f64 / over.as_secs_f64().max(1e-3);
    let at = |quantile| recent.latency.value_at_quantile(quantile) as f64 / 1e6;
    format!(
        "{phase}: {}/s, p50 {:.2} ms, p99 {:.2} ms, {} without a right answer",
        grouped(rate.round() as u64),
        at(0.5),
        at(0.99),
        grouped(recent.trouble)
    )
}
