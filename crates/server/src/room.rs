//! How much room the disk has, so that a node stops taking writes before one fails.

use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// Watches the room on the disk of the folder.
#[derive(Debug)]
pub(crate) struct Room {
    reserve_bytes: u64,
    is_full: bool,
    looked_at: Option<Instant>,
}

impl Room {
    /// The disk counts as full while less than `reserve_bytes` are free; and, once it is, until a quarter more is.
    pub(crate) fn new(reserve_bytes: u64) -> Room {
        Room { reserve_bytes, is_full: false, looked_at: None }
    }

    /// Whether the disk is full, if that has changed; looks once a second.
    pub(crate) fn look(&mut self, folder: &Path) -> Option<bool> {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_WAIT) {
            return None;
        }
        self.looked_at = Some(Instant::now());
        // What cannot be asked is not full.
        let free =
            rustix::fs::statvfs(folder).map_or(u64::MAX, |stat| stat.f_bavail * stat.f_frsize);
        self.note(free)
    }

    fn note(&mut self, free_bytes: u64) -> Option<bool> {
        let enough = if self.is_full {
            self.reserve_bytes + self.reserve_bytes / 4
        } else {
            self.reserve_bytes
        };
        let is_full = free_bytes < enough;
        if is_full == self.is_full {
            return None;
        }
        self.is_full = is_full;
        if is_full {
            tracing::error!(
                free_bytes,
                reserve_bytes = self.reserve_bytes,
                "the disk is full: this node takes no writes until there is room"
            );
        } else {
            tracing::info!(free_bytes, "there is room on the disk again: this node takes writes");
        }
        Some(is_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_needs_a_quarter_more_to_count_as_free() {
        let mut room = Room::new(100);
        assert_eq!(room.note(100), None);
        assert_eq!(room.note(99), Some(true));
        assert_eq!(room.note(120), None);
        assert_eq!(room.note(125), Some(false));
    }
}
