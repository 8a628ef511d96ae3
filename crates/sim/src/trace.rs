//! The trace of a run: always hashed, printed on demand.

use std::fmt::Write;

/// What happened, in order.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    is_printed: bool,
    hash: u64,
    line: String,
}

impl Trace {
    pub(crate) fn new(is_printed: bool) -> Trace {
        Trace { is_printed, hash: 0xcbf2_9ce4_8422_2325, line: String::new() }
    }

    /// Notes one event at `time_us`.
    pub(crate) fn event(&mut self, time_us: u64, what: std::fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{time_us:>9} {what}");
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.is_printed {
            println!("{}", self.line);
        }
    }

    /// A number that two runs share only if they had the same events (FNV-1a).
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
