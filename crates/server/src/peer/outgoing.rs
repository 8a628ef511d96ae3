//! The connection to one other node: everything that waits goes out in one write.

use super::greeting::{GreetError, Hello, greet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
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
///
/// Invariant: the bytes of `frames` follow those that the task of the connection has taken; so nobody else writes
/// while it has some.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<u8>,
    /// The connection, while there is one.
    stream: Option<Arc<TcpStream>>,
    /// Whether the task of the connection writes: the socket did not take everything.
    is_task_writing: bool,
    /// Whether frames came since they were last let go: any, and such as are more than news.
    is_fresh: bool,
    is_urgent: bool,
    dropped: u64,
}

impl Outbox {
    /// Appends one frame, or drops it if too much waits. [`Outbox::send`] lets it go.
    pub(super) fn push(&self, append: impl FnOnce(&mut Vec<u8>), is_news: bool) {
        let mut state = self.lock();
        let bytes_max =
            if state.stream.is_some() { QUEUE_BYTES_MAX } else { UNCONNECTED_BYTES_MAX };
        if state.frames.len() >= bytes_max {
            state.dropped += 1;
            return;
        }
        append(&mut state.frames);
        state.is_fresh = true;
        state.is_urgent |= !is_news;
    }

    /// Sends what was pushed, unless that is only news and they are not meant: at once, as far as the socket takes it, and by the task of the connection what is left.
    pub(super) fn send(&self, with_news: bool) {
        let mut state = self.lock();
        let State { frames, stream, is_task_writing, is_fresh, is_urgent, .. } = &mut *state;
        if !*is_fresh || !(*is_urgent || with_news) {
            return;
        }
        (*is_fresh, *is_urgent) = (false, false);
        if let Some(stream) = stream
            && !*is_task_writing
        {
            // Else the socket is full; or broken, which the task will see.
            if let Ok(count) = stream.try_write(frames) {
                frames.drain(..count);
            }
            release(frames);
            if frames.is_empty() {
                return;
            }
            *is_task_writing = true;
            self.filled.notify_one();
        }
    }

    /// For the task of the connection: exchanges what waits for an empty buffer, if it is to write. Returns
    /// how many messages were dropped lately.
    fn take(&self, buffer: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        if state.is_task_writing {
            std::mem::swap(&mut state.frames, buffer);
            state.is_task_writing = !buffer.is_empty();
        }
        std::mem::take(&mut state.dropped)
    }

    /// There is a connection; what waited for it goes out.
    fn connect(&self, stream: Arc<TcpStream>) {
        let mut state = self.lock();
        state.stream = Some(stream);
        state.is_task_writing = !state.frames.is_empty();
    }

    fn disconnect(&self) {
        // What is old by the next try would only be noise.
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a connection to `address` for ever, and sends on it what is put into `outbox`.
pub(super) async fn keep(address: String, hello: Hello, outbox: Arc<Outbox>) {
    let mut backoff = BACKOFF_FIRST;
    let mut said = Said::Nothing;
    loop {
        match greet(&address, &hello).await {
            Ok((stream, _)) => {
                if said != Said::Nothing {
                    tracing::info!(address, "peer reached again");
                    // It may be another process by now: what was meant for the earlier one is not for it.
                    outbox.disconnect();
                }
                backoff = BACKOFF_FIRST;
                let ended = write(stream, &outbox).await;
                outbox.disconnect();
                tracing::info!(address, reason = ended, "connection to peer lost");
                said = Said::Lost;
            }
            Err(error) => {
                let wait = said.complain(&address, &error).unwrap_or(backoff);
                tokio::time::sleep(wait).await;
                backoff = (backoff * 2).min(BACKOFF_LONGEST);
                outbox.disconnect();
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
    let stream = Arc::new(stream);
    outbox.connect(Arc::clone(&stream));
    let mut buffer = Vec::new();
    loop {
        let dropped = outbox.take(&mut buffer);
        if dropped > 0 {
            tracing::debug!(dropped, "messages to a peer were dropped: it reads too slowly");
        }
        if buffer.is_empty() {
            tokio::select! {
                () = outbox.filled.notified() => {}
                reason = ended(&stream) => return reason,
            }
            continue;
        }
        if let Err(error) = write_all(&stream, &buffer).await {
            return error.to_string();
        }
        buffer.clear();
        release(&mut buffer);
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until the other side ends the connection, on which it only listens; says how it did.
async fn ended(stream: &TcpStream) -> String {
    loop {
        if let Err(error) = stream.readable().await {
            return error.to_string();
        }
        match stream.try_read(&mut [0; 1]) {
            Ok(0) => return "it closed the connection".into(),
            Ok(_) => return "it speaks where it should only listen".into(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return error.to_string(),
        }
    }
}

/// Gives back the memory of an empty buffer that has grown.
fn release(buffer: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// An outbox, the connection that it writes to, and the task of that.
    async fn connected() -> (Arc<Outbox>, TcpStream, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let outbox = Arc::new(Outbox::default());
        let task = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { write(near.expect("connected"), &outbox).await }
        });
        while outbox.lock().stream.is_none() {
            tokio::task::yield_now().await;
        }
        (outbox, far.expect("accepted").0, task)
    }

    fn push(outbox: &Outbox, byte: u8, count: usize, is_news: bool) {
        outbox.push(|frames| frames.resize(frames.len() + count, byte), is_news);
    }

    async fn receive(far: &mut TcpStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = timeout(PATIENCE, far.read_exact(&mut bytes)).await;
        read.expect("they come").expect("connected");
        bytes
    }

    #[tokio::test]
    async fn bytes_arrive_in_order_whoever_writes_them() {
        let (outbox, mut far, _task) = connected().await;
        // More than a socket holds, so that the task has to go on with it; then more behind that.
        for byte in 0..20 {
            push(&outbox, byte, 1 << 20, false);
            outbox.send(false);
            if byte == 10 {
                assert!(outbox.lock().is_task_writing, "the socket is full");
                assert_eq!(receive(&mut far, 5 << 20).await[(5 << 20) - 1], 4);
            }
        }
        let rest = receive(&mut far, 15 << 20).await;
        for (number, part) in rest.chunks(1 << 20).enumerate() {
            assert!(part.iter().all(|byte| usize::from(*byte) == number + 5), "part {number}");
        }
        while outbox.lock().is_task_writing {
            tokio::task::yield_now().await;
        }
        // And without the task again.
        push(&outbox, 99, 3, false);
        outbox.send(false);
        assert!(outbox.lock().frames.is_empty());
        assert_eq!(receive(&mut far, 3).await, [99; 3]);
    }

    #[tokio::test]
    async fn news_wait_for_something_urgent_or_until_they_are_let_go() {
        let (outbox, mut far, _task) = connected().await;
        push(&outbox, 1, 1, true);
        outbox.send(false);
        assert_eq!(outbox.lock().frames, [1]);
        outbox.send(true);
        assert_eq!(receive(&mut far, 1).await, [1]);
        push(&outbox, 2, 1, true);
        outbox.send(false);
        push(&outbox, 3, 1, false);
        outbox.send(false);
        assert_eq!(receive(&mut far, 2).await, [2, 3]);
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_noticed_and_what_waited_dropped() {
        let (outbox, far, task) = connected().await;
        drop(far);
        let reason = timeout(PATIENCE, task).await.expect("noticed").expect("no panic");
        assert_eq!(reason, "it closed the connection");
        push(&outbox, 1, 1, true);
        outbox.disconnect();
        assert!(outbox.lock().frames.is_empty());
    }
}
