//! Connections of other nodes: the greeting, then messages into the inbox, a batch per read.

use super::frame;
use super::greeting::{GREETING_TIMEOUT, GreetError, Greeting, Hello, read_frame, refusal};
use crate::faults::Faults;
use crate::folder::Identity;
use crate::inbox::{Inbox, PeerNews, Phase};
use bytes::BytesMut;
use gateway::detect::PEER_MAGIC;
use paxos::NodeId;
use replica::{PeerMessage, decode_peer_message};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Room that is made before each read, in bytes.
const READ_BYTES: usize = 64 << 10;
/// Most room made at once for a long frame: memory follows the bytes that came, not those announced.
const READ_BYTES_MAX: usize = 1 << 20;
/// A node that was heard this recently at one address is not believed to be at another.
const HEARD_LATELY: Duration = Duration::from_secs(3);
/// Most nodes whose complaints are remembered, so that each is told once.
const COMPLAINTS_MAX: usize = 256;

/// Receives other nodes.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Who this node is, once it knows.
    pub(crate) identity: Arc<OnceLock<Identity>>,
    /// Where it listens.
    pub(crate) address: String,
    pub(crate) inbox: Arc<Inbox>,
    faults: Arc<Faults>,
    /// The number of the latest connection of each node: an earlier one ends when a new one comes.
    latest: Mutex<Latest>,
    /// What was last said against each address, told once and not at every try.
    complaints: Mutex<BTreeMap<String, String>>,
}

#[derive(Debug, Default)]
struct Latest {
    count: u64,
    of: BTreeMap<NodeId, Connected>,
}

/// The latest connection of a node.
#[derive(Debug)]
struct Connected {
    number: u64,
    /// Ends the connection when it is dropped.
    _replace: tokio::sync::oneshot::Sender<()>,
    /// Where the node says it listens.
    address: String,
    heard: Instant,
}

/// Whether to talk.
enum Verdict {
    Welcome(Greeting),
    Refuse { for_now: bool, reason: String },
}

impl Incoming {
    pub(crate) fn new(
        identity: Arc<OnceLock<Identity>>,
        address: String,
        inbox: Arc<Inbox>,
        faults: Arc<Faults>,
    ) -> Incoming {
        Incoming {
            identity,
            address,
            inbox,
            faults,
            latest: Mutex::default(),
            complaints: Mutex::default(),
        }
    }

    /// Serves one connection that began with the magic, until it ends.
    pub(crate) async fn serve(&self, mut stream: TcpStream, from: SocketAddr, first_bytes: &[u8]) {
        let rest = BytesMut::from(first_bytes.strip_prefix(PEER_MAGIC).unwrap_or_default());
        let greeted = tokio::time::timeout(GREETING_TIMEOUT, self.greet(&mut stream, rest)).await;
        let hello = match greeted {
            Ok(Ok(Some(hello))) => hello,
            Ok(Ok(None)) => return,
            Ok(Err(GreetError::Garbage(what))) => {
                let message = format!("a connection of {from} began like a node's, then: {what}");
                self.complain(&from.ip().to_string(), &message);
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "a node went away while greeting");
                return;
            }
            Err(_) => {
                tracing::debug!(%from, "a node did not greet in time");
                return;
            }
        };
        // Without a cluster the other side only asked who is here.
        if hello.cluster.is_none() {
            return;
        }
        self.receive(stream, &hello).await;
    }

    /// Answers the other side's greeting. None: it was refused.
    async fn greet(
        &self,
        stream: &mut TcpStream,
        rest: BytesMut,
    ) -> Result<Option<Hello>, GreetError> {
        let payload = read_frame(stream, rest).await?;
        let hello = match Hello::decode(payload) {
            Ok(hello) => hello,
            Err(reason) => {
                stream.write_all(&refusal(false, &reason)).await?;
                return Err(GreetError::Garbage(reason));
            }
        };
        match self.judge(&hello) {
            Verdict::Welcome(greeting) => {
                stream.set_nodelay(true)?;
                stream.write_all(&greeting.encode()).await?;
                Ok(Some(hello))
            }
            Verdict::Refuse { for_now, reason } => {
                stream.write_all(&refusal(for_now, &reason)).await?;
                if !for_now {
                    let message =
                        format!("refused node {} at {}: {reason}", hello.node, hello.address);
                    self.complain(&hello.address, &message);
                }
                Ok(None)
            }
        }
    }

    fn judge(&self, hello: &Hello) -> Verdict {
        let Some(identity) = self.identity.get() else {
            let reason = "this node does not belong to a group yet".into();
            return Verdict::Refuse { for_now: true, reason };
        };
        let refuse = |reason| Verdict::Refuse { for_now: false, reason };
        if let Some(cluster) = hello.cluster
            && cluster != identity.cluster
        {
            return refuse(format!(
                "this node belongs to cluster {}, not to {cluster}",
                identity.cluster
            ));
        }
        if hello.node == identity.node {
            return refuse(format!(
                "this node is {} itself: a node cannot join through its own address, and a copied \
                 folder cannot be used beside its original",
                identity.node
            ));
        }
        if let Some(expected) = hello.expected
            && expected != identity.node
        {
            return refuse(format!("this node is {}, not {expected}", identity.node));
        }
        if self.inbox.phase() == Phase::Starting {
            let reason = "this node is starting".into();
            return Verdict::Refuse { for_now: true, reason };
        }
        if let Some(address) = hello.cluster.and_then(|_| self.heard_elsewhere(hello)) {
            return refuse(format!(
                "node {} is there already, at {address}: a copied folder cannot be used beside its \
                 original",
                hello.node
            ));
        }
        let Identity { cluster, policy, node, .. } = *identity;
        Verdict::Welcome(Greeting { cluster, policy, node, address: self.address.clone() })
    }

    async fn receive(&self, stream: TcpStream, hello: &Hello) {
        let (node, address) = (hello.node, hello.address.clone());
        let (connection, mut replaced) = self.register(node, &address);
        self.complaints().remove(&address);
        tracing::info!(%node, address, "peer connected");
        self.inbox.put(|mail| mail.news.push(PeerNews::Here { node, address, connection }));
        let ended = tokio::select! {
            ended = self.read(stream, node, connection) => ended,
            _ = &mut replaced => "it has connected again".into(),
        };
        tracing::info!(%node, address = hello.address, reason = ended, "peer disconnected");
        self.unregister(node, connection);
        self.inbox.put(|mail| mail.news.push(PeerNews::Gone { node, connection }));
    }

    /// Hands messages in until the connection ends; says why it did.
    async fn read(&self, mut stream: TcpStream, node: NodeId, connection: u64) -> String {
        let mut buffer = BytesMut::new();
        let mut messages: Vec<PeerMessage> = Vec::new();
        loop {
            buffer.reserve(frame::missing(&buffer).clamp(READ_BYTES, READ_BYTES_MAX));
            match stream.read_buf(&mut buffer).await {
                Ok(0) => return "it closed the connection".into(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
            self.note_heard(node, connection);
            let mut bytes = 0;
            loop {
                match frame::take(&mut buffer, frame::PAYLOAD_BYTES_MAX) {
                    Ok(None) => break,
                    Ok(Some(payload)) => {
                        bytes += payload.len();
                        match decode_peer_message(payload) {
                            Ok(_) if self.faults.drops_incoming() => {}
                            Ok(message) => messages.push(message),
                            Err(error) => return format!("it sent garbage: {error}"),
                        }
                    }
                    Err(error) => return format!("it sent garbage: {error}"),
                }
            }
            if !messages.is_empty() {
                self.inbox.deliver(node, &mut messages, bytes).await;
            }
            if buffer.is_empty() && buffer.capacity() > READ_BYTES {
                buffer = BytesMut::new();
            }
        }
    }

    /// Another address at which the node of `hello` was heard lately.
    fn heard_elsewhere(&self, hello: &Hello) -> Option<String> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let present = latest.of.get(&hello.node)?;
        let is_other = present.address != hello.address && present.heard.elapsed() < HEARD_LATELY;
        is_other.then(|| present.address.clone())
    }

    fn note_heard(&self, node: NodeId, connection: u64) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = latest.of.get_mut(&node).filter(|p| p.number == connection) {
            present.heard = Instant::now();
        }
    }

    fn register(&self, node: NodeId, address: &str) -> (u64, tokio::sync::oneshot::Receiver<()>) {
        let (replace, replaced) = tokio::sync::oneshot::channel();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.count += 1;
        let number = latest.count;
        // Dropping the sender of the earlier connection ends it.
        let (address, heard) = (address.to_string(), Instant::now());
        latest.of.insert(node, Connected { number, _replace: replace, address, heard });
        (number, replaced)
    }

    fn unregister(&self, node: NodeId, connection: u64) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.of.get(&node).is_some_and(|present| present.number == connection) {
            latest.of.remove(&node);
        }
    }

    /// Says `message` unless it was the last thing said about `who`.
    fn complain(&self, who: &str, message: &str) {
        let mut complaints = self.complaints();
        if complaints.get(who).is_some_and(|said| said == message) {
            return;
        }
        if complaints.len() >= COMPLAINTS_MAX {
            complaints.clear();
        }
        complaints.insert(who.to_string(), message.to_string());
        tracing::warn!("{message}");
    }

    fn complaints(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
