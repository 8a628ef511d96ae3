//! The order of documents that were found: by sort keys, then by `_id`.

use crate::keys;
use crate::scan::Found;
use api::path::Path;
use api::{Document, Value};
use std::cmp::Ordering;

/// A document's place by one sort key.
struct Rank {
    key: Vec<u8>,
    backward: bool,
}

impl Rank {
    /// Of several values the least counts upward and the greatest downward; nothing counts as null,
    /// an empty list stands below it.
    fn of(document: &Document, path: &Path, backward: bool) -> Rank {
        let mut best: Option<Vec<u8>> = None;
        path.visit(document, &mut |value| {
            let mut consider = |value: &Value| {
                let key = keys::encode(value);
                let better = best
                    .as_ref()
                    .is_none_or(|best| if backward { key > *best } else { key < *best });
                if better {
                    best = Some(key);
                }
            };
            match value {
                None => consider(&Value::Null),
                Some(Value::Array(elements)) if elements.is_empty() => consider(&Value::Undefined),
                Some(Value::Array(elements)) => elements.iter().for_each(consider),
                Some(value) => consider(value),
            }
            false
        });
        Rank { key: best.unwrap_or_else(|| keys::encode(&Value::Null)), backward }
    }
}

/// A document with its place: ranks, then `_id` in the direction of the first.
pub(crate) struct Ranked {
    ranks: Vec<Rank>,
    backward: bool,
    pub(crate) found: Found,
}

impl Ranked {
    /// A document's place in the order of sort keys, each with whether it goes down.
    pub(crate) fn new(sort: &[(Path, bool)], found: Found) -> Ranked {
        let rank = |(path, backward): &(Path, bool)| Rank::of(&found.document, path, *backward);
        let backward = sort.first().is_some_and(|(_, backward)| *backward);
        Ranked { ranks: sort.iter().map(rank).collect(), backward, found }
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let ranks: usize = self.ranks.iter().map(|rank| size_of::<Rank>() + rank.key.len()).sum();
        size_of::<Ranked>() + ranks + self.found.id_key.len()
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        for (left, right) in self.ranks.iter().zip(&other.ranks) {
            let order = left.key.cmp(&right.key);
            let order = if left.backward { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        let order = self.found.id_key.cmp(&other.found.id_key);
        if self.backward { order.reverse() } else { order }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}
