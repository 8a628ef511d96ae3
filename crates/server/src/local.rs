//! A node for clients within this process alone: it listens nowhere (spec D4).
//!
//! What the folder belongs to decides what it can do. A group of one is run as the real node, so that its writes go
//! through the log and a later server has them. A member of a larger group is opened for reading: a write would be
//! known to this node alone.

use crate::connections::Connections;
use crate::cursors::{self, Cursors};
use crate::error::ServerError;
use crate::faults::Faults;
use crate::folder::{Folder, Identity, Stage};
use crate::inbox::Inbox;
use crate::open::Opening;
use crate::options::{EvictAfter, Options};
use crate::process::raise_file_limit;
use crate::run::{Startup, Stop, now_ms, stopped};
use crate::service::NodeService;
use crate::watch_thread::Watches;
use api::{Call, Error, ErrorCode, Level, Request, Value};
use gateway::{Origin, Reply, Service};
use paxos::{Membership, Policy, Standing};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use store::{FjallEngine, FjallOptions, Reader, Store};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};

/// The address of a node that was founded without one; a server that is started with another one changes it.
const ADDRESS_DEFAULT: &str = "localhost:8000";

/// Bytes that either side of a connection within the process may be ahead.
const STREAM_BYTES: usize = 256 * 1024;

/// How a folder is opened without a server.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The folder; made if it is not there.
    pub folder: PathBuf,
    /// Memory for blocks of the store.
    pub cache_bytes: u64,
}

/// What can be done with a folder that was opened without a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything: it is a group of one.
    Full {
        /// Whether the group was founded just now.
        is_new: bool,
    },
    /// Only reading what this node knows, with [`Level::Local`].
    ReadOnly {
        /// Why, as a sentence.
        reason: String,
    },
}

/// Connects clients within the process to the node. Clones go to the same node.
#[derive(Clone, Debug)]
pub struct Dialer {
    streams: mpsc::UnboundedSender<DuplexStream>,
}

impl Dialer {
    /// A connection that speaks the native protocol.
    ///
    /// # Errors
    /// If the node has ended.
    pub fn connect(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
        let gone = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the node has ended");
        self.streams.send(theirs).map_err(gone)?;
        Ok(ours)
    }
}

/// Runs the node of a folder for clients within the process until `stop` turns true, and stops it in order. `ready` is
/// called once when it takes requests.
///
/// # Errors
/// [`ServerError`]: why the folder cannot be opened, or the node had to stop.
pub fn run_local(
    options: &LocalOptions,
    stop: Stop,
    ready: impl FnOnce(Access, Dialer),
) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ServerError::Thread { what: "the runtime", source })?;
    let ended = runtime.block_on(async {
        let folder = Folder::take(&options.folder, "a prompt without a server")?;
        let found = find(&folder)?;
        match found {
            Found { read_only: Some(reason), identity: Some(identity), .. } => {
                let node = ReadOnly { options, folder, identity, reason };
                node.run(stop, ready).await
            }
            Found { address, identity, .. } => {
                let is_new = identity.is_none();
                let serving = |dialer| ready(Access::Full { is_new }, dialer);
                Box::pin(run_alone(options, folder, address, stop, serving)).await
            }
        }
    });
    runtime.shutdown_background();
    ended
}

/// What the folder belongs to.
struct Found {
    identity: Option<Identity>,
    /// Where the node listens when it is served.
    address: String,
    /// Why it must not be written to, if so.
    read_only: Option<String>,
}

fn find(folder: &Folder) -> Result<Found, ServerError> {
    let mut found =
        Found { identity: folder.identity()?, address: ADDRESS_DEFAULT.into(), read_only: None };
    let Some(identity) = &found.identity else { return Ok(found) };
    if let Some((_, reason)) = folder.start_over_reason() {
        return Err(ServerError::NotLocal {
            path: folder.path().into(),
            reason: format!(
                "its data cannot be used ({reason}); serve it, so that it joins its group anew"
            ),
        });
    }
    folder.check_complete(identity)?;
    if identity.stage == Stage::New {
        if identity.is_founder() {
            return Ok(found);
        }
        return Err(ServerError::NotLocal {
            path: folder.path().into(),
            reason: "its node has not joined its group yet; serve it first".into(),
        });
    }
    let examined = crate::inspect::examine_log(folder.path(), identity, |_, _| Ok(()))?;
    found.read_only = why_read_only(identity, &examined);
    if let Some(member) = examined.last_membership.1.members.get(&identity.node) {
        found.address = member.address.clone();
    }
    Ok(found)
}

/// A group of one may be written to; nothing else, whatever its rule of deciding would allow.
fn why_read_only(identity: &Identity, examined: &replica::Examined) -> Option<String> {
    let is_alone = |membership: &Membership| {
        membership.members.len() == 1 && membership.voters().eq([identity.node])
    };
    if is_alone(&examined.membership.1) && is_alone(&examined.last_membership.1) {
        return None;
    }
    let members = examined.last_membership.1.members.len();
    Some(match members {
        0 => "its node is not a member of its group yet".into(),
        _ if !examined.membership.1.members.contains_key(&identity.node) => {
            "its node is no member of its group".into()
        }
        1 => "its node does not count in its group".into(),
        _ => format!("it belongs to a group of {members} nodes, which must agree to every write"),
    })
}

/// Runs the node of a group of one.
async fn run_alone(
    local: &LocalOptions,
    folder: Folder,
    address: String,
    stop: Stop,
    serving: impl FnOnce(Dialer),
) -> Result<(), ServerError> {
    let options = Options {
        folder: local.folder.clone(),
        listen: address.clone(),
        seeds: Vec::new(),
        advertise: None,
        cache_bytes: local.cache_bytes,
        insecure: false,
        replication: None,
        feature_level: None,
        evict_after: EvictAfter::Never,
        takeover_after: std::time::Duration::from_millis(500),
        log_retain_bytes: 256 << 20,
        disk_reserve_bytes: 64 << 20,
        cursor_timeout: cursors::TIMEOUT_DEFAULT,
        fault_injection: false,
    };
    let watches = Arc::new(Watches::new());
    let cursors = Arc::new(Cursors::new("local".into(), options.cursor_timeout));
    let identity = Arc::new(OnceLock::new());
    let inbox = Arc::new(Inbox::default());
    let faults = Arc::new(Faults::new(false));
    let (closing, closed) = watch::channel(false);
    let service = NodeService {
        inbox: Arc::clone(&inbox),
        faults: Arc::clone(&faults),
        cursors: Arc::clone(&cursors),
        watches: Arc::clone(&watches),
    };
    let connections = Connections::new(service, &identity, &address, closed, raise_file_limit());
    let (dialer, mut streams) = dialer();
    let accepting = Arc::clone(&connections);
    let accept = tokio::spawn(async move {
        while let Some(stream) = streams.recv().await {
            tokio::spawn(Arc::clone(&accepting).serve_local(stream));
        }
    });
    let mut startup = Startup {
        options: &options,
        folder,
        address,
        inbox,
        stop,
        identity,
        faults,
        cursors,
        watches,
    };
    let ended = startup.run(&connections, &closing, || serving(dialer)).await;
    accept.abort();
    ended
}

fn dialer() -> (Dialer, mpsc::UnboundedReceiver<DuplexStream>) {
    let (streams, received) = mpsc::unbounded_channel();
    (Dialer { streams }, received)
}

/// A folder of a larger group, opened for reading.
struct ReadOnly<'a> {
    options: &'a LocalOptions,
    folder: Folder,
    identity: Identity,
    reason: String,
}

impl ReadOnly<'_> {
    async fn run(
        self,
        mut stop: Stop,
        ready: impl FnOnce(Access, Dialer),
    ) -> Result<(), ServerError> {
        let opening = Opening {
            folder: self.folder.path().to_path_buf(),
            log_path: self.folder.log_path(),
            identity: self.identity.clone(),
            address: String::new(),
            feature_level: None,
            engine_options: FjallOptions {
                cache_bytes: self.options.cache_bytes,
                ..FjallOptions::default()
            },
            now_ms: now_ms(),
        };
        let path = self.folder.path().to_path_buf();
        let opened = opening.open().map_err(|source| ServerError::Start { path, source })?;
        let service = ReadOnlyService(Arc::new(Shown {
            reader: opened.store.reader(),
            cursors: Cursors::new("local".into(), cursors::TIMEOUT_DEFAULT),
            identity: self.identity,
            membership: opened.durable.membership.1,
            reason: self.reason.clone(),
        }));
        let (closing, closed) = watch::channel(false);
        let settings = Arc::new(gateway::Settings { stop: closed, ..gateway::Settings::default() });
        let (dialer, mut streams) = dialer();
        ready(Access::ReadOnly { reason: self.reason }, dialer);
        loop {
            let stream = tokio::select! {
                stream = streams.recv() => stream,
                () = stopped(&mut stop) => None,
            };
            let Some(stream) = stream else { break };
            let service = service.clone();
            tokio::spawn(gateway::native::serve(stream, &[], service, Arc::clone(&settings)));
        }
        closing.send_replace(true);
        close(opened.store)
    }
}

/// What a start replayed is made durable, so that the next one need not do it again.
fn close(mut store: Store<FjallEngine>) -> Result<(), ServerError> {
    let failed = |source| ServerError::Store { path: "store".into(), source };
    store.persist().map_err(failed)
}

/// Answers what can be read of a folder.
#[derive(Clone)]
struct ReadOnlyService(Arc<Shown>);

struct Shown {
    reader: Reader<FjallEngine>,
    cursors: Cursors,
    identity: Identity,
    membership: Membership,
    reason: String,
}

impl Service for ReadOnlyService {
    fn start(&self, call: Call, reply: Reply) {
        let origin = reply.origin();
        reply.send(self.0.answer(&call, origin));
    }
}

impl Shown {
    fn answer(&self, call: &Call, origin: Origin) -> Result<Value, Error> {
        let refused = |message: String| Err(Error::new(ErrorCode::Unavailable, message));
        let reason = &self.reason;
        match &call.request {
            Request::Status { .. } => Ok(Value::Document(self.status())),
            Request::Members => Ok(Value::Array(self.members())),
            request if request.is_write() => refused(format!(
                "{}: this folder can only be read without a server: {reason}; serve it and \
                 connect to that",
                request.name()
            )),
            Request::Member(_) | Request::Fault(_) => refused(format!(
                "{}: there is no server that could do it; serve the folder and connect to that",
                call.request.name()
            )),
            Request::Watch(_) => refused(
                "watch: nothing changes in this folder without a server; serve it and connect to that"
                    .into(),
            ),
            request
                if call.options.level != Level::Local
                    && self.identity.policy == Policy::Paxos
                    && !matches!(request, Request::Next { .. } | Request::Close { .. }) =>
            {
                refused(format!(
                    "{}: only this node can be asked what it knows (level=local): {reason}",
                    request.name()
                ))
            }
            request => {
                let answer = self.cursors.answer(&self.reader, request, origin);
                answer
                    .unwrap_or_else(|fatal| Err(Error::new(ErrorCode::Internal, fatal.to_string())))
            }
        }
    }

    fn status(&self) -> api::Document {
        let applied = i64::try_from(self.reader.applied_slot()).unwrap_or(i64::MAX);
        api::Document::from_iter([
            ("node".to_string(), Value::String(self.identity.node.to_string())),
            ("cluster".to_string(), Value::String(self.identity.cluster.to_string())),
            ("policy".to_string(), Value::String(self.identity.policy.to_string())),
            ("role".to_string(), Value::String("not running".into())),
            ("applied".to_string(), Value::Int64(applied)),
        ])
    }

    fn members(&self) -> Vec<Value> {
        let shown = |(node, member): (&paxos::NodeId, &paxos::Member)| {
            Value::Document(api::Document::from_iter([
                ("node".to_string(), Value::String(node.to_string())),
                ("address".to_string(), Value::String(member.address.clone())),
                ("voter".to_string(), Value::Boolean(member.standing == Standing::Voter)),
            ]))
        };
        self.membership.members.iter().map(shown).collect()
    }
}
