//! One connection to one node: requests of many tasks, answers in their order.

use api::encode::write_call;
use api::frame::{self, Decoder, LengthField};
use api::{Call, Error, ErrorCode, Options, Request, Value, json};
use std::collections::VecDeque;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// Most requests that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Requests that are put into one write.
const BATCH_MAX: usize = 256;

/// Room that is made for each request, in bytes: enough for most, so that it need not grow while it is written.
const FRAME_BYTES: usize = 512;
/// Room that is made before each read, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// One connection; it ends when all handles are dropped or it breaks.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: String,
    queue: mpsc::Sender<Outgoing>,
}

/// How a request on a connection went wrong.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It was not sent.
    NotSent(Error),
    /// It was sent, or may have been, and no answer will come.
    Lost,
}

#[derive(Debug)]
struct Outgoing {
    frame: Vec<u8>,
    answer: oneshot::Sender<Result<Value, Error>>,
}

impl Connection {
    /// Connects and agrees on long frames.
    pub(crate) async fn open(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (input, output) = stream.into_split();
        Connection::over(input, output, address).await
    }

    /// Agrees on long frames over a stream of any kind to the node called `address`.
    pub(crate) async fn over<I, O>(
        mut input: I,
        mut output: O,
        address: &str,
    ) -> io::Result<Connection>
    where
        I: AsyncRead + Send + Unpin + 'static,
        O: AsyncWrite + Send + Unpin + 'static,
    {
        let mut decoder = Decoder::new(LengthField::Short);
        greet(&mut input, &mut output, &mut decoder).await?;
        decoder.set_length_field(LengthField::Long);
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let task = Task { input, output, decoder, queued, waiting: VecDeque::new() };
        let peer = address.to_string();
        tokio::spawn(async move {
            if let Err(error) = task.run().await {
                tracing::debug!(address = peer, %error, "connection lost");
            }
        });
        Ok(Connection { address: address.to_string(), queue })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Sends a call and waits for its answer.
    pub(crate) async fn call(&self, call: &Call) -> Result<Result<Value, Error>, Trouble> {
        let mut frame = Vec::with_capacity(FRAME_BYTES);
        frame::encode(LengthField::Long, &mut frame, |out| {
            write_call(call, out);
            Ok(())
        })
        .map_err(Trouble::NotSent)?;
        let (answer, answered) = oneshot::channel();
        self.queue.send(Outgoing { frame, answer }).await.map_err(|_| Trouble::Lost)?;
        answered.await.map_err(|_| Trouble::Lost)
    }
}

/// Sends `hello` and reads its answer.
async fn greet(
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
    decoder: &mut Decoder,
) -> io::Result<()> {
    let hello =
        Call { request: Request::Hello { frame_length_bytes: 4 }, options: Options::default() };
    let mut bytes = Vec::new();
    frame::encode(LengthField::Short, &mut bytes, |out| {
        write_call(&hello, out);
        Ok(())
    })
    .map_err(io::Error::other)?;
    output.write_all(&bytes).await?;
    loop {
        if let Some(payload) = decoder.next().map_err(io::Error::other)? {
            let reply = json::parse_reply(payload)
                .map_err(|_| io::Error::other("what listens there is no MondongoDB node"))?;
            return reply.map(|_| ()).map_err(io::Error::other);
        }
        decoder.buffer_mut().reserve(READ_BYTES);
        if input.read_buf(decoder.buffer_mut()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The task behind a connection. When it ends, whoever waits for an answer learns that none comes.
struct Task<I, O> {
    input: I,
    output: O,
    decoder: Decoder,
    queued: mpsc::Receiver<Outgoing>,
    /// Who waits for the next answers, in order.
    waiting: VecDeque<oneshot::Sender<Result<Value, Error>>>,
}

impl<I: AsyncRead + Unpin, O: AsyncWrite + Unpin> Task<I, O> {
    async fn run(mut self) -> io::Result<()> {
        let mut batch = Vec::new();
        let (mut bytes, mut written): (Vec<u8>, usize) = (Vec::new(), 0);
        let mut wanted = true;
        while wanted || !self.waiting.is_empty() {
            self.decoder.buffer_mut().reserve(READ_BYTES);
            tokio::select! {
                count = self.queued.recv_many(&mut batch, BATCH_MAX), if wanted && bytes.is_empty() => {
                    wanted = count > 0;
                    for Outgoing { frame, answer } in batch.drain(..) {
                        bytes.extend_from_slice(&frame);
                        self.waiting.push_back(answer);
                    }
                }
                count = self.output.write(&bytes[written..]), if !bytes.is_empty() => {
                    written += count?;
                    if written == bytes.len() {
                        bytes.clear();
                        bytes.shrink_to(64 * 1024);
                        written = 0;
                    }
                }
                count = self.input.read_buf(self.decoder.buffer_mut()) => {
                    if count? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.deliver()?;
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self) -> io::Result<()> {
        while let Some(payload) = self.decoder.next().map_err(io::Error::other)? {
            let reply = json::parse_reply(payload).map_err(io::Error::other)?;
            let Some(waiting) = self.waiting.pop_front() else {
                return Err(io::Error::other("an answer came to no request"));
            };
            // Who gave up waiting is gone.
            let _ = waiting.send(reply);
        }
        Ok(())
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::NotSent(error) => error,
            Trouble::Lost => Error::new(ErrorCode::Timeout, "the connection was lost"),
        }
    }
}
