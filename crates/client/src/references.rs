//! The references of one client's writes (spec P9, P10).

use api::Reference;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hands out references and knows which of them still wait for their answer.
#[derive(Debug)]
pub(crate) struct References {
    client: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    unanswered: BTreeSet<u64>,
}

/// A reference that is in use until this is dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    references: Arc<References>,
    sequence: u64,
}

impl References {
    pub(crate) fn new() -> Arc<References> {
        let client = uuid::Uuid::new_v4().to_string();
        Arc::new(References { client, state: Mutex::default() })
    }

    /// The next reference.
    pub(crate) fn take(self: &Arc<Self>) -> InUse {
        let mut state = self.lock();
        let sequence = state.next;
        state.next += 1;
        state.unanswered.insert(sequence);
        InUse { references: Arc::clone(self), sequence }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InUse {
    pub(crate) fn reference(&self) -> Reference {
        Reference::new(self.references.client.clone(), self.sequence)
    }

    /// The lowest sequence that still waits for its answer; all below it can be forgotten.
    pub(crate) fn acked(&self) -> u64 {
        let state = self.references.lock();
        let lowest = state.unanswered.first().copied();
        assert!(lowest.is_some_and(|lowest| lowest <= self.sequence), "this one waits itself");
        lowest.unwrap_or(self.sequence)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.references.lock().unanswered.remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_longest_bounds_what_is_acked() {
        let references = References::new();
        let (first, second, third) = (references.take(), references.take(), references.take());
        assert_eq!((first.acked(), third.acked()), (0, 0));
        drop(second);
        assert_eq!(third.acked(), 0);
        drop(first);
        assert_eq!(third.acked(), 2);
        assert_eq!(third.reference().sequence, 2);
        assert_eq!(references.take().reference().client, third.reference().client);
    }
}
