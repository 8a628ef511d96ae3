//! The sending side: a store's rows at one slot, as chunks.

use super::chunk::{ChunkWriter, Cursor};
use crate::catalog::{Catalog, Collection};
use crate::engine::{Direction, View};
use crate::failure::Fatal;
use crate::keys::{self, family};
use crate::store::{Group, Meta};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Bytes reserved for a chunk before its first row is read.
const CHUNK_BYTES_RESERVED_MAX: usize = 4 << 20;

/// The rows of a store at one applied slot. Whatever is applied meanwhile, it does not change.
///
/// While it lives, the engine keeps the rows that it sees; so it is to be dropped when nobody pulls
/// any more.
#[derive(Clone, Debug)]
pub struct Snapshot<V> {
    view: V,
    slot: u64,
    group: Option<(u64, Bytes)>,
    /// What is sent, in key order: bounds of ranges without overlap.
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<V: View> Snapshot<V> {
    pub(crate) fn new(view: V) -> Result<Snapshot<V>, Fatal> {
        let slot = Meta::read(&view)?.applied_slot;
        let group = Group::read(&view)?.map(|group| (group.slot, group.bytes));
        let ranges = ranges(&Catalog::load(&view)?);
        Ok(Snapshot { view, slot, group, ranges })
    }

    /// The applied slot at which the rows stand.
    pub fn slot(&self) -> u64 {
        self.slot
    }

    /// The last group fact at that slot, with its own slot, as [`crate::Store::group`].
    pub fn group(&self) -> Option<(u64, Bytes)> {
        self.group.clone()
    }

    /// The chunk behind a cursor, of at most `bytes_max` bytes, unless its only row is longer. The same
    /// cursor and length always give the same bytes. Behind the last row comes an empty last chunk. A
    /// cursor of another snapshot gives a chunk that its import refuses.
    ///
    /// # Errors
    /// This node's trouble.
    pub fn chunk(&self, after: &Cursor, bytes_max: usize) -> Result<Bytes, Fatal> {
        Ok(self.chunk_and_next(after, bytes_max)?.0)
    }

    /// As [`Snapshot::chunk`], and the cursor behind it unless it is the last, so that a sender can read ahead of what it
    /// is asked for.
    ///
    /// # Errors
    /// This node's trouble.
    pub fn chunk_and_next(
        &self,
        after: &Cursor,
        bytes_max: usize,
    ) -> Result<(Bytes, Option<Cursor>), Fatal> {
        let mut chunk = ChunkWriter::new(bytes_max.min(CHUNK_BYTES_RESERVED_MAX));
        let mut last = Bytes::new();
        for (from, to) in &self.ranges {
            // The smallest key behind the last one.
            let behind = [&after.key[..], &[0]].concat();
            let from = if after.key < *from { from } else { &behind };
            for row in self.view.range(from, to, Direction::Forward) {
                let (key, value) = row?;
                if chunk.rows() > 0 && chunk.length_with(&key, &value) > bytes_max {
                    let bytes = Bytes::from(chunk.finish(self.slot, after, false));
                    let next = after.next(&bytes, &last);
                    return Ok((bytes, Some(next)));
                }
                chunk.push(&key, &value);
                last = key;
            }
        }
        Ok((Bytes::from(chunk.finish(self.slot, after, true)), None))
    }

    /// Plants a bug, for a test that must notice it.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: crate::PlantedBug) {
        if bug == crate::PlantedBug::SnapshotWithoutReferences {
            let is_reference = |from: &[u8]| matches!(from, [family::REFERENCE | family::CLIENT]);
            self.ranges.retain(|(from, _)| !is_reference(from));
        }
    }
}

/// Every row but those of destroyed collections and of indexes that are dropped or could not be built.
fn ranges(catalog: &Catalog) -> Vec<(Vec<u8>, Vec<u8>)> {
    let collections: BTreeMap<u32, &Collection> =
        catalog.collections.values().map(|one| (one.number, &**one)).collect();
    let mut ranges: Vec<_> = [family::META, family::CATALOG, family::COUNT, family::BUILD]
        .map(keys::family_range)
        .into();
    ranges.extend(collections.keys().map(|number| keys::prefix_range(&keys::documents(*number))));
    for (number, collection) in &collections {
        let indexes = collection.indexes.iter().filter(|index| index.has_rows());
        ranges.extend(indexes.map(|index| keys::prefix_range(&keys::index(*number, index.number))));
    }
    ranges.extend([family::PAIR, family::REFERENCE, family::CLIENT].map(keys::family_range));
    ranges
}
