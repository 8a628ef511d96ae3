//! The addresses at which the group can be reached.

use api::Value;

/// Most addresses that are remembered; what a node reports beyond it is ignored.
const MEMBERS_MAX: usize = 64;

/// The addresses that the user gave, then those that nodes reported. The one given first is tried first, the
/// others in an order of this client's own: the clients of a node that fails spread over all the others.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    addresses: Vec<String>,
    given: usize,
}

impl Members {
    pub(crate) fn new(given: &[String]) -> Members {
        let mut addresses: Vec<String> = Vec::new();
        for address in given {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        if let [_, others @ ..] = &mut addresses[..] {
            fastrand::shuffle(others);
        }
        Members { given: addresses.len(), addresses }
    }

    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Where `address` stands, which is remembered if it was not known.
    pub(crate) fn position_of(&mut self, address: &str) -> usize {
        match self.addresses.iter().position(|known| known == address) {
            Some(position) => position,
            None => {
                self.addresses.push(address.to_owned());
                self.addresses.len() - 1
            }
        }
    }

    /// Takes over what a node answered to `members`: a list of documents with `address`. Reported
    /// addresses replace those reported before; those given stay.
    pub(crate) fn learn(&mut self, answer: &Value) {
        let Value::Array(items) = answer else { return };
        self.addresses.truncate(self.given);
        for item in items.iter().take(MEMBERS_MAX) {
            if let Value::Document(document) = item
                && let Some(Value::String(address)) = document.get("address")
                && !self.addresses.contains(address)
            {
                self.addresses.push(address.clone());
            }
        }
    }
}
