//! Accepting connections, and telling clients from nodes by their first bytes.

use crate::folder::Identity;
use crate::peer::Incoming;
use crate::service::NodeService;
use gateway::Settings;
use gateway::detect::{Detected, sniff};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long a connection that has begun may take to show what it speaks.
const SNIFF_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after an error of accepting: too many open files, for one.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);
/// Between two complaints about connections that cannot be taken.
const COMPLAINT_WAIT: Duration = Duration::from_secs(5);

/// All connections to this node.
pub(crate) struct Connections {
    pub(crate) service: NodeService,
    pub(crate) settings: Arc<Settings>,
    pub(crate) incoming: Incoming,
    /// Most connections at once; the limit of open files, less what the node needs itself.
    pub(crate) connections_max: usize,
    pub(crate) count: Count,
}

impl Connections {
    /// Of a node that will listen at `address`, until `closed` says so.
    pub(crate) fn new(
        service: NodeService,
        identity: &Arc<OnceLock<Identity>>,
        address: &str,
        closed: watch::Receiver<bool>,
        connections_max: usize,
    ) -> Arc<Connections> {
        let (inbox, faults) = (Arc::clone(&service.inbox), Arc::clone(&service.faults));
        let incoming = Incoming::new(Arc::clone(identity), address.to_owned(), inbox, faults);
        let settings = Arc::new(Settings { stop: closed, ..Settings::default() });
        let count = Count::default();
        Arc::new(Connections { service, settings, incoming, connections_max, count })
    }
}

/// How many connections there are, and how many of them are clients'.
#[derive(Debug, Default)]
pub(crate) struct Count {
    all: AtomicUsize,
    clients: AtomicUsize,
    client_left: Notify,
}

/// One of a [`Count`], until it is dropped.
struct Counted<'a> {
    count: &'a Count,
    is_client: bool,
}

impl<'a> Counted<'a> {
    fn new(count: &'a Count) -> Counted<'a> {
        count.all.fetch_add(1, Ordering::Relaxed);
        Counted { count, is_client: false }
    }

    fn is_client(&mut self) {
        self.is_client = true;
        self.count.clients.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.all.fetch_sub(1, Ordering::Relaxed);
        if self.is_client {
            self.count.clients.fetch_sub(1, Ordering::Relaxed);
            self.count.client_left.notify_waiters();
        }
    }
}

impl Count {
    /// Waits until no client is left.
    pub(crate) async fn clients_gone(&self) {
        loop {
            let left = self.client_left.notified();
            if self.clients.load(Ordering::Relaxed) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Connections {
    /// Accepts connections at `listener` until the settings' `stop` turns true. No error is fatal.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut complained: Option<Instant> = None;
        let mut complain = |text: &str| {
            if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_WAIT) {
                complained = Some(Instant::now());
                tracing::warn!("{text}");
            }
        };
        let mut stop = self.settings.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stop) => return,
            };
            match accepted {
                Ok((stream, from))
                    if self.count.all.load(Ordering::Relaxed) < self.connections_max =>
                {
                    tokio::spawn(Arc::clone(&self).serve(stream, from));
                }
                Ok(_) => complain(&format!(
                    "closed a new connection: {} are open, which is all the limit of open files allows",
                    self.connections_max
                )),
                Err(error) => {
                    complain(&format!("cannot accept a connection: {error}; trying again"));
                    tokio::time::sleep(ACCEPT_WAIT).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream, from: SocketAddr) {
        let mut counted = Counted::new(&self.count);
        let mut stop = self.settings.stop.clone();
        let sniffed = tokio::select! {
            sniffed = sniff(&mut stream, SNIFF_TIMEOUT) => sniffed,
            () = stopped(&mut stop) => return,
        };
        let (detected, first_bytes) = match sniffed {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%from, %error, "connection lost before it said anything");
                return;
            }
        };
        let ended = match detected {
            // It left without a word.
            Detected::NeedMore => return,
            Detected::Peer => {
                return Box::pin(self.incoming.serve(stream, from, &first_bytes)).await;
            }
            Detected::Native => {
                counted.is_client();
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%from, %error, "TCP_NODELAY cannot be set");
                }
                let settings = Arc::clone(&self.settings);
                gateway::native::serve(stream, &first_bytes, self.service.clone(), settings).await
            }
            other => {
                tracing::debug!(%from, ?other, "refused a protocol that is not spoken here");
                Box::pin(gateway::refuse::refuse(stream, other, &first_bytes)).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%from, %error, "connection ended");
        }
    }
}

impl Connections {
    /// Serves a client in this process until it leaves. What comes over `stream` is the native protocol.
    pub(crate) async fn serve_local(self: Arc<Self>, stream: DuplexStream) {
        let mut counted = Counted::new(&self.count);
        counted.is_client();
        let settings = Arc::clone(&self.settings);
        let served = gateway::native::serve(stream, &[], self.service.clone(), settings);
        if let Err(error) = served.await {
            tracing::debug!(%error, "a connection within the process ended");
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Whoever could stop us is gone: then nobody will.
        std::future::pending::<()>().await;
    }
}
