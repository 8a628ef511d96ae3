//! Values as keys of ordered maps and sets, in the order of values.

use api::Value;
use api::order::compare;
use std::borrow::Borrow;
use std::cmp::Ordering;

/// A value, or a reference to one, that stands in the order of values: `1` and `1.0` are one key.
#[derive(Clone, Debug)]
pub(crate) struct Ordered<T>(pub(crate) T);

impl<T: Borrow<Value>> Ord for Ordered<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.0.borrow(), other.0.borrow())
    }
}

impl<T: Borrow<Value>> PartialOrd for Ordered<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Borrow<Value>> PartialEq for Ordered<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Borrow<Value>> Eq for Ordered<T> {}
