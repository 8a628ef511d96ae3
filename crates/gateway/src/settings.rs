//! Limits and sources that all connections of a node share.

use crate::UnfinishedBytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Makes the `_id` of a document that brings none. It must be unique for ever, over all nodes.
pub type IdSource = Arc<dyn Fn() -> String + Send + Sync>;

/// Limits and sources that all connections of a node share.
#[derive(Clone)]
pub struct Settings {
    /// Most requests of one connection that are under way; beyond it the connection is not read, so
    /// the client waits.
    pub requests_in_flight_max: usize,
    /// Bytes of answers that wait for the client to read them, beyond which the connection's next
    /// answers are not encoded and its next requests not started.
    pub output_bytes_max: usize,
    /// Most bytes that frames which are not complete may hold, over all connections of the node and
    /// beyond 64 KiB of each. A connection that needs more is refused as busy and closed.
    pub unfinished_bytes_max: usize,
    /// The bytes they hold now: one counter for all connections of a node.
    pub unfinished_bytes: UnfinishedBytes,
    /// How long the rest of a frame that has begun may keep coming; restarted with every 64 KiB of it.
    /// A connection with no frame under way may be silent for ever.
    pub frame_timeout: Duration,
    /// How long a client may leave its answers unread before it is disconnected.
    pub stall_timeout: Duration,
    /// Makes the `_id` of documents that bring none: a UUID of version 4 unless a test needs others.
    pub ids: IdSource,
    /// Turns true when connections must end: nothing more is read, what is under way is answered.
    pub stop: watch::Receiver<bool>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            requests_in_flight_max: 1024,
            output_bytes_max: 1024 * 1024,
            unfinished_bytes_max: 256 * 1024 * 1024,
            unfinished_bytes: UnfinishedBytes::default(),
            frame_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            ids: Arc::new(|| uuid::Uuid::new_v4().to_string()),
            stop: watch::channel(false).1,
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("requests_in_flight_max", &self.requests_in_flight_max)
            .field("output_bytes_max", &self.output_bytes_max)
            .field("unfinished_bytes_max", &self.unfinished_bytes_max)
            .field("unfinished_bytes", &self.unfinished_bytes)
            .field("frame_timeout", &self.frame_timeout)
            .field("stall_timeout", &self.stall_timeout)
            .finish_non_exhaustive()
    }
}
