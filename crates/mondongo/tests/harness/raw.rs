//! A client without the client library: it speaks the native protocol itself, and sends on purpose what
//! others send by accident: the same request again, and to two nodes at once.

use anyhow::{Result, bail, ensure};
use api::frame::{self, Decoder, LengthField};
use api::{Call, ErrorCode, Options, Reference, Request, Value};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long one node may take before another one is asked.
const ATTEMPT_TIME: Duration = Duration::from_millis(1_000);
/// How long an operation is tried before its outcome counts as unknown.
const OPERATION_TIME: Duration = Duration::from_secs(8);
const WAIT: Duration = Duration::from_millis(20);

/// One such client.
pub(crate) struct RawClient {
    name: String,
    addresses: Vec<String>,
    rng: Rng,
    sequence: u64,
    connections: BTreeMap<usize, TcpStream>,
    /// Requests that were sent again after their answer, or to two nodes at once.
    pub(crate) repeated: u64,
}

impl RawClient {
    pub(crate) fn new(name: String, addresses: Vec<String>, rng: Rng) -> RawClient {
        RawClient { name, addresses, rng, sequence: 0, connections: BTreeMap::new(), repeated: 0 }
    }

    /// Has a request done; the answer and when it came. None: nobody knows whether it was done.
    ///
    /// # Errors
    /// If a node refuses what it must do, or answers the same request in two ways.
    pub(crate) async fn call(&mut self, request: Request) -> Result<Option<(Value, Instant)>> {
        let mut options = Options { timeout_ms: Some(5_000), ..Options::default() };
        if request.is_write() {
            self.sequence += 1;
            options.reference = Some(Reference::new(self.name.clone(), self.sequence));
            // What may still be under way below is to be refused, not done.
            options.acked = Some(self.sequence);
        }
        let is_write = request.is_write();
        let call = Call { request, options };
        let answer =
            if is_write && self.rng.u8(..8) == 0 { self.at_two_nodes(&call).await? } else { None };
        let answer = match answer {
            Some(answer) => Some(answer),
            None => self.anywhere(&call).await?,
        };
        if let Some((answer, _)) = &answer
            && is_write
        {
            match self.rng.u8(..8) {
                0 | 1 => self.again(&call, answer).await?,
                2 => self.again_without_waiting(&call),
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Asks one node after the other.
    async fn anywhere(&mut self, call: &Call) -> Result<Option<(Value, Instant)>> {
        let deadline = Instant::now() + OPERATION_TIME;
        while Instant::now() < deadline {
            let node = self.rng.usize(..self.addresses.len());
            match self.attempt(node, call).await? {
                Some(answer) => return Ok(Some(answer)),
                None => tokio::time::sleep(WAIT).await,
            }
        }
        Ok(None)
    }

    async fn at_two_nodes(&mut self, call: &Call) -> Result<Option<(Value, Instant)>> {
        let one = self.rng.usize(..self.addresses.len());
        let two = (one + 1) % self.addresses.len();
        self.repeated += 1;
        let (mut first, mut second) = (self.connections.remove(&one), None);
        let (a, b) = tokio::join!(
            exchange(&mut first, &self.addresses[one], call),
            exchange(&mut second, &self.addresses[two], call)
        );
        if let Some(stream) = first {
            self.connections.insert(one, stream);
        }
        match (judge(call, a)?, judge(call, b)?) {
            (Some(a), Some(b)) => {
                ensure!(a.0 == b.0, "two answers to {call:?}: {:?} and {:?}", a.0, b.0);
                Ok(Some(if a.1 < b.1 { a } else { b }))
            }
            (a, b) => Ok(a.or(b)),
        }
    }

    /// Sends what is answered already once more; the answer must be the same.
    async fn again(&mut self, call: &Call, answer: &Value) -> Result<()> {
        self.repeated += 1;
        let node = self.rng.usize(..self.addresses.len());
        if let Some((second, _)) = self.attempt(node, call).await? {
            ensure!(second == *answer, "{call:?} was answered {answer:?}, then {second:?}");
        }
        Ok(())
    }

    /// The same, but the client goes on meanwhile; the copy arrives when it likes.
    fn again_without_waiting(&mut self, call: &Call) {
        self.repeated += 1;
        let address = self.addresses[self.rng.usize(..self.addresses.len())].clone();
        let call = call.clone();
        tokio::spawn(async move { exchange(&mut None, &address, &call).await.is_ok() });
    }

    async fn attempt(&mut self, node: usize, call: &Call) -> Result<Option<(Value, Instant)>> {
        let mut stream = self.connections.remove(&node);
        let answer = exchange(&mut stream, &self.addresses[node], call).await;
        if let Some(stream) = stream {
            self.connections.insert(node, stream);
        }
        judge(call, answer)
    }
}

type Answer = io::Result<(Result<Value, api::Error>, Instant)>;

/// What an answer says of the outcome; none: to be asked again.
fn judge(call: &Call, answer: Answer) -> Result<Option<(Value, Instant)>> {
    match answer {
        Ok((Ok(value), at)) => Ok(Some((value, at))),
        Ok((Err(error), _))
            if error.code.is_retryable_elsewhere() || error.code == ErrorCode::Timeout =>
        {
            Ok(None)
        }
        Ok((Err(error), _)) => bail!("{call:?} was refused: {error}"),
        Err(_) => Ok(None),
    }
}

/// Sends a call and waits for its answer. The connection is kept only if that went well.
async fn exchange(stream: &mut Option<TcpStream>, address: &str, call: &Call) -> Answer {
    let done = tokio::time::timeout(ATTEMPT_TIME, async {
        let mut open = match stream.take() {
            Some(open) => open,
            None => TcpStream::connect(address).await?,
        };
        open.set_nodelay(true)?;
        let mut out = Vec::new();
        let write = |out: &mut Vec<u8>| {
            api::encode::write_call(call, out);
            Ok(())
        };
        frame::encode(LengthField::Short, &mut out, write).map_err(io::Error::other)?;
        open.write_all(&out).await?;
        let mut decoder = Decoder::new(LengthField::Short);
        loop {
            if let Some(payload) = decoder.next().map_err(io::Error::other)? {
                let answer = api::json::parse_reply(payload).map_err(io::Error::other)?;
                return Ok((open, answer));
            }
            decoder.buffer_mut().reserve(4 << 10);
            if open.read_buf(decoder.buffer_mut()).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    })
    .await;
    let (open, answer) = done.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))?;
    *stream = Some(open);
    Ok((answer, Instant::now()))
}
