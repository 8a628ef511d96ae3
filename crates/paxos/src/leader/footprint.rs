//! What a node holds in memory, for tests that it stays within its bounds.

use crate::core::{Paxos, RoleState};

/// Bytes of entries and commands that the core holds. The bounds are in [`Config`](crate::Config).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Entries at hand: those not decided yet, and decided ones for followers. The latter are bounded by
    /// [`Config::window_bytes_max`](crate::Config::window_bytes_max).
    pub window_bytes: usize,
    /// At a leader: proposals that wait.
    pub waiting_bytes: usize,
    /// At a leader: entries proposed and not yet decided.
    pub undecided_bytes: usize,
    /// At a leader: the most bytes that are sent to one of the others, and not answered.
    pub inflight_bytes: usize,
}

impl Paxos {
    /// What this node holds in memory.
    pub fn footprint(&self) -> Footprint {
        let window_bytes = self.log.bytes();
        match &self.role {
            RoleState::Owning(l) => Footprint {
                window_bytes,
                waiting_bytes: l.waiting_bytes,
                undecided_bytes: l.undecided_bytes,
                inflight_bytes: l.peers.values().map(|p| p.inflight_bytes).max().unwrap_or(0),
            },
            _ => Footprint { window_bytes, ..Footprint::default() },
        }
    }
}
