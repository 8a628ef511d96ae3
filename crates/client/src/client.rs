//! The client: one call, as many attempts as its time allows.

use crate::backoff::Backoff;
use crate::connection::{Connection, Trouble};
use crate::members::Members;
use crate::references::{InUse, References};
use api::{Call, Error, ErrorCode, Request, Value};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::time::{Instant, timeout_at};

/// How patient a [`Client`] is.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a call may take in all, unless it brings its own `timeout_ms`.
    pub timeout: Duration,
    /// How long connecting to one member may take.
    pub connect_timeout: Duration,
    /// How long the first attempt of a call may take before its node is given up for the next; twice
    /// as long at each further attempt, so that a request that takes long is answered in the end.
    pub attempt_timeout: Duration,
    /// The wait after a round through all members without success; it doubles with each round.
    pub backoff_first: Duration,
    /// The longest such wait.
    pub backoff_longest: Duration,
    /// Whether a call goes on when a node has too much to do, with the next member and after a wait. If not,
    /// [`ErrorCode::Busy`] is its answer, and the connection stays.
    pub tries_again_when_busy: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            timeout: Duration::from_millis(api::limits::TIMEOUT_MS_DEFAULT),
            connect_timeout: Duration::from_secs(1),
            attempt_timeout: Duration::from_secs(2),
            backoff_first: Duration::from_millis(10),
            backoff_longest: Duration::from_millis(500),
            tries_again_when_busy: true,
        }
    }
}

/// A client of a group of nodes. Clones share its connection and its references.
///
/// It must be used within a tokio runtime with time and network.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

/// Opens streams to a node within this process.
type Dial = Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>;

struct Shared {
    options: Options,
    /// None: nodes are reached over the network.
    dial: Option<Dial>,
    references: Arc<References>,
    members: Mutex<Members>,
    /// Held while connecting, so that many calls that lost their connection make one new one.
    current: tokio::sync::Mutex<Current>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("references", &self.references)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Arc<Connection>>,
    /// Which member to try first.
    next: usize,
}

/// What the attempts of one call came to so far.
#[derive(Default)]
struct Attempts {
    count: u32,
    /// Failures since the last wait.
    failures: usize,
    /// Whether one of them may have taken effect.
    may_have_effect: bool,
    last: Option<Error>,
}

impl Client {
    /// A client of the group of which `members` (`host:port`) are some or all members. It connects to
    /// the first that can be reached, and learns of the others from it.
    ///
    /// # Errors
    /// [`ErrorCode::Down`] if none can be reached; it tries each once.
    pub async fn connect(members: &[String], options: Options) -> Result<Client, Error> {
        if members.is_empty() {
            return Err(Error::new(ErrorCode::BadRequest, "no member to connect to was named"));
        }
        let client = Client::new(members, options, None);
        client.connection().await?;
        Ok(client)
    }

    /// A client of a node within this process, which is called `name` in messages; `dial` opens a stream to it that
    /// speaks the native protocol. No other node is learnt of.
    ///
    /// # Errors
    /// [`ErrorCode::Down`] if it cannot be reached.
    pub async fn within(
        name: &str,
        options: Options,
        dial: impl Fn() -> io::Result<DuplexStream> + Send + Sync + 'static,
    ) -> Result<Client, Error> {
        let client = Client::new(&[name.to_string()], options, Some(Arc::new(dial)));
        client.connection().await?;
        Ok(client)
    }

    fn new(members: &[String], options: Options, dial: Option<Dial>) -> Client {
        Client {
            shared: Arc::new(Shared {
                options,
                dial,
                references: References::new(),
                members: Mutex::new(Members::new(members)),
                current: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// The addresses under which the group is known to this client.
    pub fn addresses(&self) -> Vec<String> {
        self.members().addresses().to_vec()
    }

    /// The address of the member that the client talks to now, if any.
    pub async fn connected_to(&self) -> Option<String> {
        let current = self.shared.current.lock().await;
        current.connection.as_ref().map(|connection| connection.address.clone())
    }

    /// Sends a request with default options.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn request(&self, request: Request) -> Result<Value, Error> {
        self.call(Call { request, options: api::Options::default() }).await
    }

    /// Sends a call, again and elsewhere if need be, until it is answered or its time is over. A write
    /// without a reference gets one.
    ///
    /// # Errors
    /// The refusal of a node. When the time is over: [`ErrorCode::Timeout`] if the request may have
    /// taken effect, else the reason why no node took it, [`ErrorCode::Down`] for one.
    pub async fn call(&self, call: Call) -> Result<Value, Error> {
        self.call_somewhere(call).await.map(|(answer, _)| answer)
    }

    /// As [`Client::call`], and says who answered.
    pub(crate) async fn call_somewhere(
        &self,
        mut call: Call,
    ) -> Result<(Value, Arc<Connection>), Error> {
        if matches!(call.request, Request::Hello { .. }) {
            return Err(Error::new(
                ErrorCode::BadRequest,
                "hello is said by the client library itself",
            ));
        }
        let given = call.options.timeout_ms.map(Duration::from_millis);
        let deadline = Instant::now() + given.unwrap_or(self.shared.options.timeout);
        let in_use = (call.request.is_write() && call.options.reference.is_none())
            .then(|| self.shared.references.take());
        if let Some(in_use) = &in_use {
            call.options.reference = Some(in_use.reference());
        }
        let mut attempts = Attempts::default();
        let mut backoff =
            Backoff::new(self.shared.options.backoff_first, self.shared.options.backoff_longest);
        loop {
            if let Some(answer) =
                self.attempt(&mut call, in_use.as_ref(), deadline, &mut attempts).await
            {
                return answer;
            }
            let wait = if attempts.failures < self.members().addresses().len() {
                Duration::ZERO
            } else {
                attempts.failures = 0;
                backoff.next()
            };
            if Instant::now() + wait >= deadline {
                return Err(attempts.give_up(&call));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt; none if another should follow.
    async fn attempt(
        &self,
        call: &mut Call,
        in_use: Option<&InUse>,
        deadline: Instant,
        attempts: &mut Attempts,
    ) -> Option<Result<(Value, Arc<Connection>), Error>> {
        let connection = match self.connection_at_hand() {
            Some(connection) => connection,
            None => match timeout_at(deadline, self.connection()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    // It tried every member.
                    attempts.note(self.members().addresses().len(), error);
                    return None;
                }
                Err(_) => {
                    let late = "no member took the connection in time";
                    attempts.note(1, Error::new(ErrorCode::Down, late));
                    return None;
                }
            },
        };
        let patience = self.shared.options.attempt_timeout * 2u32.pow(attempts.count.min(10));
        let now = Instant::now();
        let attempt_deadline = deadline.min(now + patience);
        attempts.count += 1;
        // The node gives up a little earlier, so that its word on the matter arrives.
        let left = attempt_deadline.saturating_duration_since(now).mul_f64(0.9);
        call.options.timeout_ms =
            Some((left.as_millis() as u64).clamp(1, api::limits::TIMEOUT_MS_MAX));
        if let Some(in_use) = in_use {
            call.options.acked = Some(in_use.acked());
        }
        match timeout_at(attempt_deadline, connection.call(call)).await {
            Ok(Ok(Err(error))) if error.code == ErrorCode::NotLeader => {
                // At most as often as there are members at once: who leads may change meanwhile.
                self.follow(&connection, &error).await;
                attempts.note(1, named(&connection, &error));
                None
            }
            Ok(Ok(Err(error)))
                if error.code == ErrorCode::Busy && !self.shared.options.tries_again_when_busy =>
            {
                Some(Err(attempts.refused(named(&connection, &error), call)))
            }
            Ok(Ok(Err(error))) if error.code.is_retryable_elsewhere() => {
                let busy = error.code == ErrorCode::Busy;
                self.leave(&connection, busy || error.code == ErrorCode::Down).await;
                // The others will hardly be less busy: wait first.
                let failures = if busy { self.members().addresses().len() } else { 1 };
                attempts.note(failures, named(&connection, &error));
                None
            }
            Ok(Ok(Err(error))) if error.code == ErrorCode::Timeout => {
                attempts.may_have_effect = true;
                self.leave(&connection, true).await;
                attempts.note(1, named(&connection, &error));
                None
            }
            Ok(Ok(answer)) => Some(answer.map(|answer| (answer, connection))),
            Ok(Err(Trouble::NotSent(error))) => Some(Err(error)),
            Ok(Err(lost @ Trouble::Lost)) => {
                attempts.may_have_effect = true;
                self.leave(&connection, false).await;
                attempts.note(1, named(&connection, &lost.into()));
                None
            }
            Err(_) => {
                attempts.may_have_effect = true;
                self.leave(&connection, false).await;
                let silent = Error::new(ErrorCode::Timeout, "it did not answer in time");
                attempts.note(1, named(&connection, &silent));
                None
            }
        }
    }

    /// The connection in use, if nobody is just changing it: what nearly every call finds, without waiting.
    fn connection_at_hand(&self) -> Option<Arc<Connection>> {
        let current = self.shared.current.try_lock().ok()?;
        let connection =
            current.connection.as_ref().filter(|connection| !connection.is_closed())?;
        Some(Arc::clone(connection))
    }

    /// The connection in use, or a new one to the first member that can be reached.
    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        let mut current = self.shared.current.lock().await;
        if let Some(connection) = &current.connection
            && !connection.is_closed()
        {
            return Ok(Arc::clone(connection));
        }
        current.connection = None;
        let addresses = self.addresses();
        let mut failures = Vec::new();
        for step in 0..addresses.len() {
            let position = (current.next + step) % addresses.len();
            let address = &addresses[position];
            let opening =
                tokio::time::timeout(self.shared.options.connect_timeout, self.open(address));
            match opening.await {
                Ok(Ok(connection)) => {
                    let connection = Arc::new(connection);
                    current.next = position;
                    current.connection = Some(Arc::clone(&connection));
                    self.learn_members(&connection);
                    return Ok(connection);
                }
                Ok(Err(error)) => failures.push(format!("{address}: {error}")),
                Err(_) => failures.push(format!("{address}: no answer in time")),
            }
        }
        Err(Error::new(
            ErrorCode::Down,
            format!("cannot reach any of {} ({})", addresses.join(", "), failures.join("; ")),
        ))
    }

    async fn open(&self, address: &str) -> io::Result<Connection> {
        let Some(dial) = &self.shared.dial else { return Connection::open(address).await };
        let (input, output) = tokio::io::split(dial()?);
        Connection::over(input, output, address).await
    }

    /// Turns to the next member, unless another call did so already. A connection that still works is
    /// kept if there is no other member.
    async fn leave(&self, connection: &Arc<Connection>, works: bool) {
        let count = self.members().addresses().len();
        if works && count == 1 {
            return;
        }
        let mut current = self.shared.current.lock().await;
        if current.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            current.connection = None;
            current.next = (current.next + 1) % count;
        }
    }

    /// Turns to the leader that a node named in its refusal, unless another call did so already.
    async fn follow(&self, connection: &Arc<Connection>, refusal: &Error) {
        let Some(leader) = refusal.leader_address() else {
            return self.leave(connection, true).await;
        };
        let position = self.members().position_of(leader);
        let mut current = self.shared.current.lock().await;
        if current.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            current.connection = None;
            current.next = position;
        }
    }

    /// Asks a node that was just connected for the members of its group, beside other work.
    fn learn_members(&self, connection: &Arc<Connection>) {
        if self.shared.dial.is_some() {
            return;
        }
        let (shared, connection) = (Arc::downgrade(&self.shared), Arc::clone(connection));
        tokio::spawn(async move {
            let call = Call { request: Request::Members, options: api::Options::default() };
            if let Ok(Ok(answer)) = connection.call(&call).await
                && let Some(shared) = shared.upgrade()
            {
                shared.members.lock().unwrap_or_else(PoisonError::into_inner).learn(&answer);
            }
        });
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.shared.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempts {
    fn note(&mut self, failures: usize, error: Error) {
        self.failures += failures;
        self.last = Some(error);
    }

    /// The error of a call that is not tried again: the refusal, unless an earlier attempt may have had an effect.
    fn refused(&mut self, refusal: Error, call: &Call) -> Error {
        self.note(1, refusal);
        std::mem::take(self).give_up(call)
    }

    /// The error of a call whose time is over.
    fn give_up(self, call: &Call) -> Error {
        let last = self.last.unwrap_or_else(|| Error::new(ErrorCode::Timeout, "no time was given"));
        if !self.may_have_effect {
            return last;
        }
        let effect = match &call.options.reference {
            Some(reference) if call.request.is_write() => format!(
                "; it may have taken effect or not, ask again under the reference {reference} to know"
            ),
            _ => String::new(),
        };
        Error::new(
            ErrorCode::Timeout,
            format!(
                "{} was not answered in its time, in {} attempts{effect}; last: {}",
                call.request.name(),
                self.count,
                last.message
            ),
        )
    }
}

pub(crate) fn named(connection: &Connection, error: &Error) -> Error {
    Error::new(error.code, format!("{}: {}", connection.address, error.message))
}
