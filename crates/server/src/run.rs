//! From a folder and an address to a running node, and back to a clean stop.

use crate::address::{check, check_reachable, resolve_listen};
use crate::apply_thread::ApplyThread;
use crate::backlog::Backlog;
use crate::connections::{Connections, Count};
use crate::error::ServerError;
use crate::faults::Faults;
use crate::folder::{Folder, Identity, Stage};
use crate::inbox::{Inbox, Phase};
use crate::join::Asking;
use crate::listener::listen;
use crate::log_thread::LogThread;
use crate::node::{Node, Seen, UnderWay};
use crate::options::Options;
use crate::peer::{Incoming, Peers};
use crate::process::{raise_file_limit, random_number};
use crate::queue::Queue;
use crate::readers::Readers;
use crate::service::NodeService;
use paxos::{Ballot, Durable, Membership, NodeId, Record, Slot};
use replica::{Config, Journal, Replica, StartError};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use store::{FjallEngine, FjallOptions, Store};
use tokio::sync::watch;
use wal::{FolderDisk, LogId};

/// How long clients may take to get their last answers when the node stops.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// The largest record: a command, which is 16 MiB and a little at most, or a membership.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// Turns true when the node is to stop.
pub type Stop = watch::Receiver<bool>;

/// Runs a node until `stop` turns true, and then stops it in order: clients get the answers of what is
/// under way, log and store are left complete.
///
/// # Errors
/// [`ServerError`]: why it cannot start, or had to stop.
pub fn run(options: &Options, stop: Stop) -> Result<(), ServerError> {
    let address = options.advertise.as_ref().unwrap_or(&options.listen).clone();
    let what = match options.advertise {
        Some(_) => "the advertised address",
        None => "the address to listen at",
    };
    check(what, &address)?;
    for seed in &options.seeds {
        check("the address of a member", seed)?;
    }
    let addresses = resolve_listen(&options.listen, options.insecure)?;
    check_reachable(what, &address)?;
    let connections_max = raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|source| ServerError::Thread { what: "the runtime", source })?;
    let result = runtime.block_on(async {
        let folder = Folder::take(&options.folder, &format!("a node at {}", options.listen))?;
        let listeners = listen(&options.listen, &addresses).await?;
        let identity = Arc::new(OnceLock::new());
        let inbox = Arc::new(Inbox::default());
        let faults = Arc::new(Faults::new(options.fault_injection));
        if options.fault_injection {
            tracing::warn!("clients may turn faults of this node on and off (--fault-injection)");
        }
        let (closing, closed) = watch::channel(false);
        let connections = Arc::new(Connections {
            service: NodeService { inbox: Arc::clone(&inbox), faults: Arc::clone(&faults) },
            settings: Arc::new(gateway::Settings { stop: closed, ..gateway::Settings::default() }),
            incoming: Incoming::new(
                Arc::clone(&identity),
                address.clone(),
                Arc::clone(&inbox),
                Arc::clone(&faults),
            ),
            connections_max,
            count: Count::default(),
        });
        for listener in listeners {
            tokio::spawn(Arc::clone(&connections).accept(listener));
        }
        let startup = Startup { options, folder, address, inbox, stop, identity, faults };
        startup.run(&connections, &closing).await
    });
    // A thread that still looks up a host name must not hold up the end.
    runtime.shutdown_background();
    result
}

struct Startup<'a> {
    options: &'a Options,
    folder: Folder,
    address: String,
    inbox: Arc<Inbox>,
    stop: Stop,
    identity: Arc<OnceLock<Identity>>,
    faults: Arc<Faults>,
}

/// A log and a store that agree.
struct Opened {
    journal: Journal<FolderDisk>,
    store: Store<FjallEngine>,
    durable: Durable,
}

/// The working threads of a node, and how to end them.
struct Threads {
    log: JoinHandle<()>,
    apply: JoinHandle<()>,
    readers: Vec<JoinHandle<()>>,
}

impl Startup<'_> {
    async fn run(
        mut self,
        connections: &Connections,
        closing: &watch::Sender<bool>,
    ) -> Result<(), ServerError> {
        let Some(identity) = self.find_identity().await? else { return Ok(()) };
        // The folder has no other user, so nobody else has set it.
        let identity = self.identity.get_or_init(|| identity).clone();
        let opened = self.open(&identity).await?;
        let identity = Arc::new(Identity { stage: Stage::Ready, ..identity });

        let (is_member, member) = watch::channel(false);
        let must_join = opened.durable.membership.1.members.is_empty() && !identity.is_founder();
        let (node, threads) = self.assemble(&identity, opened, is_member)?;
        let (log, apply, readers) =
            (Arc::clone(&node.log), Arc::clone(&node.apply), Arc::clone(&node.readers));
        self.inbox.set_phase(Phase::Serving);
        tracing::info!(
            address = self.options.listen,
            node = %identity.node,
            cluster = %identity.cluster,
            "serving {}", self.options.folder.display()
        );
        let event_loop = tokio::spawn(node.run());
        tokio::pin!(event_loop);
        let seeds = match &self.options.seeds {
            given if !given.is_empty() => given.clone(),
            _ if must_join => identity.seeds.clone(),
            _ => Vec::new(),
        };
        let joining = (!seeds.is_empty()).then(|| {
            let asking = self.asking(identity.node, seeds);
            let inbox = Arc::clone(&self.inbox);
            tokio::spawn(asking.keep_seed(Arc::clone(&identity), inbox, must_join, member))
        });

        let ended = tokio::select! {
            ended = &mut event_loop => ended,
            () = stopped(&mut self.stop) => {
                tracing::info!("stopping");
                closing.send_replace(true);
                tokio::select! {
                    ended = &mut event_loop => ended,
                    _ = tokio::time::timeout(DRAIN_TIME, connections.count.clients_gone()) => {
                        self.inbox.set_phase(Phase::Stopping);
                        self.inbox.put(|mail| mail.is_over = true);
                        event_loop.await
                    }
                }
            }
        };
        self.inbox.set_phase(Phase::Stopping);
        if let Some(joining) = joining {
            joining.abort();
        }
        let ended = ended.unwrap_or(Err(ServerError::Defect { part: "event loop" }));
        log.close();
        apply.close();
        readers.close();
        threads.join();
        // A thread may have failed while it finished.
        let late = self.inbox.take().failure;
        ended.and(late.map_or(Ok(()), Err))?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Who this node is: as its folder says, else as a founder, else as a new node of the group that
    /// it is sent to. None: it was stopped meanwhile.
    async fn find_identity(&mut self) -> Result<Option<Identity>, ServerError> {
        let seeds = self.options.seeds.clone();
        if let Some(identity) = self.folder.identity()? {
            self.folder.check_complete(&identity)?;
            if !seeds.is_empty() {
                let asking = self.asking(identity.node, seeds);
                asking.check(self.folder.path(), identity.cluster).await?;
            }
            return Ok(Some(identity));
        }
        let identity = if seeds.is_empty() {
            Identity::founding()?
        } else {
            let node = NodeId(random_number()?);
            let asking = self.asking(node, seeds.clone());
            let greeting = tokio::select! {
                greeting = asking.find() => greeting?,
                () = stopped(&mut self.stop) => return Ok(None),
            };
            Identity::joining(node, greeting.cluster, seeds)?
        };
        self.folder.write_identity(&identity)?;
        Ok(Some(identity))
    }

    fn asking(&self, node: NodeId, seeds: Vec<String>) -> Asking {
        Asking { node, address: self.address.clone(), seeds }
    }

    /// Opens log and store on another thread: it may take long, and clients are answered meanwhile.
    async fn open(&self, identity: &Identity) -> Result<Opened, ServerError> {
        let paths = (self.folder.log_path(), self.folder.store_path());
        let folder = self.folder.path().to_path_buf();
        let cache_bytes = self.options.cache_bytes;
        let (identity, address) = (identity.clone(), self.address.clone());
        let stage = identity.stage;
        let ready = Identity { stage: Stage::Ready, ..identity.clone() };
        let open = move || {
            open(&paths.0, &paths.1, &identity, &address, cache_bytes)
                .map_err(|source| ServerError::Start { path: folder, source })
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.unwrap_or(Err(ServerError::Defect { part: "start" }))?;
        if stage == Stage::New {
            self.folder.write_identity(&ready)?;
        }
        Ok(opened)
    }

    /// Builds the node and starts its threads.
    fn assemble(
        &self,
        identity: &Identity,
        opened: Opened,
        is_member: watch::Sender<bool>,
    ) -> Result<(Node, Threads), ServerError> {
        let Opened { journal, store, durable } = opened;
        let session = format!("{}-{:016x}", identity.node, random_number()?);
        let core = paxos::Config::new(identity.node);
        let mut config = Config::new(core, random_number()?, session, self.address.clone());
        config.cluster = identity.cluster.to_string();
        let inbox = &self.inbox;
        let backlog = Arc::new(Backlog::default());
        let node = Node {
            replica: Replica::new(config, durable),
            inbox: Arc::clone(inbox),
            peers: Peers::new(
                identity.node,
                identity.cluster,
                self.address.clone(),
                Arc::clone(&self.faults),
            ),
            log: Arc::new(Queue::new()),
            apply: Arc::new(Queue::new()),
            backlog: Arc::clone(&backlog),
            readers: Arc::new(Queue::new()),
            is_member,
            under_way: UnderWay::default(),
            seen: Seen::default(),
        };
        let readers = Readers {
            reader: store.reader(),
            path: self.folder.store_path(),
            queue: Arc::clone(&node.readers),
            inbox: Arc::clone(inbox),
        };
        let log = LogThread {
            journal,
            path: self.folder.log_path(),
            queue: Arc::clone(&node.log),
            inbox: Arc::clone(inbox),
        };
        let apply = ApplyThread {
            store,
            path: self.folder.store_path(),
            queue: Arc::clone(&node.apply),
            backlog,
            inbox: Arc::clone(inbox),
        };
        let threads =
            Threads { log: log.spawn()?, apply: apply.spawn()?, readers: readers.spawn()? };
        Ok((node, threads))
    }
}

impl Threads {
    /// Waits for all of them to finish; their queues are closed.
    fn join(self) {
        for thread in self.readers.into_iter().chain([self.log, self.apply]) {
            // A thread that ended by a panic has reported it.
            let _ = thread.join();
        }
    }
}

/// Opens log and store, founds the group if that is what the folder is for, and replays into the
/// store what it has missed.
fn open(
    log_path: &Path,
    store_path: &Path,
    identity: &Identity,
    address: &str,
    cache_bytes: u64,
) -> Result<Opened, StartError> {
    let is_new = identity.stage == Stage::New;
    let options = wal::Options {
        log_id: Some(LogId(identity.log)),
        create: is_new,
        record_bytes_max: RECORD_BYTES_MAX,
        ..wal::Options::default()
    };
    let disk = FolderDisk::open(log_path).map_err(|source| {
        let name = log_path.display().to_string();
        StartError::Journal(wal::Error::Io { operation: "open", name, source }.into())
    })?;
    let (mut journal, mut recovered, recovery) = Journal::open(disk, options)?;
    if recovery.torn_bytes > 0 {
        tracing::warn!(
            bytes = recovery.torn_bytes,
            "cut a torn tail off the log: the remains of records that were never acknowledged"
        );
    }
    if is_new && identity.is_founder() && recovered.decided == Slot::ZERO {
        let ballot = Ballot { round: 1, node: identity.node };
        if recovered.last == Slot::ZERO {
            journal.found(ballot, Membership::founding(identity.node, address))?;
        } else {
            // A crash while founding has left the first entry without the word that it is decided.
            journal.append(&[Record::Decided(Slot(1))])?;
            journal.flush()?;
        }
        recovered.promised = recovered.promised.max(ballot);
        (recovered.last, recovered.decided) = (recovered.last.max(Slot(1)), Slot(1));
    }
    let engine_options = FjallOptions { cache_bytes, ..FjallOptions::default() };
    let engine = FjallEngine::open(store_path, engine_options).map_err(store::Fatal::from)?;
    let mut store = Store::open(engine)?;
    let started = replica::start(&journal, &recovered, &mut store)?;
    tracing::info!(
        records = recovery.records,
        promised = %recovered.promised,
        last = %recovered.last,
        decided = %started.durable.decided,
        replayed = started.replayed,
        "log and store opened"
    );
    Ok(Opened { journal, store, durable: started.durable })
}

async fn stopped(stop: &mut Stop) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Whoever could stop us is gone: then nobody will.
        std::future::pending::<()>().await;
    }
}
