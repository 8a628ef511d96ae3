//! [`ServerError`]: why a node cannot start or go on, in words for an operator.

use paxos::{NodeId, Policy};
use std::io;
use std::path::PathBuf;

/// Why a node cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address on the command line makes no sense.
    #[error("{what} {address:?}: {reason}; write HOST:PORT, as in localhost:8000")]
    BadAddress {
        /// Which one.
        what: &'static str,
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address is not a loopback address, and nothing protects it yet.
    #[error(
        "{address} can be reached from other machines, and this version has neither TLS nor users: \
         listen on localhost, or say --insecure if the network is trusted"
    )]
    Exposed {
        /// The address.
        address: String,
    },
    /// The disk is full, and under the passive policy the others would wait for this node for ever.
    #[error(
        "the disk of {} is full, and in a passive group every write would wait for it: this node stops, so that the \
         others go on without it. Make room (see serve --disk-reserve-mib) and start it again",
        path.display()
    )]
    HoldsUp {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else listens there.
    #[error("{address} is in use by another process; stop it or choose another port")]
    AddressInUse {
        /// The address.
        address: String,
    },
    /// The address cannot be listened at for another reason.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    Folder {
        /// What was tried, as a verb.
        operation: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The path names something that is not a folder.
    #[error("{path} is not a folder; name a folder for the data, new or used before", path = path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// Another process holds the folder.
    #[error("the folder {path} is in use by another process ({holder}); stop it first", path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who holds it, as it says itself.
        holder: String,
    },
    /// The folder cannot be opened without a server.
    #[error("the folder {path} cannot be opened without a server: {reason}", path = path.display())]
    NotLocal {
        /// The folder.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The folder holds something else than a node.
    #[error(
        "the folder {path} holds {found:?} but no identity.json: it is not the folder of a node; \
         choose an empty or new folder", path = path.display()
    )]
    NotANode {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The folder was written by another version of this program.
    #[error(
        "the folder {path} has format version {found}, this program knows only version {known}; use \
         the program that wrote it", path = path.display()
    )]
    Version {
        /// The folder.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The version this program reads and writes.
        known: u64,
    },
    /// The identity cannot be understood.
    #[error("{path} is damaged: {reason}; restore it from a backup, or let the node join anew in a new folder", path = path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Log and store do not belong together, or one is gone.
    #[error("the folder {path} {reason}", path = path.display())]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// What is missing and what to do.
        reason: String,
    },
    /// The node of this folder belongs to another group than the one it was sent to.
    #[error(
        "{folder} belongs to cluster {own}, but the node at {address} to cluster {other}: nothing was \
         changed; leave out {address}, or use a new folder to join that cluster",
        folder = folder.display()
    )]
    OtherCluster {
        /// The folder.
        folder: PathBuf,
        /// The group of the folder.
        own: String,
        /// The address that was given.
        address: String,
        /// The group met there.
        other: String,
    },
    /// The member to join through would not have it.
    #[error("the node at {address} refuses to be joined: {reason}")]
    Refused {
        /// Its address.
        address: String,
        /// Its words.
        reason: String,
    },
    /// Log and store cannot be brought together.
    #[error("cannot start from {path}: {source}", path = path.display())]
    Start {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: replica::StartError,
    },
    /// The log failed while the node ran.
    #[error(
        "{source} (in {path}): this node stops, because it can no longer promise that anything is \
         kept; nothing that was acknowledged is lost; check the disk, then start it again",
        path = path.display()
    )]
    Log {
        /// The log's folder.
        path: PathBuf,
        /// What happened.
        source: replica::JournalError,
    },
    /// The store failed while the node ran.
    #[error(
        "{source} (in {path}): this node stops; check the disk, then start it again",
        path = path.display()
    )]
    Store {
        /// The store's folder.
        path: PathBuf,
        /// What happened.
        source: store::Fatal,
    },
    /// The group decides by another rule than the one asked for.
    #[error(
        "the group decides by the policy {found}, not {asked}: a group keeps the policy it was founded with; \
         leave out --replication, or found another group in a new folder"
    )]
    OtherPolicy {
        /// The group's.
        found: Policy,
        /// The one on the command line.
        asked: Policy,
    },
    /// The node was removed from its group.
    #[error(
        "this node ({node}) was removed from its group, or another took its place: it takes part no more; \
         \"mondongo member add\" with its id lets it in again, a new folder makes it a new member"
    )]
    Removed {
        /// Who.
        node: NodeId,
    },
    /// The group is at a feature level that this version does not know.
    #[error(
        "the group is at feature level {level}, this version knows up to {known}: nothing of it was \
         applied; start a newer version"
    )]
    Unsupported {
        /// The group's.
        level: u32,
        /// The newest known here.
        known: u32,
    },
    /// The data cannot be used any more; the node is to join its group anew. Handled by [`crate::run`].
    #[error("{reason}; the node starts over as a new member")]
    StartOver {
        /// A word for the name of the folder that keeps the old data.
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// A thread cannot be started, or the runtime.
    #[error("cannot start {what}: {source}")]
    Thread {
        /// Which.
        what: &'static str,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
    /// A part of the node ended by a defect.
    #[error("a defect ended the {part} of this node; what it said is above; please report it")]
    Defect {
        /// Which part.
        part: &'static str,
    },
    /// It was told to stop before it had begun to serve.
    #[error("stopped before the group at {address} could be reached")]
    StoppedBeforeJoining {
        /// The addresses tried.
        address: String,
    },
}

impl ServerError {
    /// Whether data of this node turned out to be damaged or gone, so that only others can have it.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            ServerError::Start { source, .. } => source.is_damage(),
            ServerError::Log { source, .. } => source.is_damage(),
            ServerError::Store { source, .. } => source.is_damage(),
            ServerError::Incomplete { .. } => true,
            _ => false,
        }
    }
}
