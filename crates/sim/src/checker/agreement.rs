//! One value per slot for ever.

use paxos::{Payload, Slot};
use std::collections::BTreeMap;

/// Every value ever decided anywhere.
#[derive(Debug, Default)]
pub struct Agreement {
    decided: BTreeMap<Slot, Payload>,
}

impl Agreement {
    /// Some node holds `payload` as decided in `slot`.
    ///
    /// # Errors
    /// If another value was decided there.
    pub fn observe(&mut self, slot: Slot, payload: &Payload) -> Result<(), String> {
        match self.decided.get(&slot) {
            Some(known) if known == payload => Ok(()),
            Some(known) => {
                Err(format!("slot {slot} was decided as {known:?} and now as {payload:?}"))
            }
            None => {
                self.decided.insert(slot, payload.clone());
                Ok(())
            }
        }
    }

    /// How many slots were decided.
    pub fn slots(&self) -> usize {
        self.decided.len()
    }
}
