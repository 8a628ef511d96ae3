//! Concurrent clients that read, write, swap, increment and insert while faults happen around them, and
//! what they were told.
//!
//! Half of the clients go through the client library, half speak the protocol themselves ([`RawClient`]).
//! No value is written twice, so that the history of each key can be checked exactly. An outcome that
//! nobody knows is noted as such: it may take effect at any later time, once.

use super::history::{Clock, Notes, operation};
use super::raw::RawClient;
use super::{PATIENCE, same};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use api::{Document, ErrorCode, Request, Schema, UpdateOptions, Value};
use client::{Client, Options};
use fastrand::Rng;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a workload is run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Clients, of both kinds by turns.
    pub(crate) clients: usize,
    /// Keys that they share.
    pub(crate) keys: usize,
    /// The wait of a client between two operations.
    pub(crate) pace: Duration,
    /// What everything it writes is named after, so that several can follow each other.
    pub(crate) name: String,
    /// Decides what each client does.
    pub(crate) seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        let (pace, name) = (Duration::from_millis(2), "w".to_owned());
        Settings { clients: 6, keys: 4, pace, name, seed: 1 }
    }
}

/// Clients under way.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Notes>>,
}

struct Shared {
    settings: Settings,
    addresses: Vec<String>,
    clock: Clock,
    is_stopping: AtomicBool,
    acknowledged: AtomicU64,
    /// When each answer came.
    answers: Mutex<Vec<Instant>>,
}

/// A workload that is over.
pub(crate) struct Finished {
    shared: Arc<Shared>,
    pub(crate) notes: Notes,
}

/// What a client asks for next.
struct Next {
    request: Request,
    /// The key, and the value that is written to it.
    key: Option<(String, Option<Value>)>,
    inserted: Option<String>,
}

impl Workload {
    /// Starts the clients of the group at `addresses`.
    ///
    /// # Errors
    /// If what they need cannot be made there.
    pub(crate) fn start(addresses: Vec<String>, settings: Settings) -> Result<Workload> {
        let shared = Arc::new(Shared {
            settings,
            addresses,
            clock: Clock::start(),
            is_stopping: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            answers: Mutex::default(),
        });
        let (ready, is_ready) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || runtime.block_on(run(of_thread, ready)));
        if is_ready.recv().is_err() {
            return Err(match thread.join() {
                Ok(Err(error)) => error,
                _ => anyhow!("the workload did not start"),
            });
        }
        Ok(Workload { shared, thread })
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until `more` operations were acknowledged from now on.
    ///
    /// # Errors
    /// If that takes too long, or a client has given up.
    pub(crate) fn wait_for(&self, more: u64) -> Result<()> {
        let goal = self.acknowledged() + more;
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged() < goal {
            ensure!(!self.thread.is_finished(), "a client gave up; finish tells why");
            ensure!(Instant::now() < deadline, "waited too long for {more} acknowledgements");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The longest time without an answer that ended after `since`.
    pub(crate) fn longest_pause_since(&self, since: Instant) -> Duration {
        let answers = self.shared.answers();
        let pairs = answers.windows(2).rev().take_while(|pair| pair[1] > since);
        let lengths = pairs.map(|pair| pair[1].saturating_duration_since(pair[0].max(since)));
        lengths.max().unwrap_or_default()
    }

    /// Ends the clients and checks what they were told.
    ///
    /// # Errors
    /// What no correct store tells its clients.
    pub(crate) fn finish(self) -> Result<Finished> {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        let notes = self.thread.join().map_err(|_| anyhow!("a client panicked"))??;
        notes.check_keys()?;
        Ok(Finished { shared: self.shared, notes })
    }
}

impl Shared {
    fn answers(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> String {
        format!("counters-{}", self.settings.name)
    }

    fn events(&self) -> String {
        format!("events-{}", self.settings.name)
    }
}

impl Finished {
    /// Demands of the node at `address` that every acknowledged write is there, once.
    ///
    /// # Errors
    /// What is missing, or there too often.
    pub(crate) fn check_at(&self, address: &str) -> Result<()> {
        let (counters, events) = (self.shared.counters(), self.shared.events());
        for counter in self.notes.counters() {
            let request = format!(r#"["search","{counters}",{{"_id":"{counter}"}}]"#);
            let found = same::ask(address, &request)?;
            let shown = (found.as_array().and_then(|list| list.first()))
                .and_then(|document| document.as_document()?.get_i64("n").ok());
            let shown = shown.with_context(|| format!("{counter} is lost: {found}"))?;
            self.notes.check_counter(counter, shown)?;
        }
        // Page by page: an answer has a frame of 64 KiB at most.
        let mut ids = BTreeSet::new();
        loop {
            let skip = ids.len();
            let request = format!(
                r#"["search","{events}",{{}},{{"sort":{{"_id":1}},"skip":{skip},"limit":1000,"fields":{{"_id":1}}}}]"#
            );
            let found = same::ask(address, &request)?;
            let found = found.as_array().context("a list")?;
            if found.is_empty() {
                break;
            }
            for document in found {
                let id = document.as_document().and_then(|d| d.get_str("_id").ok());
                let is_new = ids.insert(id.context("a document has an _id")?.to_owned());
                ensure!(is_new, "the document {id:?} is there twice");
            }
        }
        self.notes.check_documents(&ids)
    }

    /// Demands everything of all nodes: each acknowledged write is there once, and all hold the same
    /// content at the same slot. Returns that slot.
    ///
    /// # Errors
    /// What is not so.
    pub(crate) fn check_everywhere(&self) -> Result<i64> {
        let (slot, _) = same::same_content(&self.shared.addresses)?;
        for address in &self.shared.addresses {
            self.check_at(address).with_context(|| format!("at {address}"))?;
        }
        Ok(slot)
    }
}

/// Runs all clients until they are told to stop.
async fn run(shared: Arc<Shared>, ready: mpsc::Sender<()>) -> Result<Notes> {
    let setup = Client::connect(&shared.addresses, options(PATIENCE)).await?;
    setup.create(&shared.counters(), Schema::default()).await?;
    setup.create(&shared.events(), Schema::default()).await?;
    for index in 0..shared.settings.clients {
        let counter = [("_id", Value::from(client_name(&shared, index))), ("n", Value::Int64(0))];
        let counter = counter.map(|(name, value)| (name.to_owned(), value));
        setup.insert(&shared.counters(), Document::from_iter(counter)).await?;
    }
    drop(setup);
    let mut clients = tokio::task::JoinSet::new();
    for index in 0..shared.settings.clients {
        clients.spawn(run_client(Arc::clone(&shared), index));
    }
    // Whoever waits for it has gone only if it failed.
    let _ = ready.send(());
    let mut notes = Notes::default();
    while let Some(ended) = clients.join_next().await {
        notes.add(ended.context("a client panicked")??);
    }
    Ok(notes)
}

/// One client, of the kind that its number decides.
enum Caller {
    Library(Client),
    Raw(Box<RawClient>),
}

async fn run_client(shared: Arc<Shared>, index: usize) -> Result<Notes> {
    let mut rng = Rng::with_seed(shared.settings.seed.wrapping_mul(1_000) + index as u64);
    let name = client_name(&shared, index);
    let mut addresses = shared.addresses.clone();
    let turn = index % addresses.len();
    addresses.rotate_left(turn);
    let mut caller = if index.is_multiple_of(2) {
        // Some have little patience, so that there are outcomes that nobody knows.
        let patience = if index.is_multiple_of(4) { Duration::from_secs(1) } else { PATIENCE };
        Caller::Library(connect(&shared, &addresses, patience).await?)
    } else {
        Caller::Raw(Box::new(RawClient::new(name.clone(), addresses, rng.fork())))
    };
    let mut notes = Notes::default();
    let mut number = 0_u64;
    while !shared.is_stopping.load(Ordering::SeqCst) {
        number += 1;
        let next = draw(&shared, &mut rng, &name, number);
        let start_us = shared.clock.at_us(Instant::now());
        let answer = caller.call(next.request.clone()).await?;
        if let Some((_, at)) = &answer {
            shared.acknowledged.fetch_add(1, Ordering::SeqCst);
            shared.answers().push(*at);
            notes.answered += 1;
        } else {
            notes.unanswered += 1;
        }
        let seen = answer.as_ref().map(|(value, at)| (value, shared.clock.at_us(*at)));
        if let Some((key, written)) = next.key {
            let is_swap = matches!(next.request, Request::Swap { .. });
            let operation = operation(index, start_us, written.as_ref(), is_swap, seen);
            operation.into_iter().for_each(|operation| notes.key(key.clone(), operation));
        } else if let Some(id) = next.inserted {
            notes.insert(id, seen.is_some());
        } else {
            if let Some((changed, _)) = seen {
                ensure!(*changed == Value::Int64(1), "an increment changed {changed} documents");
            }
            notes.increment(&name, seen.is_some());
        }
        tokio::time::sleep(shared.settings.pace).await;
    }
    if let Caller::Raw(raw) = &caller {
        notes.repeated = raw.repeated;
    }
    Ok(notes)
}

impl Caller {
    /// The answer and when it came; none: nobody knows whether it was done.
    async fn call(&mut self, request: Request) -> Result<Option<(Value, Instant)>> {
        match self {
            Caller::Raw(raw) => raw.call(request).await,
            Caller::Library(client) => match client.request(request.clone()).await {
                Ok(value) => Ok(Some((value, Instant::now()))),
                Err(error)
                    if error.code == ErrorCode::Timeout || error.code.is_retryable_elsewhere() =>
                {
                    Ok(None)
                }
                Err(error) => bail!("{request:?} was refused: {error}"),
            },
        }
    }
}

/// A client that has little patience may need several tries to begin.
async fn connect(shared: &Shared, addresses: &[String], patience: Duration) -> Result<Client> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(addresses, options(patience)).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) if shared.is_stopping.load(Ordering::SeqCst) => bail!("stopped too early"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn draw(shared: &Shared, rng: &mut Rng, client: &str, number: u64) -> Next {
    let key = format!("{}-{}", shared.settings.name, rng.usize(..shared.settings.keys));
    let text = format!("{client}-{number}");
    let value = Value::String(text.clone());
    match rng.u8(..10) {
        0..=3 => {
            let request = Request::Read { key: key.clone(), empty_if_absent: false };
            Next { request, key: Some((key, None)), inserted: None }
        }
        4 | 5 => {
            let request = Request::Write { key: key.clone(), value: value.clone() };
            Next { request, key: Some((key, Some(value))), inserted: None }
        }
        6 | 7 => {
            let request = Request::Swap { key: key.clone(), value: value.clone() };
            Next { request, key: Some((key, Some(value))), inserted: None }
        }
        8 => {
            let documents = vec![Document::from_iter([("_id".to_owned(), value)])];
            let request = Request::Insert { collection: shared.events(), documents, list: false };
            Next { request, key: None, inserted: Some(text) }
        }
        _ => {
            let one = Document::from_iter([("n".to_owned(), Value::Int64(1))]);
            let request = Request::Update {
                collection: shared.counters(),
                filter: Document::from_iter([("_id".to_owned(), Value::from(client))]),
                changes: Document::from_iter([("$inc".to_owned(), Value::Document(one))]),
                options: UpdateOptions::default(),
            };
            Next { request, key: None, inserted: None }
        }
    }
}

fn client_name(shared: &Shared, index: usize) -> String {
    format!("{}c{index}", shared.settings.name)
}

fn options(timeout: Duration) -> Options {
    Options { timeout, attempt_timeout: Duration::from_secs(1), ..Options::default() }
}
