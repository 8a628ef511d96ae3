//! Removes what is left of destroyed collections and dropped indexes, some rows with each apply batch.
//!
//! Nothing sees these rows any more, so it does not matter when they go: the pace depends on batching, and where it goes on
//! is kept in memory alone. Without that place every batch would look again at all that earlier ones removed, which
//! an engine of sorted tables keeps as marks for a while.

use crate::apply::Applying;
use crate::engine::{Direction, View};
use crate::failure::Fatal;
use crate::keys;

/// Most rows removed with one apply batch.
const ROWS_PER_BATCH: usize = 1024;

/// Where removing goes on: the start of the rows that go, which of their ranges, and the first key in it that was not
/// looked at. No part of the content: after a start it begins anew.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<(Vec<u8>, usize, Vec<u8>)>);

impl PartialEq for Place {
    fn eq(&self, _: &Place) -> bool {
        true
    }
}

impl Eq for Place {}

impl<V: View> Applying<'_, V> {
    /// Removes some rows that nothing can see.
    pub(crate) fn sweep(&mut self) -> Result<(), Fatal> {
        let mut left = ROWS_PER_BATCH;
        if let Some((collection, index)) = self.state.dropped.first().copied() {
            let ranges = [keys::prefix_range(&keys::index(collection, index))];
            left -= self.remove_rows(&ranges, left)?;
            if left > 0 {
                self.state.dropped.remove(&(collection, index));
                self.overlay.delete(keys::dropped(collection, index));
            }
        }
        if left == 0 {
            return Ok(());
        }
        if let Some(number) = self.state.destroyed.first().copied() {
            let ranges = [keys::documents(number), keys::indexes(number)];
            let ranges = ranges.map(|prefix| keys::prefix_range(&prefix));
            left -= self.remove_rows(&ranges, left)?;
            if left > 0 {
                self.state.destroyed.remove(&number);
                self.overlay.delete(keys::destroyed(number));
            }
        }
        Ok(())
    }

    /// Removes at most so many rows of the ranges, from the place on. Answers how many; fewer if none are left.
    fn remove_rows(
        &mut self,
        ranges: &[(Vec<u8>, Vec<u8>)],
        rows_max: usize,
    ) -> Result<usize, Fatal> {
        let name = &ranges[0].0;
        let (first, mut from) = match self.state.sweep.0.take() {
            Some((of, range, key)) if of == *name => (range, Some(key)),
            _ => (0, None),
        };
        let mut gone = Vec::new();
        for (number, (start, to)) in ranges.iter().enumerate().skip(first) {
            let from = from.take().unwrap_or_else(|| start.clone());
            let rows = self.overlay.range(&from, to, Direction::Forward);
            for row in rows.take(rows_max - gone.len()) {
                gone.push(row?.0);
            }
            if gone.len() == rows_max {
                // Nothing lies between a key and the same with a zero behind it.
                let next = gone.last().map_or(from, |key| [key, &[0][..]].concat());
                self.state.sweep.0 = Some((name.clone(), number, next));
                break;
            }
        }
        for key in &gone {
            self.overlay.delete(key.to_vec());
        }
        Ok(gone.len())
    }
}
