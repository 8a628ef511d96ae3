//! [`Options`] of a node.

use paxos::Policy;
use std::path::PathBuf;
use std::time::Duration;

/// How a node is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the data; made if it is not there.
    pub folder: PathBuf,
    /// Where to listen, `host:port`.
    pub listen: String,
    /// Addresses of members of a group to join; none: a new folder founds a group.
    pub seeds: Vec<String>,
    /// Where others reach this node, if not at `listen`.
    pub advertise: Option<String>,
    /// Memory for blocks of the store.
    pub cache_bytes: u64,
    /// Whether to listen where other machines may connect, though nothing protects the node yet.
    pub insecure: bool,
    /// By which rule the group decides; none: as the group does, or majorities for a new one.
    pub replication: Option<Policy>,
    /// The feature level of a group that this node founds, 1 to [`paxos::LEVEL_MAX`]; none: the newest. A group that
    /// exists has its own.
    pub feature_level: Option<u32>,
    /// How long a member may be out of reach before it is no longer waited for; none: a usual time.
    pub evict_after: EvictAfter,
    /// Under the passive policy: how long the leader must be silent before another takes over.
    pub takeover_after: Duration,
    /// About how many bytes of log are kept for members that were away.
    pub log_retain_bytes: u64,
    /// Room on the disk below which the node takes no writes.
    pub disk_reserve_bytes: u64,
    /// How long the rest of a long result waits to be asked for.
    pub cursor_timeout: Duration,
    /// Whether clients may turn faults of this node on and off (spec P5).
    pub fault_injection: bool,
}

/// When a member that is out of reach is no longer waited for (spec D16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictAfter {
    /// After ten minutes; under the passive policy, where nothing is decided without it, after half a second.
    #[default]
    Usual,
    /// After this time.
    Time(Duration),
    /// Never.
    Never,
}

impl EvictAfter {
    const PAXOS: Duration = Duration::from_secs(600);
    const PASSIVE: Duration = Duration::from_millis(500);

    /// The time under `policy`; none: never.
    pub(crate) fn under(self, policy: Policy) -> Option<Duration> {
        match (self, policy) {
            (EvictAfter::Never, _) => None,
            (EvictAfter::Time(time), _) => Some(time),
            (EvictAfter::Usual, Policy::Paxos) => Some(EvictAfter::PAXOS),
            (EvictAfter::Usual, Policy::Passive) => Some(EvictAfter::PASSIVE),
        }
    }
}
