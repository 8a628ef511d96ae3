//! How many bytes wait somewhere, counted by two threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes handed to the apply thread and not applied yet.
///
/// Its bound is kept by the event loop: beyond it, nothing is taken in that would bring more.
#[derive(Debug, Default)]
pub(crate) struct Backlog(AtomicUsize);

/// Bytes that may wait for the store.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

impl Backlog {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) > BACKLOG_BYTES_MAX
    }
}
