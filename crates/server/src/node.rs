//! The event loop: takes everything from the inbox, steps the replica, carries out what it says.

use crate::admission::{Kind, Line, is_late};
use crate::apply_thread::{ApplyJob, cost_bytes};
use crate::at_once::AtOnce;
use crate::backlog::Backlog;
use crate::error::ServerError;
use crate::folder::write_members;
use crate::inbox::{Inbox, Mail, PeerNews};
use crate::log_thread::LogJob;
use crate::peer::Peers;
use crate::queue::Queue;
use crate::readers::Query;
use crate::room::Room;
use crate::service::Asked;
use crate::snapshot_thread::SnapshotJob;
use crate::ticks::Ticks;
use crate::watch_thread::{Watches, Watching};
use api::limits::{TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX};
use api::{Error, ErrorCode, Request, Value};
use bytes::Bytes;
use gateway::Reply;
use paxos::{LEVEL_MAX, Membership, Message, NodeId, Role, Slot, Standing};
use replica::{Imported, Input, Output, PeerMessage, Replica, RequestId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Most requests under way at this node.
const REQUESTS_MAX: usize = 65_536;
/// So many queries at a time are worth another thread.
const QUERIES_SHARED: usize = 16;
/// Turns of the event loop in a row after which connections get theirs.
const TURNS_MAX: u32 = 2;
/// Most bytes of requests under way at this node.
const REQUEST_BYTES_MAX: usize = 256 << 20;

/// One node's event loop. See [`Node::run`].
pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) peers: Peers,
    pub(crate) log: Arc<Queue<LogJob>>,
    pub(crate) apply: Arc<Queue<ApplyJob>>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) at_once: AtOnce,
    pub(crate) readers: Arc<Queue<Query>>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) snapshots: Arc<Queue<SnapshotJob>>,
    /// The folder, for the hint where the members are and to see how full the disk is.
    pub(crate) folder: PathBuf,
    pub(crate) room: Room,
    /// Why the node cannot go on.
    pub(crate) failure: Option<ServerError>,
    /// Turns true when nobody else needs to lead any more, after it was asked to hand over.
    pub(crate) has_handed_over: watch::Sender<bool>,
    pub(crate) hands_over: bool,
    /// Turns true when this node is a member of its group.
    pub(crate) is_member: watch::Sender<bool>,
    pub(crate) under_way: UnderWay,
    pub(crate) seen: Seen,
}

/// What one turn orders of the threads and is handed over at its end, in this order.
#[derive(Default)]
struct Orders {
    log: Vec<LogJob>,
    queries: Vec<Query>,
}

/// The requests that wait for an answer.
#[derive(Default)]
pub(crate) struct UnderWay {
    requests: HashMap<RequestId, Waiting>,
    bytes: usize,
    last: u64,
    writes: Line,
    reads: Line,
}

struct Waiting {
    reply: Reply,
    bytes: usize,
    deadline: Instant,
    /// In which line it waits.
    kind: Kind,
}

/// Which kinds of requests are not to join those that wait ([`crate::admission`]).
#[derive(Clone, Copy, Debug)]
struct Late {
    writes: bool,
    reads: bool,
}

impl Late {
    fn is(self, kind: Kind) -> bool {
        match kind {
            Kind::Write => self.writes,
            Kind::Read => self.reads,
            Kind::Free => false,
        }
    }
}

/// What the operator was told last of this node's role.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    role: Option<Role>,
    leader: Option<NodeId>,
}

impl Node {
    /// Runs until the inbox says that it is over.
    ///
    /// # Errors
    /// Why the node cannot go on.
    pub(crate) async fn run(mut self) -> Result<(), ServerError> {
        let mut ticks = Ticks::new(tokio::time::Instant::now());
        let mut outputs = Vec::new();
        let mut orders = Orders::default();
        let mut turns = 0_u32;
        let sleep = tokio::time::sleep_until(ticks.next());
        tokio::pin!(sleep);
        loop {
            if self.inbox.rest(self.replica.awaits_applied()) {
                tokio::select! {
                    () = self.inbox.filled() => {}
                    () = &mut sleep => {}
                }
                turns = 0;
            } else {
                turns += 1;
                if turns.is_multiple_of(TURNS_MAX) {
                    tokio::task::yield_now().await;
                }
            }
            if ticks.is_late(tokio::time::Instant::now()) {
                // Messages that came while this process had no time are read first (twice, because
                // connections may have to be accepted, too).
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            let mail = self.inbox.take();
            if let Some(failure) = mail.failure {
                return Err(failure);
            }
            if mail.is_over {
                return Ok(());
            }
            let has_left_some = mail.has_left_some;
            self.take_in(mail);
            let due = ticks.take_due(tokio::time::Instant::now());
            for _ in 0..due {
                self.replica.step(Input::Tick);
                if self.hands_over {
                    // Until it has worked, or the time for it is over.
                    self.replica.step(Input::HandOver);
                }
            }
            if let Some(is_full) = self.room.look(&self.folder) {
                self.replica.step(Input::DiskFull(is_full));
            }
            if self.replica.holds_up_the_others() {
                self.failure = Some(ServerError::HoldsUp { path: self.folder.clone() });
            }
            if due > 0 || sleep.is_elapsed() {
                sleep.as_mut().reset(ticks.next());
            }
            self.replica.flush(&mut outputs);
            for output in outputs.drain(..) {
                self.carry_out(output, &mut orders);
            }
            // First, for the other nodes' disks take as long as this one's, and the way there and back is longer.
            self.peers.flush();
            self.log.push_all(&mut orders.log);
            self.answer_at_once(&mut orders.queries);
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            self.readers.push_all(&mut orders.queries);
            self.tell_role();
            self.tell_handed_over();
            let is_held = due == 0 && self.replica.awaits_applied();
            if !is_held && self.peers.have_news() {
                // Connections write their answers first.
                tokio::task::yield_now().await;
                self.peers.flush_news();
            } else if has_left_some {
                // What was said to the others leaves first, and what they say comes in.
                tokio::task::yield_now().await;
            }
        }
    }

    fn take_in(&mut self, mail: Mail) {
        for news in mail.news {
            self.on_news(news);
        }
        let is_full = self.backlog.is_full();
        for (from, message) in mail.peers {
            // Messages may be lost; those that bring entries are, while the store is far behind.
            if !(is_full && brings_entries(&message)) {
                self.replica.step(Input::Peer { from, message });
            }
        }
        if let Some(id) = mail.persisted {
            self.replica.step(Input::Persisted(id));
        }
        for fetched in mail.fetched {
            let (to, first, entries) = (fetched.to, fetched.first, fetched.entries);
            self.replica.step(Input::Fetched { to, first, entries });
        }
        // Before what was applied after it.
        if let Some(slot) = mail.switched {
            self.replica.step(Input::Switched(slot));
        }
        if let Some((through, outcomes)) = mail.applied {
            self.replica.step(Input::Applied { through, outcomes });
        }
        if let Some(slot) = mail.stored {
            self.replica.step(Input::Stored(slot));
        }
        self.take_in_snapshots(mail.snapshot_reads, mail.imported, mail.import_finished);
        if mail.hands_over {
            self.hands_over = true;
            self.replica.step(Input::HandOver);
        }
        for (id, answer) in mail.answers {
            self.answer(id, answer);
        }
        if !mail.requests.is_empty() {
            let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
            let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
            let now = Instant::now();
            let late = Late {
                writes: self.under_way.is_late(Kind::Write, now),
                reads: self.under_way.is_late(Kind::Read, now) || self.readers_are_late(now),
            };
            for asked in mail.requests {
                self.on_request(asked, now_ms, is_full, late);
            }
        }
    }

    fn take_in_snapshots(
        &mut self,
        reads: Vec<(NodeId, Slot, Bytes)>,
        imported: Vec<Imported>,
        finished: Option<(Slot, Option<(Slot, Bytes)>)>,
    ) {
        for (to, slot, chunk) in reads {
            self.replica.step(Input::SnapshotRead { to, slot, chunk });
        }
        for imported in imported {
            self.replica.step(Input::Imported(imported));
        }
        if let Some((slot, group)) = finished {
            self.replica.step(Input::ImportFinished { slot, group });
        }
    }

    /// Says that another leads, once it was asked for.
    fn tell_handed_over(&self) {
        if self.hands_over && !self.replica.should_hand_over() {
            self.has_handed_over.send_replace(true);
        }
    }

    fn on_news(&mut self, news: PeerNews) {
        match news {
            PeerNews::Here { node, address, connection } => {
                self.peers.on_here(node, address, connection);
            }
            PeerNews::Gone { node, connection } => self.peers.on_gone(node, connection),
            PeerNews::Seed { node, address } => {
                self.peers.on_seed(node, address);
                self.replica.step(Input::Seed(node));
            }
        }
    }

    fn on_request(&mut self, asked: Asked, now_ms: u64, is_full: bool, late: Late) {
        let Asked { call, reply, bytes, came } = asked;
        let kind = Kind::of(&call.request);
        let too_much = self.under_way.requests.len() >= REQUESTS_MAX
            || self.under_way.bytes + bytes > REQUEST_BYTES_MAX;
        let refusal = if too_much {
            "this node has too many requests under way; try again or another member"
        } else if is_full && call.request.is_write() {
            "the store of this node is behind the log; try again or another member"
        } else if late.is(kind) {
            "this node is asked for more than it can do; try again later"
        } else {
            let milliseconds =
                call.options.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT).min(TIMEOUT_MS_MAX);
            let deadline = came + Duration::from_millis(milliseconds);
            let id = self.under_way.begin(Waiting { reply, bytes, deadline, kind }, came);
            self.replica.step(Input::Request { id, call, now_ms });
            return;
        };
        reply.send(Err(Error::new(ErrorCode::Busy, refusal)));
    }

    fn readers_are_late(&self, now: Instant) -> bool {
        let (waiting, first) = self.readers.first(|query| query.since);
        is_late(waiting, first, now)
    }

    fn carry_out(&mut self, output: Output, orders: &mut Orders) {
        match output {
            Output::Persist { id, records } => orders.log.push(LogJob::Persist { id, records }),
            Output::Send { to, message } => self.peers.send(to, &message),
            Output::Apply { entries } => {
                self.backlog.add(entries.iter().map(cost_bytes).sum());
                self.apply.push(ApplyJob::Entries(entries));
            }
            Output::Query { id, request: Request::Status { .. } } => {
                let status = self.replica.status_document();
                self.apply.push(ApplyJob::Hash { id, status });
            }
            Output::Query { id, request: Request::Watch(watch) } => {
                if let Some(waiting) = self.under_way.requests.get(&id) {
                    let answer_bytes_max = waiting.reply.origin().answer_bytes_max;
                    let deadline = waiting.deadline;
                    self.watches.begin(Watching { id, watch, deadline, answer_bytes_max });
                }
            }
            Output::Query { id, request } => {
                if let Some(waiting) = self.under_way.hand_over(id) {
                    let Waiting { ref reply, bytes, deadline, .. } = *waiting;
                    orders.queries.push(Query {
                        id,
                        request,
                        since: Instant::now(),
                        deadline,
                        origin: reply.origin(),
                        bytes,
                    });
                }
            }
            Output::Reply { id, answer } => self.answer(id, answer),
            Output::Fetch { to, from, upto, bytes_max } => {
                orders.log.push(LogJob::Fetch { to, from, upto, bytes_max });
            }
            Output::BeginImport => self.snapshots.push(SnapshotJob::Begin),
            Output::Import { chunk } => self.snapshots.push(SnapshotJob::Import { chunk }),
            Output::FinishImport => self.snapshots.push(SnapshotJob::Finish),
            Output::SwitchStore { slot: _ } => self.apply.push(ApplyJob::Switch),
            Output::ReadSnapshot { to, slot, cursor, bytes_max } => {
                self.snapshots.push(SnapshotJob::Read { to, slot, cursor, bytes_max });
            }
            Output::DropSnapshot { slot } => self.snapshots.push(SnapshotJob::Drop { slot }),
            Output::Cut { upto } => {
                orders.log.push(LogJob::Cut(upto));
                self.apply.push(ApplyJob::LogWasCut(upto));
            }
            Output::Overwritten { slot, entry } => orders.log.push(LogJob::Keep { slot, entry }),
            Output::Diverged { from } => orders.log.push(LogJob::Diverged(from)),
            Output::Removed => {
                let node = self.replica.core().node();
                self.failure = Some(ServerError::Removed { node });
            }
            Output::Unsupported { level } => {
                self.failure = Some(ServerError::Unsupported { level, known: LEVEL_MAX });
            }
            Output::Membership(membership) => self.on_membership(&membership),
        }
    }

    fn on_membership(&mut self, membership: &Membership) {
        let me = self.replica.core().node();
        let shown = |m: &paxos::Member| match m.standing {
            Standing::Voter => m.address.clone(),
            Standing::Learner => format!("{} (learner)", m.address),
            Standing::Away => format!("{} (away)", m.address),
        };
        let addresses: Vec<String> = membership.members.values().map(shown).collect();
        if !addresses.is_empty() {
            tracing::info!(members = addresses.join(", "), "membership");
        }
        self.is_member.send_replace(membership.members.contains_key(&me));
        self.peers.set_membership(membership);
        let others = membership.members.iter().filter(|(node, _)| **node != me);
        let others: Vec<String> = others.map(|(_, m)| m.address.clone()).collect();
        if !membership.members.is_empty()
            && let Err(error) = write_members(&self.folder, &others)
        {
            tracing::warn!(%error, "cannot note where the members are");
        }
    }

    /// Answers the short ones of the queries; of many at a time half are for a reader, who begins with them meanwhile.
    fn answer_at_once(&mut self, queries: &mut Vec<Query>) {
        if queries.len() >= QUERIES_SHARED {
            let mut half = queries.split_off(queries.len() / 2);
            self.readers.push_all(&mut half);
        }
        let Node { at_once, under_way, failure, folder, .. } = self;
        let answered = at_once.answer(queries, |id, answer| under_way.answer(id, answer));
        if let Err(source) = answered {
            *failure = Some(ServerError::Store { path: folder.join("store"), source });
        }
    }

    fn answer(&mut self, id: RequestId, answer: Result<Value, Error>) {
        self.under_way.answer(id, answer);
    }

    /// Tells the operator when the role or the leader has changed.
    fn tell_role(&mut self) {
        let (role, leader) = (self.replica.core().role(), self.replica.core().leader());
        if self.seen.role == Some(role) && self.seen.leader == leader {
            return;
        }
        let status = self.replica.core().status();
        let (ballot, decided) = (status.ballot, status.decided);
        let before = self.seen.role.replace(role);
        self.seen.leader = leader;
        match (role, leader) {
            (Role::Leader, _) => tracing::info!(%ballot, %decided, "leads"),
            (Role::Candidate, _) if before == Some(Role::Candidate) => {}
            (Role::Candidate, _) => tracing::info!(%ballot, %decided, "asks to lead"),
            (_, Some(leader)) => tracing::info!(%leader, %ballot, %decided, "follows"),
            (_, None) => tracing::info!(%ballot, %decided, "knows no leader"),
        }
    }
}

impl UnderWay {
    fn begin(&mut self, waiting: Waiting, came: Instant) -> RequestId {
        self.last += 1;
        let id = RequestId(self.last);
        if let Some(line) = self.line(waiting.kind) {
            line.join(id, came);
        }
        self.bytes += waiting.bytes;
        self.requests.insert(id, waiting);
        id
    }

    fn answer(&mut self, id: RequestId, answer: Result<Value, Error>) {
        let Some(waiting) = self.requests.remove(&id) else { return };
        self.bytes -= waiting.bytes;
        if let Some(line) = self.line(waiting.kind) {
            line.leave();
        }
        waiting.reply.send(answer);
    }

    /// The readers have it now: it waits in their queue.
    fn hand_over(&mut self, id: RequestId) -> Option<&Waiting> {
        let kind = std::mem::replace(&mut self.requests.get_mut(&id)?.kind, Kind::Free);
        if let Some(line) = self.line(kind) {
            line.leave();
        }
        self.requests.get(&id)
    }

    fn is_late(&mut self, kind: Kind, now: Instant) -> bool {
        let line = match kind {
            Kind::Write => &mut self.writes,
            Kind::Read => &mut self.reads,
            Kind::Free => return false,
        };
        let requests = &self.requests;
        line.is_late(now, |id| requests.get(&id).is_some_and(|waiting| waiting.kind == kind))
    }

    fn line(&mut self, kind: Kind) -> Option<&mut Line> {
        match kind {
            Kind::Write => Some(&mut self.writes),
            Kind::Read => Some(&mut self.reads),
            Kind::Free => None,
        }
    }
}

/// Whether the message makes the log, and so the backlog of the store, longer.
fn brings_entries(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Paxos(Message::Accept { entries, .. }) => !entries.is_empty(),
        PeerMessage::Paxos(Message::CatchUpReply { .. }) | PeerMessage::Forward { .. } => true,
        _ => false,
    }
}
