//! From a folder and an address to a running node, and back to a clean stop.

use crate::address::{check, check_reachable, resolve_listen};
use crate::apply_thread::ApplyThread;
use crate::at_once::AtOnce;
use crate::backlog::Backlog;
use crate::connections::Connections;
use crate::cursors::Cursors;
use crate::diverged::DivergedFile;
use crate::error::ServerError;
use crate::faults::Faults;
use crate::folder::{Folder, Identity, Stage};
use crate::inbox::{Inbox, Phase};
use crate::join::Asking;
use crate::listener::listen;
use crate::log_thread::LogThread;
use crate::node::{Node, Seen, UnderWay};
use crate::open::{Opened, Opening};
use crate::options::Options;
use crate::peer::Peers;
use crate::process::{raise_file_limit, random_number};
use crate::queue::Queue;
use crate::readers::{Readers, SharedReader};
use crate::room::Room;
use crate::service::NodeService;
use crate::snapshot_thread::{ReadyStore, SnapshotThread};
use crate::sync_thread::SyncThread;
use crate::ticks::TICK;
use crate::watch_thread::{WatchThread, Watches};
use paxos::{NodeId, Policy};
use replica::{Config, Replica};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::FjallOptions;
use tokio::sync::watch;

/// How long clients may take to get their last answers when the node stops.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long another node may take to lead in the place of one that stops.
const HANDOVER_TIME: Duration = Duration::from_secs(2);

/// Turns true when the node is to stop.
pub type Stop = watch::Receiver<bool>;

/// Runs a node until `stop` turns true, and then stops it in order: another node leads, clients get the answers
/// of what is under way, log and store are left complete.
///
/// A node whose data turns out to be damaged or gone joins its group anew, as somebody else, if it knows other
/// members; what was there is kept aside.
///
/// # Errors
/// [`ServerError`]: why it cannot start, or had to stop.
pub fn run(options: &Options, stop: &Stop) -> Result<(), ServerError> {
    loop {
        match run_once(options, stop.clone()) {
            Err(ServerError::StartOver { kind, reason }) => {
                tracing::error!(kind, reason, "this node starts over as a new member of its group");
            }
            ended => return ended,
        }
    }
}

fn run_once(options: &Options, stop: Stop) -> Result<(), ServerError> {
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
        let listeners = match listen(&options.listen, &addresses).await {
            Ok(listeners) => listeners,
            Err(error) => {
                folder.discard_if_unused();
                return Err(error);
            }
        };
        let identity = Arc::new(OnceLock::new());
        let inbox = Arc::new(Inbox::default());
        let faults = Arc::new(Faults::new(options.fault_injection));
        let start = format!("{:016x}", random_number()?);
        let watches = Arc::new(Watches::new());
        let cursors = Arc::new(Cursors::new(start, options.cursor_timeout));
        if options.fault_injection {
            tracing::warn!("clients may turn faults of this node on and off (--fault-injection)");
        }
        let (closing, closed) = watch::channel(false);
        let service = NodeService {
            inbox: Arc::clone(&inbox),
            faults: Arc::clone(&faults),
            cursors: Arc::clone(&cursors),
            watches: Arc::clone(&watches),
        };
        let connections = Connections::new(service, &identity, &address, closed, connections_max);
        for listener in listeners {
            tokio::spawn(Arc::clone(&connections).accept(listener));
        }
        let mut startup =
            Startup { options, folder, address, inbox, stop, identity, faults, cursors, watches };
        let ended = startup.run(&connections, &closing, || {}).await;
        let settled = startup.settle(ended);
        // A node that has neither founded nor joined a group has not been.
        startup.folder.discard_if_unused();
        settled
    });
    // A thread that still looks up a host name must not hold up the end.
    runtime.shutdown_background();
    result
}

pub(crate) struct Startup<'a> {
    pub(crate) options: &'a Options,
    pub(crate) folder: Folder,
    pub(crate) address: String,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) stop: Stop,
    pub(crate) identity: Arc<OnceLock<Identity>>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) watches: Arc<Watches>,
}

/// The working threads of a node, and how to end them.
struct Threads {
    log: JoinHandle<()>,
    apply: JoinHandle<()>,
    snapshot: JoinHandle<()>,
    readers: Vec<JoinHandle<()>>,
    watch: JoinHandle<()>,
    sync: JoinHandle<()>,
}

impl Startup<'_> {
    /// Damage that others can make good is no end: the node starts over.
    fn settle(&self, ended: Result<(), ServerError>) -> Result<(), ServerError> {
        let error = match ended {
            Err(ServerError::StartOver { kind, reason }) => {
                self.folder.mark_start_over(kind, &reason)?;
                return Err(ServerError::StartOver { kind, reason });
            }
            Err(error) if error.is_damage() => error,
            ended => return ended,
        };
        let seeds = match self.folder.identity() {
            Ok(Some(identity)) => identity.seeds,
            _ => return Err(error),
        };
        if self.others(seeds).is_empty() {
            return Err(error);
        }
        let (kind, reason) = ("damaged", error.to_string());
        self.folder.mark_start_over(kind, &reason)?;
        Err(ServerError::StartOver { kind, reason })
    }

    /// Where other members may be.
    fn others(&self, seeds: Vec<String>) -> Vec<String> {
        let mut others = self.options.seeds.clone();
        for address in self.folder.members().into_iter().chain(seeds) {
            if address != self.address && !others.contains(&address) {
                others.push(address);
            }
        }
        others
    }

    /// Runs the node until it is told to stop; `serving` is called when it takes requests.
    pub(crate) async fn run(
        &mut self,
        connections: &Connections,
        closing: &watch::Sender<bool>,
        serving: impl FnOnce(),
    ) -> Result<(), ServerError> {
        let Some(identity) = self.find_identity().await? else { return Ok(()) };
        // The folder has no other user, so nobody else has set it.
        let identity = self.identity.get_or_init(|| identity).clone();
        self.check_policy(&identity)?;
        let opened = self.open(&identity).await?;
        let identity = Arc::new(Identity { stage: Stage::Ready, ..identity });

        let (is_member, member) = watch::channel(false);
        let must_join = opened.durable.membership.1.members.is_empty() && !identity.is_founder();
        let (has_handed_over, mut handed_over) = watch::channel(false);
        let (node, threads) = self.assemble(&identity, opened, is_member, has_handed_over)?;
        let (log, apply) = (Arc::clone(&node.log), Arc::clone(&node.apply));
        let (readers, snapshots) = (Arc::clone(&node.readers), Arc::clone(&node.snapshots));
        self.inbox.set_phase(Phase::Serving);
        serving();
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
                self.inbox.put(|mail| mail.hands_over = true);
                closing.send_replace(true);
                self.watches.stop();
                let quiet = async {
                    // Whatever is not done in its time is left.
                    let _ = tokio::time::timeout(
                        HANDOVER_TIME,
                        handed_over.wait_for(|has| *has),
                    ).await;
                    let _ = tokio::time::timeout(DRAIN_TIME, connections.count.clients_gone()).await;
                };
                tokio::select! {
                    ended = &mut event_loop => ended,
                    () = quiet => {
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
        if matches!(ended, Err(ServerError::Removed { .. })) {
            // Whoever asked for it gets the answer.
            closing.send_replace(true);
            let _ = tokio::time::timeout(DRAIN_TIME, connections.count.clients_gone()).await;
        }
        log.close();
        apply.close();
        self.watches.close();
        readers.close();
        snapshots.close();
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
            if let Some((kind, reason)) = self.folder.start_over_reason() {
                return self.start_over(identity, &kind, &reason).await;
            }
            self.folder.check_complete(&identity)?;
            if !seeds.is_empty() {
                let asking = self.asking(identity.node, seeds);
                asking.check(self.folder.path(), identity.cluster).await?;
            }
            return Ok(Some(identity));
        }
        let identity = if seeds.is_empty() {
            Identity::founding(self.options.replication.unwrap_or_default())?
        } else {
            let node = NodeId(random_number()?);
            let asking = self.asking(node, seeds.clone());
            let greeting = tokio::select! {
                greeting = asking.find() => greeting?,
                () = stopped(&mut self.stop) => return Ok(None),
            };
            self.check_replication(greeting.policy)?;
            Identity::joining(node, greeting.cluster, greeting.policy, seeds)?
        };
        self.folder.write_identity(&identity)?;
        Ok(Some(identity))
    }

    /// Lets the node of this folder join its group anew, as somebody else; none: it was stopped meanwhile.
    async fn start_over(
        &mut self,
        old: Identity,
        kind: &str,
        reason: &str,
    ) -> Result<Option<Identity>, ServerError> {
        let node = NodeId(random_number()?);
        let asking = self.asking(node, self.others(old.seeds.clone()));
        tracing::info!(
            reason,
            members = asking.seeds.join(", "),
            "looks for its group, to join it anew"
        );
        let find = asking.find_in(old.cluster);
        tokio::select! {
            found = find => found?,
            () = stopped(&mut self.stop) => return Ok(None),
        }
        let identity = Identity::joining(node, old.cluster, old.policy, asking.seeds)?;
        let aside = self.folder.start_over(kind, &identity, now_ms())?;
        tracing::warn!(
            before = %old.node,
            now = %node,
            kept = %aside.display(),
            "joins its group anew; what was there is kept"
        );
        Ok(Some(identity))
    }

    /// Refuses a policy on the command line that contradicts the group's.
    fn check_replication(&self, found: Policy) -> Result<(), ServerError> {
        match self.options.replication {
            Some(asked) if asked != found => Err(ServerError::OtherPolicy { found, asked }),
            _ => Ok(()),
        }
    }

    fn check_policy(&self, identity: &Identity) -> Result<(), ServerError> {
        self.check_replication(identity.policy)
    }

    fn asking(&self, node: NodeId, seeds: Vec<String>) -> Asking {
        Asking { node, address: self.address.clone(), seeds }
    }

    /// Opens log and store on another thread: it may take long, and clients are answered meanwhile.
    async fn open(&self, identity: &Identity) -> Result<Opened, ServerError> {
        let opening = Opening {
            folder: self.folder.path().to_path_buf(),
            log_path: self.folder.log_path(),
            identity: identity.clone(),
            address: self.address.clone(),
            feature_level: self.options.feature_level,
            engine_options: self.engine_options(),
            now_ms: now_ms(),
        };
        let path = self.folder.path().to_path_buf();
        let open = move || opening.open().map_err(|source| ServerError::Start { path, source });
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.unwrap_or(Err(ServerError::Defect { part: "start" }))?;
        if identity.stage == Stage::New {
            let ready = Identity { stage: Stage::Ready, ..identity.clone() };
            self.folder.write_identity(&ready)?;
        }
        Ok(opened)
    }

    fn engine_options(&self) -> FjallOptions {
        FjallOptions { cache_bytes: self.options.cache_bytes, ..FjallOptions::default() }
    }

    fn config(&self, identity: &Identity) -> Result<Config, ServerError> {
        let session = format!("{}-{:016x}", identity.node, random_number()?);
        let mut core = paxos::Config::new(identity.node);
        let ticks = |time: Duration| {
            u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX).max(1)
        };
        let evict_ticks = self.options.evict_after.under(identity.policy).map(ticks);
        let least = u64::from(core.election_ticks_max);
        core.evict_ticks = evict_ticks.map(|ticks| ticks.max(least));
        let takeover = u32::try_from(ticks(self.options.takeover_after)).unwrap_or(u32::MAX / 2);
        core.takeover_ticks = takeover.max(core.election_ticks_min);
        let mut config = Config::new(core, random_number()?, session, self.address.clone());
        config.cluster = identity.cluster.to_string();
        config.log_retain_bytes = self.options.log_retain_bytes;
        Ok(config)
    }

    /// Builds the node and starts its threads.
    fn assemble(
        &self,
        identity: &Identity,
        opened: Opened,
        is_member: watch::Sender<bool>,
        has_handed_over: watch::Sender<bool>,
    ) -> Result<(Node, Threads), ServerError> {
        let Opened { journal, store, stores, durable } = opened;
        let inbox = &self.inbox;
        let backlog = Arc::new(Backlog::default());
        let peers = Peers::new(
            identity.node,
            identity.cluster,
            self.address.clone(),
            Arc::clone(&self.faults),
        );
        let log_bytes = journal.log().bytes_on_disk();
        let reader = SharedReader::new(store.reader());
        let node = Node {
            replica: Replica::new(self.config(identity)?, durable, log_bytes),
            inbox: Arc::clone(inbox),
            peers,
            log: Arc::new(Queue::new()),
            apply: Arc::new(Queue::new()),
            backlog: Arc::clone(&backlog),
            at_once: AtOnce::new(reader.clone()),
            readers: Arc::new(Queue::new()),
            watches: Arc::clone(&self.watches),
            snapshots: Arc::new(Queue::new()),
            folder: self.folder.path().to_path_buf(),
            room: Room::new(self.options.disk_reserve_bytes),
            failure: None,
            has_handed_over,
            hands_over: false,
            is_member,
            under_way: UnderWay::default(),
            seen: Seen::default(),
        };
        let (stores, ready) = (Arc::new(Mutex::new(stores)), ReadyStore::default());
        let path = self.folder.path().join("store");
        let readers = Readers {
            reader: reader.clone(),
            path: path.clone(),
            queue: Arc::clone(&node.readers),
            inbox: Arc::clone(inbox),
            cursors: Arc::clone(&self.cursors),
        };
        let watch = WatchThread {
            watches: Arc::clone(&self.watches),
            reader: reader.clone(),
            log: Arc::clone(&node.log),
            path: path.clone(),
            inbox: Arc::clone(inbox),
        };
        let snapshot = SnapshotThread {
            reader: reader.clone(),
            stores: Arc::clone(&stores),
            ready: Arc::clone(&ready),
            engine_options: self.engine_options(),
            path: path.clone(),
            queue: Arc::clone(&node.snapshots),
            inbox: Arc::clone(inbox),
        };
        let log = LogThread {
            journal,
            diverged: DivergedFile::new(self.folder.path(), now_ms()),
            path: self.folder.log_path(),
            queue: Arc::clone(&node.log),
            inbox: Arc::clone(inbox),
        };
        let sync_ahead = Arc::new(Queue::new());
        let sync = SyncThread {
            stores: Arc::clone(&stores),
            path: path.clone(),
            queue: Arc::clone(&sync_ahead),
            inbox: Arc::clone(inbox),
        };
        let apply = ApplyThread {
            store,
            reader,
            stores,
            ready,
            path,
            sync_ahead,
            queue: Arc::clone(&node.apply),
            backlog,
            inbox: Arc::clone(inbox),
            cursors: Arc::clone(&self.cursors),
            watches: Arc::clone(&self.watches),
        };
        let threads = Threads {
            log: log.spawn()?,
            apply: apply.spawn()?,
            snapshot: snapshot.spawn()?,
            readers: readers.spawn()?,
            watch: watch.spawn()?,
            sync: sync.spawn()?,
        };
        Ok((node, threads))
    }
}

impl Threads {
    /// Waits for all of them to finish; their queues are closed.
    fn join(self) {
        for thread in self.readers.into_iter().chain([
            self.watch,
            self.snapshot,
            self.log,
            self.apply,
            self.sync,
        ]) {
            // A thread that ended by a panic has reported it.
            let _ = thread.join();
        }
    }
}

/// The wall clock, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(now).unwrap_or(u64::MAX)
}

pub(crate) async fn stopped(stop: &mut Stop) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Whoever could stop us is gone: then nobody will.
        std::future::pending::<()>().await;
    }
}
