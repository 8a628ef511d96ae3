//! The connection to one other node: everything that waits goes out in one write.

use super::greeting::{GreetError, Hello, greet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bytes that may wait for a peer that is connected; what is beyond it is dropped. More than the core
/// sends without an answer.
const QUEUE_BYTES_MAX: usize = 24 << 20;
/// Bytes that may wait while it is being connected to: enough for the messages of an election.
const UNCONNECTED_BYTES_MAX: usize = 64 << 10;
/// A write buffer beyond this many bytes is given back after its use.
const KEPT_BYTES: usize = 1 << 20;
/// The waits between two tries to connect: the first, and the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_LONGEST: Duration = Duration::from_millis(500);
/// The wait after a refusal, which another try will hardly change.
const REFUSED_WAIT: Duration = Duration::from_secs(2);
/// How long the other machine may leave bytes unacknowledged before the connection is given up: the
/// operating system itself would wait for many minutes.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// What waits to be sent to one node.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<u8>,
    is_connected: bool,
    /// Whether frames came since the writer last looked.
    is_fresh: bool,
    dropped: u64,
}

impl Outbox {
    /// Appends one frame, or drops it if too much waits. [`Outbox::send`] lets it go.
    pub(super) fn push(&self, append: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let bytes_max = if state.is_connected { QUEUE_BYTES_MAX } else { UNCONNECTED_BYTES_MAX };
        if state.frames.len() >= bytes_max {
            state.dropped += 1;
            return;
        }
        append(&mut state.frames);
        state.is_fresh = true;
    }

    /// Lets the writer send what was pushed.
    pub(super) fn send(&self) {
        let fresh = std::mem::take(&mut self.lock().is_fresh);
        if fresh {
            self.filled.notify_one();
        }
    }

    /// Exchanges what waits for an empty buffer. Returns how many messages were dropped lately.
    fn take(&self, buffer: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        std::mem::swap(&mut state.frames, buffer);
        std::mem::take(&mut state.dropped)
    }

    fn set_connected(&self, is_connected: bool) {
        let mut state = self.lock();
        state.is_connected = is_connected;
        if !is_connected {
            // What is old by the next try would only be noise.
            state.frames = Vec::new();
            state.dropped = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a connection to `address` for ever, and sends on it what is put into `outbox`.
pub(super) async fn keep(address: String, hello: Hello, outbox: std::sync::Arc<Outbox>) {
    let mut backoff = BACKOFF_FIRST;
    let mut said = Said::Nothing;
    loop {
        match greet(&address, &hello).await {
            Ok((stream, _)) => {
                if said != Said::Nothing {
                    tracing::info!(address, "peer reached again");
                    // It may be another process by now: what was meant for the earlier one is not for it.
                    outbox.set_connected(false);
                }
                backoff = BACKOFF_FIRST;
                outbox.set_connected(true);
                let ended = write(stream, &outbox).await;
                outbox.set_connected(false);
                tracing::info!(address, reason = ended, "connection to peer lost");
                said = Said::Lost;
            }
            Err(error) => {
                let wait = said.complain(&address, &error).unwrap_or(backoff);
                tokio::time::sleep(wait).await;
                backoff = (backoff * 2).min(BACKOFF_LONGEST);
                outbox.set_connected(false);
            }
        }
    }
}

/// What the operator was told about a peer, so that a retry does not tell it again.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Lost,
    Unreachable,
    Refused(String),
}

impl Said {
    /// Tells an error once. Returns a longer wait if one is due.
    fn complain(&mut self, address: &str, error: &GreetError) -> Option<Duration> {
        match error {
            GreetError::Io(_) | GreetError::Refused { for_now: true, .. } => {
                if *self != Said::Unreachable {
                    tracing::warn!(address, %error, "peer is out of reach; trying again");
                    *self = Said::Unreachable;
                }
                None
            }
            GreetError::Refused { .. } | GreetError::Garbage(_) => {
                let text = error.to_string();
                if *self != Said::Refused(text.clone()) {
                    tracing::warn!(address, %error, "peer is not to be talked to");
                    *self = Said::Refused(text);
                }
                Some(REFUSED_WAIT)
            }
        }
    }
}

/// Sends until the connection ends; says why it did.
async fn write(stream: TcpStream, outbox: &Outbox) -> String {
    let milliseconds = UNACKNOWLEDGED_MAX.as_millis() as u32;
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, milliseconds) {
        tracing::debug!(%error, "the time-out of a peer's connection cannot be set");
    }
    let (mut input, mut output) = stream.into_split();
    let mut buffer = Vec::new();
    let mut answer = [0; 1];
    loop {
        let dropped = outbox.take(&mut buffer);
        if dropped > 0 {
            tracing::debug!(dropped, "messages to a peer were dropped: it reads too slowly");
        }
        if buffer.is_empty() {
            tokio::select! {
                () = outbox.filled.notified() => {}
                read = input.read(&mut answer) => {
                    return match read {
                        Ok(0) => "it closed the connection".into(),
                        Ok(_) => "it speaks where it should only listen".into(),
                        Err(error) => error.to_string(),
                    };
                }
            }
            continue;
        }
        if let Err(error) = output.write_all(&buffer).await {
            return error.to_string();
        }
        if buffer.capacity() > KEPT_BYTES {
            buffer = Vec::new();
        } else {
            buffer.clear();
        }
    }
}
