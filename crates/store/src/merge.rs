//! The documents of all branches of a union in one order.
//!
//! Each branch gives its documents in the order asked for; of those that stand first in their branches the
//! least comes next. So no more than one document of each branch is held, and a long one not at all.

use crate::engine::View;
use crate::failure::Outcome;
use crate::rank::Ranked;
use crate::scan::{Examined, Found, Keys, Place, Scan, decode};
use crate::union::{UNION_BRANCHES_MAX, Union};
use api::Document;
use std::collections::BinaryHeap;

/// A longer document is not held while it waits, but read once more.
const WAITING_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(WAITING_BYTES_MAX * UNION_BRANCHES_MAX <= crate::search::RESULT_BYTES_MAX);

/// What is called for each document, with where every branch stands behind it.
pub(crate) type EachMerged<'e> = &'e mut dyn FnMut(Found, &[Option<Place>]) -> Outcome<bool>;

/// The document that stands first in its branch. The greatest is that which comes next.
struct Head {
    ranked: Ranked,
    branch: usize,
    place: Place,
    is_held: bool,
}

impl<V: View> Scan<'_, V> {
    /// Calls `each` for every document that the filter means, in the order asked for, until it answers false.
    /// It is told where all branches stand behind the document. Every branch must give that order.
    pub(crate) fn merged(
        &self,
        union: &Union<'_>,
        behind: Option<&[Option<Place>]>,
        examined: &mut Examined,
        each: EachMerged<'_>,
    ) -> Outcome<()> {
        let count = union.branches.len();
        examined.branches = vec![Examined::default(); count];
        let mut places = behind.map_or_else(|| vec![None; count], <[_]>::to_vec);
        let keys = |branch: usize| self.keys_of_branch(union, branch, places[branch].as_ref());
        let mut branches: Vec<Keys<'_, V>> = (0..count).map(keys).collect();
        let mut heads = BinaryHeap::with_capacity(count);
        for (branch, keys) in branches.iter_mut().enumerate() {
            heads.extend(self.head(union, branch, keys, &mut examined.branches[branch])?);
        }
        while let Some(Head { ranked, branch, place, is_held }) = heads.pop() {
            let mut found = ranked.found;
            if !is_held {
                found.document = decode(&self.document_row(&found.id_key)?)?;
            }
            places[branch] = Some(place);
            if !each(found, &places)? {
                break;
            }
            let examined = &mut examined.branches[branch];
            heads.extend(self.head(union, branch, &mut branches[branch], examined)?);
        }
        Ok(())
    }

    fn head(
        &self,
        union: &Union<'_>,
        branch: usize,
        keys: &mut Keys<'_, V>,
        examined: &mut Examined,
    ) -> Outcome<Option<Head>> {
        let next = self.next_of(union, branch, keys, examined)?;
        Ok(next.map(|(found, place)| {
            let mut ranked = Ranked::new(self.sort, found);
            let is_held = ranked.found.size_bytes <= WAITING_BYTES_MAX;
            if !is_held {
                ranked.found.document = Document::new();
            }
            Head { ranked, branch, place, is_held }
        }))
    }
}

/// Two branches never have the same document, which settles what ranks and `_id` leave open.
impl Ord for Head {
    fn cmp(&self, other: &Head) -> std::cmp::Ordering {
        other.ranked.cmp(&self.ranked)
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == std::cmp::Ordering::Equal
    }
}

impl Eq for Head {}
