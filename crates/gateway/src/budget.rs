//! A cap on the memory of frames that are not complete, over all connections of a node.
//!
//! The limit of one frame bounds one connection only: a hundred that each send all but the end of the
//! longest frame would hold a hundred times that. So room is charged to a counter that all share
//! before it is reserved, and given back as soon as it is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room that every connection has for nothing, in bytes: a frame with a length of 2 bytes is never
/// refused for want of room.
pub(crate) const FREE_BYTES: usize = 64 * 1024 + 2;

/// Bytes that the unfinished frames of all connections of a node hold together, beyond a small free
/// room of each. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct UnfinishedBytes(Arc<AtomicUsize>);

impl UnfinishedBytes {
    /// Bytes that are held now.
    pub fn total(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one connection holds of the [`UnfinishedBytes`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    shared: UnfinishedBytes,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(shared: UnfinishedBytes) -> Charge {
        Charge { shared, bytes: 0 }
    }

    /// Charges a buffer of `buffer_bytes`, unless all connections would then hold more than
    /// `bytes_max`: then nothing changes, and the answer is false.
    #[must_use]
    pub(crate) fn raise(&mut self, buffer_bytes: usize, bytes_max: usize) -> bool {
        let bytes = buffer_bytes.saturating_sub(FREE_BYTES);
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return true;
        };
        // Only the sum counts, nothing else is read by way of it: no ordering is needed.
        let raised = self.shared.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
            total.checked_add(more).filter(|total| *total <= bytes_max)
        });
        if raised.is_ok() {
            self.bytes = bytes;
        }
        raised.is_ok()
    }

    /// Gives back what a buffer of `buffer_bytes` does not need.
    pub(crate) fn lower(&mut self, buffer_bytes: usize) {
        let bytes = buffer_bytes.saturating_sub(FREE_BYTES);
        if let Some(less) = self.bytes.checked_sub(bytes).filter(|less| *less > 0) {
            let before = self.shared.0.fetch_sub(less, Ordering::Relaxed);
            assert!(before >= less, "only what was charged is given back");
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.lower(0);
    }
}
