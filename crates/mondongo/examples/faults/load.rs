//! Writers through the client library, and what they were told.
//!
//! Each writer has a counter that it swaps from `n - 1` to `n`: an operation that took effect twice, or
//! not at all, shows in the next answer. Every operation also inserts a document that must be found.

use crate::PATIENCE;
use anyhow::{Context, Result, bail, ensure};
use api::{Document, ErrorCode, Request, SearchOptions, Value};
use client::{Client, Options};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const COLLECTION: &str = "events";
/// Operations after which a writer goes back to its own node: else they gather at nodes that never failed, and a
/// pause would tell how long clients wait for an answer, not how long the group takes.
const OPERATIONS_PER_CLIENT: i64 = 50;

/// Writers under way.
pub(crate) struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Result<i64>>>,
}

struct Shared {
    is_stopping: AtomicBool,
    acknowledged: AtomicU64,
    answers: Mutex<Vec<Instant>>,
    /// Why a writer gave up.
    failure: Mutex<Option<String>>,
}

/// What was acknowledged: the last value of each writer's counter.
pub(crate) struct Written {
    counters: Vec<i64>,
}

fn options() -> Options {
    Options { timeout: PATIENCE, attempt_timeout: Duration::from_millis(500), ..Options::default() }
}

impl Load {
    pub(crate) async fn start(addresses: &[String], count: usize) -> Result<Load> {
        let client = Client::connect(addresses, options()).await?;
        client.create(COLLECTION, api::Schema::default()).await?;
        let shared = Arc::new(Shared {
            is_stopping: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            answers: Mutex::new(Vec::new()),
            failure: Mutex::new(None),
        });
        let writers = (0..count)
            .map(|writer| {
                let mut addresses = addresses.to_vec();
                let turn = writer % addresses.len();
                addresses.rotate_left(turn);
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let written = write(writer, addresses, &shared).await;
                    if let Err(error) = &written {
                        shared.fail(format!("{error:#}"));
                    }
                    written
                })
            })
            .collect();
        Ok(Load { shared, writers })
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Until `more` operations have been acknowledged from now on.
    pub(crate) async fn wait_for(&self, more: u64) -> Result<()> {
        let goal = self.acknowledged() + more;
        let deadline = Instant::now() + 2 * PATIENCE;
        while self.acknowledged() < goal {
            if let Some(reason) = self.shared.failure() {
                bail!("a writer gave up: {reason}");
            }
            ensure!(Instant::now() < deadline, "waited too long for {more} acknowledgements");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// The longest time without any answer that began or ended after `since`.
    pub(crate) fn longest_pause_since(&self, since: Instant) -> Duration {
        let answers = self.shared.answers.lock().unwrap_or_else(|e| e.into_inner());
        let mut longest = Duration::ZERO;
        for pair in answers.windows(2) {
            if pair[1] > since {
                longest = longest.max(pair[1].saturating_duration_since(pair[0].max(since)));
            }
        }
        longest
    }

    pub(crate) async fn stop(self) -> Result<Written> {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        let mut counters = Vec::new();
        for writer in self.writers {
            counters.push(writer.await.context("a writer panicked")??);
        }
        Ok(Written { counters })
    }
}

impl Shared {
    fn fail(&self, reason: String) {
        self.failure.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(reason);
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn note(&self) {
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        self.answers.lock().unwrap_or_else(|e| e.into_inner()).push(Instant::now());
    }
}

async fn write(writer: usize, addresses: Vec<String>, shared: &Shared) -> Result<i64> {
    let mut client = connect(&addresses).await?;
    let mut count = 0;
    while !shared.is_stopping.load(Ordering::SeqCst) {
        if count % OPERATIONS_PER_CLIENT == OPERATIONS_PER_CLIENT - 1 {
            client = connect(&addresses).await?;
        }
        let next: i64 = count + 1;
        let before = client.swap(&counter(writer), next).await?;
        let expected = if count == 0 { Value::Null } else { Value::Int64(count) };
        ensure!(
            before == expected,
            "writer {writer}: swap to {next} found {before}, not {expected}"
        );
        shared.note();
        let mut document = Document::new();
        document.insert("_id", format!("{writer}-{next}"));
        client.insert(COLLECTION, document).await?;
        shared.note();
        count = next;
    }
    Ok(count)
}

/// A new client; to be made it needs one node that listens, which may not be so for a moment.
async fn connect(addresses: &[String]) -> Result<Client> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(addresses, options()).await {
            Err(error) if error.code == ErrorCode::Down && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            done => return Ok(done?),
        }
    }
}

fn counter(writer: usize) -> String {
    format!("counter-{writer}")
}

impl Written {
    pub(crate) fn acknowledged(&self) -> i64 {
        2 * self.counters.iter().sum::<i64>()
    }

    /// Everything is there, once, as the node at `address` answers.
    pub(crate) async fn verify(&self, address: &str) -> Result<()> {
        let client = Client::connect(&[address.to_owned()], options()).await?;
        for (writer, count) in self.counters.iter().enumerate() {
            let value = client.read(&counter(writer)).await?;
            ensure!(
                value == Value::Int64(*count),
                "counter of writer {writer}: {value}, not {count}"
            );
        }
        let search = Request::Search {
            collection: COLLECTION.to_owned(),
            filter: Document::new(),
            search: SearchOptions::default(),
        };
        let found = client.request(search).await?;
        let found: BTreeSet<String> = (found.as_array().context("a list")?.iter())
            .filter_map(|d| Some(d.as_document()?.get_str("_id").ok()?.to_owned()))
            .collect();
        for (writer, count) in self.counters.iter().enumerate() {
            for number in 1..=*count {
                let id = format!("{writer}-{number}");
                ensure!(found.contains(&id), "the document {id} is lost");
            }
        }
        let expected = usize::try_from(self.counters.iter().sum::<i64>())?;
        ensure!(found.len() == expected, "{} documents, not {expected}", found.len());
        Ok(())
    }
}
