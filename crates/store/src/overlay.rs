//! The changes of an apply batch laid over the engine, before they are committed.

use crate::engine::{Batch, Direction, EngineError, Row, Rows, View};
use bytes::Bytes;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::ops::Bound;

/// A changed key, and what it held before.
pub(crate) type Changed<'o> = (&'o [u8], Option<Bytes>);

/// A view with changes on top. One apply batch, of many log entries, is one overlay; each entry can
/// be taken back alone.
pub(crate) struct Overlay<V> {
    base: V,
    changes: BTreeMap<Vec<u8>, Change>,
    /// What each changed key held before, in order of change, since the last savepoint.
    undo: Vec<(Vec<u8>, Option<Change>)>,
    /// Bytes of rows put since the last savepoint, whether or not they stayed.
    written_bytes: usize,
    /// What the base was asked for since the last savepoint, one key at a time, and answered: who changes a row has
    /// usually read it, and what it held before is asked for again.
    base_reads: RefCell<Vec<BaseRead>>,
}

type BaseRead = (Vec<u8>, Option<Bytes>);

/// Most answers of the base that are remembered.
const BASE_READS_MAX: usize = 16;

#[derive(Clone, Debug)]
enum Change {
    /// A new value; `fresh` if the base has no such key, so that removing it leaves nothing to do.
    Put {
        value: Bytes,
        fresh: bool,
    },
    Delete,
}

impl Change {
    fn value(&self) -> Option<Bytes> {
        match self {
            Change::Put { value, .. } => Some(value.clone()),
            Change::Delete => None,
        }
    }
}

impl<V: View> Overlay<V> {
    pub(crate) fn new(base: V) -> Overlay<V> {
        let base_reads = RefCell::default();
        Overlay { base, changes: BTreeMap::new(), undo: Vec::new(), written_bytes: 0, base_reads }
    }

    /// Everything from here on can be taken back by [`Overlay::roll_back`].
    pub(crate) fn savepoint(&mut self) {
        self.undo.clear();
        self.written_bytes = 0;
        self.base_reads.get_mut().clear();
    }

    /// Bytes of rows put since the last savepoint, each time they were put.
    pub(crate) fn written_bytes(&self) -> usize {
        self.written_bytes
    }

    /// Takes back everything since the last savepoint.
    pub(crate) fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(change) => self.changes.insert(key, change),
                None => self.changes.remove(&key),
            };
        }
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: impl Into<Bytes>) {
        self.put_over(key, value.into(), |before| {
            matches!(before, Some(Change::Put { fresh: true, .. }))
        });
    }

    /// Puts a key that neither the base nor the overlay holds.
    pub(crate) fn put_fresh(&mut self, key: Vec<u8>, value: impl Into<Bytes>) {
        // After a deletion in this batch the base may still hold the key.
        self.put_over(key, value.into(), |before| before.is_none());
    }

    /// Puts a key; whether the base lacks it follows from what the overlay held.
    fn put_over(
        &mut self,
        key: Vec<u8>,
        value: Bytes,
        is_fresh: impl FnOnce(Option<&Change>) -> bool,
    ) {
        self.written_bytes += key.len() + value.len();
        let before = match self.changes.entry(key.clone()) {
            Entry::Vacant(place) => {
                place.insert(Change::Put { value, fresh: is_fresh(None) });
                None
            }
            Entry::Occupied(mut place) => {
                let fresh = is_fresh(Some(place.get()));
                Some(place.insert(Change::Put { value, fresh }))
            }
        };
        self.undo.push((key, before));
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        if matches!(self.changes.get(&key), Some(Change::Put { fresh: true, .. })) {
            let before = self.changes.remove(&key);
            self.undo.push((key, before));
        } else {
            let before = self.changes.insert(key.clone(), Change::Delete);
            self.undo.push((key, before));
        }
    }

    /// The keys changed since the last savepoint, in the order of the changes; some of them repeatedly.
    pub(crate) fn changed_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.undo.iter().map(|(key, _)| &key[..])
    }

    /// What a changed key holds now, if it was put.
    pub(crate) fn put_value(&self, key: &[u8]) -> Option<Bytes> {
        self.changes.get(key).and_then(Change::value)
    }

    /// The keys changed since the last savepoint that are wanted, each once, in the order of their first changes,
    /// with what they held at the savepoint.
    pub(crate) fn changed_from(
        &self,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Changed<'_>>, EngineError> {
        let mut seen = BTreeSet::new();
        let mut changed = Vec::new();
        for (key, before) in &self.undo {
            if is_wanted(key) && seen.insert(&key[..]) {
                let before = match before {
                    Some(before) => before.value(),
                    None => self.base_value(key)?,
                };
                changed.push((&key[..], before));
            }
        }
        Ok(changed)
    }

    pub(crate) fn into_batch(self) -> Batch {
        let changes = self.changes.into_iter().map(|(key, change)| (key, change.value())).collect();
        Batch { changes }
    }

    /// What the base holds, perhaps as it answered before: it does not change while it lies under this overlay.
    fn base_value(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let reads = self.base_reads.borrow();
        match reads.iter().find(|(read, _)| read == key) {
            Some((_, value)) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn base(&self) -> &V {
        &self.base
    }
}

impl<V: View> View for Overlay<V> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.value()),
            None => {
                let value = self.base.get(key)?;
                let mut reads = self.base_reads.borrow_mut();
                if reads.len() < BASE_READS_MAX {
                    reads.push((key.to_vec(), value.clone()));
                }
                Ok(value)
            }
        }
    }

    fn range(&self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'_> {
        let base = self.base.range(from, to, direction);
        if from >= to {
            return base;
        }
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let changes = self.changes.range::<[u8], _>(bounds);
        let changes: Box<dyn Iterator<Item = (&Vec<u8>, &Change)> + '_> = match direction {
            Direction::Forward => Box::new(changes),
            Direction::Backward => Box::new(changes.rev()),
        };
        Box::new(Merge { base: base.peekable(), changes: changes.peekable(), direction })
    }
}

/// Rows of the base and the changes in one order; a change hides the base's row of its key.
struct Merge<'view, C: Iterator<Item = (&'view Vec<u8>, &'view Change)>> {
    base: Peekable<Rows<'view>>,
    changes: Peekable<C>,
    direction: Direction,
}

impl<'view, C: Iterator<Item = (&'view Vec<u8>, &'view Change)>> Iterator for Merge<'view, C> {
    type Item = Result<Row, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.base.peek(), self.changes.peek()) {
                (None, None) => return None,
                (Some(Ok((key, _))), Some((changed, _))) => {
                    let order = key[..].cmp(&changed[..]);
                    if self.direction == Direction::Forward { order } else { order.reverse() }
                }
                (Some(_), _) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            if order == Ordering::Less {
                return self.base.next();
            }
            if order == Ordering::Equal {
                self.base.next();
            }
            if let Some((key, Change::Put { value, .. })) = self.changes.next() {
                return Some(Ok((Bytes::copy_from_slice(key), value.clone())));
            }
        }
    }
}
