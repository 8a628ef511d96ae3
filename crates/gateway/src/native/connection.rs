//! One connection of the native protocol.

use super::answers::{Answer, Answers};
use crate::budget::Charge;
use crate::refuse::close;
use crate::{Origin, Reply, Service, Settings};
use api::frame::{self, Decoder, LengthField};
use api::value::Document;
use api::{Call, Error, ErrorCode, Request, Value, json, parse};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that are read at once, onto the stack.
const READ_BYTES: usize = 16 * 1024;
/// Most bytes by which the buffer of a long frame grows at once.
const GROWTH_BYTES_MAX: usize = 1024 * 1024;
/// Requests that a connection starts before others get their turn: with a thousand connections that send many at a time the
/// node would otherwise hear nothing from the other nodes until it has read them all.
const TURN_REQUESTS: usize = 32;
/// Bytes of a long frame whose arrival restarts its time-out.
const FRAME_PROGRESS_BYTES: usize = 64 * 1024;

/// The number of the last connection.
static LAST_CONNECTION: AtomicU64 = AtomicU64::new(0);

pub(super) struct Connection<S, V> {
    stream: S,
    /// Where its requests come from: the frames are those of the next request's answer.
    origin: Origin,
    service: V,
    settings: Arc<Settings>,
    decoder: Decoder,
    /// The decoder's buffer, as far as it counts against the budget of all connections.
    charge: Charge,
    answers: Arc<Answers>,
    /// Requests that were started (or refused) and whose answer is not encoded yet.
    in_flight: usize,
    output: Output,
    /// Why nothing more is read, once that is so.
    input: Input,
    /// Since when the frame under way keeps us waiting, and how much of it was there then.
    frame_began: Option<(Instant, usize)>,
    /// Since when the client takes no bytes although some are there for it.
    stalled_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// The client sends no more.
    Ended,
    /// The client may be sending, but nobody listens: its framing is lost, or the node stops.
    Cut,
}

/// Encoded answers on their way out.
#[derive(Default)]
struct Output {
    length_field: LengthField,
    bytes: Vec<u8>,
    written: usize,
}

impl<S, V> Connection<S, V>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    V: Service,
{
    pub(super) fn new(
        stream: S,
        first_bytes: &[u8],
        service: V,
        settings: Arc<Settings>,
    ) -> Connection<S, V> {
        let mut decoder = Decoder::new(LengthField::Short);
        decoder.push(first_bytes);
        let mut stop = settings.stop.clone();
        // Only that no two have the same counts.
        let connection = LAST_CONNECTION.fetch_add(1, Ordering::Relaxed) + 1;
        let answer_bytes_max = LengthField::Short.payload_bytes_max();
        Connection {
            stream,
            origin: Origin { connection, answer_bytes_max },
            service,
            decoder,
            charge: Charge::new(settings.unfinished_bytes.clone()),
            answers: Arc::new(Answers::default()),
            in_flight: 0,
            output: Output::default(),
            input: Input::Open,
            frame_began: None,
            stalled_since: None,
            timer: None,
            stop: Some(Box::pin(async move {
                if stop.wait_for(|stop| *stop).await.is_err() {
                    std::future::pending::<()>().await;
                }
            })),
            settings,
        }
    }

    pub(super) async fn run(mut self) -> io::Result<()> {
        let ended = poll_fn(|context| self.poll(context)).await;
        let gone = matches!(&ended, Err(error) if is_gone(error));
        if ended.is_ok() {
            // Boxed, so that its buffer is not part of every idle connection.
            Box::pin(close(&mut self.stream)).await;
        }
        if gone { Ok(()) } else { ended }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut turn = TURN_REQUESTS;
        loop {
            let mut progressed = self.start_requests(&mut turn);
            progressed |= self.collect_answers(context);
            progressed |= self.poll_write(context)?;
            if turn == 0 {
                context.waker().wake_by_ref();
                break;
            }
            progressed |= self.poll_read(context)?;
            if !progressed {
                if self.input != Input::Open && self.in_flight == 0 && self.output.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                match self.poll_timer(context) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => break,
                }
            }
        }
        if self.input == Input::Open
            && let Some(stop) = &mut self.stop
            && stop.as_mut().poll(context).is_ready()
        {
            self.stop = None;
            self.cut();
            context.waker().wake_by_ref();
        }
        self.decoder.release();
        self.charge.lower(self.decoder.buffer_mut().capacity());
        self.output.release();
        Poll::Pending
    }

    /// Whether another request may be started.
    fn has_room(&self) -> bool {
        self.in_flight < self.settings.requests_in_flight_max
            && self.output.waiting_bytes() < self.settings.output_bytes_max
    }

    /// Starts the requests whose frames are complete, as far as there is room and its turn goes.
    fn start_requests(&mut self, turn: &mut usize) -> bool {
        let mut progressed = false;
        while self.input != Input::Cut && self.has_room() && *turn > 0 {
            let parsed = match self.decoder.next() {
                Ok(Some(payload)) => parse::parse_call(payload),
                Ok(None) => {
                    self.note_frame_under_way();
                    break;
                }
                Err(error) => {
                    self.cut();
                    Err(error)
                }
            };
            self.frame_began = None;
            self.in_flight += 1;
            *turn -= 1;
            progressed = true;
            match parsed {
                Ok(call) => self.start(call),
                Err(error) => self.answers.push(Answer::refusal(error)),
            }
        }
        progressed
    }

    fn note_frame_under_way(&mut self) {
        let held = self.decoder.held_bytes();
        match self.frame_began {
            _ if held == 0 => self.frame_began = None,
            Some((_, before)) if held < before + FRAME_PROGRESS_BYTES => {}
            _ => self.frame_began = Some((Instant::now(), held)),
        }
    }

    fn start(&mut self, mut call: Call) {
        if let Request::Hello { frame_length_bytes } = call.request {
            self.hello(frame_length_bytes);
            return;
        }
        // Before the request goes through the log, so that every replica stores the same.
        call.request.draw_ids(&mut || (self.settings.ids)().into());
        let ticket = self.answers.open();
        let reply = Reply::new(Arc::<Answers>::clone(&self.answers), ticket);
        self.service.start(call, reply.with_origin(self.origin));
    }

    fn hello(&mut self, frame_length_bytes: u8) {
        let result = match LengthField::of_bytes(frame_length_bytes) {
            Some(length_field) => {
                self.decoder.set_length_field(length_field);
                self.origin.answer_bytes_max = length_field.payload_bytes_max();
                let mut settings = Document::new();
                settings.insert("frame", i64::from(frame_length_bytes));
                Ok(Value::Document(settings))
            }
            None => Err(Error::new(ErrorCode::BadRequest, "hello: frame must be 2 or 4")),
        };
        let length_field_after =
            result.is_ok().then(|| LengthField::of_bytes(frame_length_bytes)).flatten();
        self.answers.push(Answer { result, length_field_after });
    }

    /// Encodes the answers that are ready, as far as the client reads them.
    fn collect_answers(&mut self, context: &Context<'_>) -> bool {
        let mut progressed = false;
        while self.output.waiting_bytes() < self.settings.output_bytes_max {
            let Some(answer) = self.answers.pop(context.waker()) else { break };
            self.output.encode(&answer);
            self.in_flight -= 1;
            progressed = true;
        }
        progressed
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut progressed = false;
        while !self.output.is_empty() {
            let waiting = &self.output.bytes[self.output.written..];
            match Pin::new(&mut self.stream).poll_write(context, waiting) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.output.advance(count);
                    self.stalled_since = None;
                    progressed = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.stalled_since.get_or_insert_with(Instant::now);
                    return Ok(progressed);
                }
            }
        }
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(progressed),
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        if self.input != Input::Open || !self.has_room() {
            return Ok(false);
        }
        let (held, missing) = (self.decoder.held_bytes(), self.decoder.missing_bytes());
        if held > 0 && missing == 0 {
            // Answers went out after requests were last started: those that wait come first.
            return Ok(false);
        }
        let read = if held + missing > READ_BYTES {
            if !self.make_room(missing) {
                self.refuse_unfinished();
                return Ok(true);
            }
            pin!(self.stream.read_buf(self.decoder.buffer_mut())).poll(context)
        } else {
            let mut chunk = [MaybeUninit::<u8>::uninit(); READ_BYTES];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut chunk);
            self.decoder.push(chunk.filled());
            read.map_ok(|()| chunk.filled().len())
        };
        match read {
            Poll::Ready(Ok(0)) => {
                self.input = Input::Ended;
                Ok(true)
            }
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(false),
        }
    }

    /// Makes room for some of the `missing` bytes of a long frame; false if all connections together
    /// hold too much already.
    fn make_room(&mut self, missing: usize) -> bool {
        let buffer = self.decoder.buffer_mut();
        if buffer.capacity() - buffer.len() >= missing.min(READ_BYTES) {
            return true;
        }
        // Memory follows the bytes that came, not the length that was announced.
        let more = READ_BYTES.max(buffer.len().min(GROWTH_BYTES_MAX)).min(missing);
        if !self.charge.raise(buffer.len() + more, self.settings.unfinished_bytes_max) {
            return false;
        }
        // Exact, for what is not charged must not be held.
        buffer.reserve_exact(more);
        true
    }

    fn refuse_unfinished(&mut self) {
        let error = Error::new(
            ErrorCode::Busy,
            format!(
                "requests that are still arriving may hold {} bytes at this node \
                 (unfinished_bytes_max), this one would need more; the connection ends: send the \
                 request again later or to another member, or divide it",
                self.settings.unfinished_bytes_max
            ),
        );
        self.refuse_frame(error);
    }

    /// Waits for the next of the two time-outs, if any runs. Ready without an error: look again.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let frame_deadline = match self.frame_began {
            Some((began, _)) if self.input == Input::Open => {
                Some(began + self.settings.frame_timeout)
            }
            _ => None,
        };
        let stall_deadline = self.stalled_since.map(|since| since + self.settings.stall_timeout);
        let Some(deadline) = frame_deadline.into_iter().chain(stall_deadline).min() else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.timer = None;
        if stall_deadline == Some(deadline) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.give_up_frame();
        Poll::Ready(Ok(()))
    }

    fn give_up_frame(&mut self) {
        let error = Error::new(
            ErrorCode::BadRequest,
            format!(
                "a frame was begun and {} of its bytes did not come within {}; the connection ends",
                self.decoder.missing_bytes(),
                seconds(self.settings.frame_timeout)
            ),
        );
        self.refuse_frame(error);
    }

    /// Answers a frame that is not complete, and reads no further.
    fn refuse_frame(&mut self, error: Error) {
        self.frame_began = None;
        self.cut();
        self.in_flight += 1;
        self.answers.push(Answer::refusal(error));
    }

    /// Reads nothing more, and frees what was read and not started.
    fn cut(&mut self) {
        self.input = Input::Cut;
        self.decoder = Decoder::default();
        self.charge.lower(0);
    }
}

impl Output {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
        }
    }

    /// Frees the buffer while nothing waits in it.
    fn release(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
            self.written = 0;
        }
    }

    fn encode(&mut self, answer: &Answer) {
        if self.written > self.bytes.len() / 2 {
            // A client that reads slowly but steadily may never let the buffer run empty.
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        if let Err(error) = self.try_encode(&answer.result) {
            let hint = match self.length_field {
                LengthField::Short => {
                    "send [\"hello\",{\"frame\":4}] first for frames to 16 MiB, or ask for less \
                     with the options limit, skip and fields"
                }
                LengthField::Long => "ask for less with the options limit, skip and fields",
            };
            let refusal = Err(Error::new(error.code, format!("{}; {hint}", error.message)));
            let encoded = self.try_encode(&refusal);
            assert!(encoded.is_ok(), "a refusal always fits a frame");
        }
        if let Some(length_field) = answer.length_field_after {
            self.length_field = length_field;
        }
    }

    fn try_encode(&mut self, result: &Result<Value, Error>) -> Result<(), Error> {
        let length_field = self.length_field;
        frame::encode(length_field, &mut self.bytes, |out| {
            json::write_reply(result, length_field.payload_bytes_max(), out)
        })
    }
}

/// Whether the error only says that the client went away.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}
