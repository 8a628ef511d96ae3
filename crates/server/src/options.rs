//! [`Options`] of a node.

use std::path::PathBuf;

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
    /// Whether clients may turn faults of this node on and off (spec P5).
    pub fault_injection: bool,
}
