//! The trace of a run: always hashed, printed on demand.

use std::fmt::{Arguments, Debug, Write};

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
    pub(crate) fn event(&mut self, time_us: u64, what: Arguments<'_>) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{time_us:>9} {what}");
        self.hash = hashed(self.hash, self.line.as_bytes());
        if self.is_printed {
            println!("{}", self.line);
        }
    }

    /// Notes an event that comes often: the hash is over numbers that name it, and text is made only to be printed.
    pub(crate) fn numbers(&mut self, time_us: u64, numbers: &[u64], what: Arguments<'_>) {
        for number in [time_us].iter().chain(numbers) {
            self.hash = hashed(self.hash, &number.to_le_bytes());
        }
        if self.is_printed {
            println!("{time_us:>9} {what}");
        }
    }

    /// Notes a message that arrives, of these bytes. Most events are messages, and writing each out would
    /// take most of a run's time, so the hash is over the bytes.
    pub(crate) fn message(&mut self, time_us: u64, link: (usize, usize), bytes: &[u8]) {
        let (from, to) = link;
        for number in [time_us, from as u64, to as u64] {
            self.hash = hashed(self.hash, &number.to_le_bytes());
        }
        self.hash = hashed(self.hash, bytes);
    }

    /// Prints what a message that arrives says, if anything is printed.
    pub(crate) fn say(&self, time_us: u64, (from, to): (usize, usize), message: &impl Debug) {
        if self.is_printed {
            println!("{time_us:>9} {from} -> {to} {message:?}");
        }
    }

    /// A number that two runs share only if they had the same events.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

/// FNV-1a, eight bytes at a time: most of what a world does is messages, and byte by byte their hash took more time
/// than they did.
fn hashed(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|byte| u64::from(*byte));
    words.chain(rest).fold(hash, |hash, word| {
        // The rotation brings high bits, where the product is good, to where the next word is added.
        (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    })
}
