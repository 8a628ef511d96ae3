//! An import from beginning to end.

use super::batches::{self, Batch, Cut, Reached};
use super::cells::Columns;
use super::deliver::{Delivered, Delivery, Stopped, why_not_replacing};
use super::options::{Format, ImportArguments, OnDuplicate};
use super::records::{self, Records};
use super::rejects::Rejects;
use super::source::{Source, fingerprint};
use super::state::{About, Counts, State};
use crate::progress::{Progress, grouped};
use crate::target::Target;
use api::{ErrorCode, Request, Schema, Value};
use client::Client;
use server::Access;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Exit status for wrong arguments, as clap's.
const WRONG_ARGUMENTS: u8 = 2;
/// Exit status if it stopped before the end.
const STOPPED: u8 = 3;
/// Bytes of input after which a batch ends.
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// How often the state is written.
const STATE_WAIT: Duration = Duration::from_millis(200);

/// Runs the subcommand.
pub(crate) fn run(arguments: &ImportArguments) -> ExitCode {
    let prepared = arguments.format().and_then(|format| {
        if arguments.on_duplicate() == OnDuplicate::Replace
            && let Some(reason) = why_not_replacing()
        {
            return Err(reason.into());
        }
        Ok((Target::parse(&arguments.members)?, format))
    });
    let (target, format) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    match import(&target, arguments, format) {
        Ok(ended) => ended.tell(arguments),
        Err(Failure::Wrong(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(WRONG_ARGUMENTS)
        }
        Err(Failure::Stopped(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(STOPPED)
        }
    }
}

/// Why there was no import.
enum Failure {
    /// It cannot be done in this way.
    Wrong(String),
    /// It may be possible later.
    Stopped(String),
}

/// What an import came to.
struct Ended {
    counts: Counts,
    /// Of them, what an earlier run did.
    before: Counts,
    rejected: PathBuf,
    elapsed: Duration,
    rate: f64,
    /// Why it is not at the end, and whether it can go on there.
    stopped: Option<(String, bool)>,
}

fn import(target: &Target, arguments: &ImportArguments, format: Format) -> Result<Ended, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Stopped(error.to_string()))?;
    let reached = target.reach(&runtime).map_err(Failure::Stopped)?;
    if let Some(Access::ReadOnly { reason }) = &reached.access {
        let message = format!("{} can only be read: {reason}", arguments.members);
        let _ = reached.close(runtime);
        return Err(Failure::Wrong(message));
    }
    let client = reached.client.clone();
    let ended = runtime.block_on(async {
        let mut import = Import::prepare(client, arguments, format).await?;
        import.run().await
    });
    let closed = reached.close(runtime).map_err(Failure::Stopped);
    let ended = ended?;
    closed.map(|()| ended)
}

/// An import under way.
struct Import<'a> {
    arguments: &'a ImportArguments,
    state: State,
    state_file: Option<PathBuf>,
    state_written: Instant,
    rejects: Rejects,
    delivery: Rc<Delivery>,
    progress: Progress,
    bytes_read: Arc<AtomicU64>,
    incoming: mpsc::Receiver<Result<Batch, String>>,
    before: Counts,
    /// Held, so that nobody else imports the file.
    _held: Option<File>,
}

impl<'a> Import<'a> {
    async fn prepare(
        client: Client,
        arguments: &'a ImportArguments,
        format: Format,
    ) -> Result<Import<'a>, Failure> {
        let schema = schema(&client, arguments).await?;
        let about = about(&client, arguments, format).await?;
        let state_file = arguments.state_file();
        let state = match &state_file {
            Some(file) if !arguments.restart => State::read(file).map_err(|error| {
                Failure::Wrong(format!(
                    "{}: {error}; remove it, or begin anew with --restart",
                    file.display()
                ))
            })?,
            _ => None,
        };
        let state = match state {
            Some(state) if state.about == about => {
                eprintln!(
                    "goes on after line {}: {} documents are done",
                    state.reached.place.lines,
                    grouped(state.counts.total())
                );
                state
            }
            Some(state) => {
                return Err(Failure::Wrong(format!(
                    "{} is of another import ({}); run that again, or begin anew with --restart",
                    state_file.unwrap_or_default().display(),
                    difference(&state.about, &about)
                )));
            }
            None => State {
                import: uuid::Uuid::new_v4(),
                about,
                cut: Cut { records_max: arguments.batch, bytes_max: BATCH_BYTES_MAX },
                columns: Vec::new(),
                reached: Reached::default(),
                counts: Counts::default(),
                rejected_bytes: 0,
            },
        };
        Import::begin(client, arguments, format, schema, state, state_file)
    }

    fn begin(
        client: Client,
        arguments: &'a ImportArguments,
        format: Format,
        schema: Schema,
        mut state: State,
        state_file: Option<PathBuf>,
    ) -> Result<Import<'a>, Failure> {
        let is_new = state.reached == Reached::default();
        let mut source =
            Source::open(arguments, state.reached.place.bytes).map_err(Failure::Wrong)?;
        if format == Format::Csv && is_new {
            if arguments.columns.is_empty() && arguments.is_stdin() {
                (state.columns, source.reader, state.reached.place) =
                    header_of_stream(source.reader, arguments.delimiter).map_err(Failure::Wrong)?;
            } else if arguments.columns.is_empty() {
                let header = records::header(source.reader, arguments.delimiter);
                let (columns, place) = header.map_err(|error| {
                    Failure::Wrong(format!("{}: {error}", arguments.file.display()))
                })?;
                (state.columns, state.reached.place) = (columns, place);
                // It is opened again, by whom it is held.
                drop(source.held.take());
                source = Source::open(arguments, place.bytes).map_err(Failure::Wrong)?;
            } else {
                state.columns = arguments.columns.clone();
            }
        }
        let columns = Columns::new(state.columns.clone(), schema, !arguments.no_inference)
            .map_err(Failure::Wrong)?;
        let rejected = arguments.rejected_file();
        let rejects = Rejects::open(&rejected, state.rejected_bytes)
            .map_err(|error| Failure::Wrong(format!("{}: {error}", rejected.display())))?;
        let bytes_read = Arc::clone(&source.bytes_read);
        let before = state.counts;
        let progress = Progress::new(
            arguments.quiet || arguments.json,
            source.bytes_total,
            bytes_read.load(Ordering::Relaxed),
            before.total(),
        );
        let (place, delimiter) = (state.reached.place, arguments.delimiter);
        let (reader, held) = (source.reader, source.held);
        let open = move || {
            Ok(match format {
                Format::Jsonl => Records::lines(reader, place),
                Format::Csv => Records::rows(reader, place, columns, delimiter),
            })
        };
        let incoming = batches::spawn(open, state.cut, state.reached, state.import);
        let delivery = Rc::new(Delivery {
            client,
            name: format!("import-{}", state.import),
            collection: arguments.collection.clone(),
            on_duplicate: arguments.on_duplicate(),
            patience: arguments.patience,
            durable_records: Cell::new(state.reached.records),
            answered: Cell::new(Instant::now()),
        });
        let mut import = Import {
            arguments,
            state,
            state_file,
            state_written: Instant::now(),
            rejects,
            delivery,
            progress,
            bytes_read,
            incoming,
            before,
            _held: held,
        };
        // From here on a crash is gone on from: the name of the references is known.
        import.write_state().map_err(Failure::Stopped)?;
        Ok(import)
    }

    async fn run(&mut self) -> Result<Ended, Failure> {
        let local = tokio::task::LocalSet::new();
        let stopped = local.run_until(self.deliver_all()).await.err();
        self.progress.finish();
        let mut ended = Ended {
            counts: self.state.counts,
            before: self.before,
            rejected: self.arguments.rejected_file(),
            elapsed: self.progress.elapsed(),
            rate: self.progress.rate(self.state.counts.total()),
            stopped: None,
        };
        let noted = self.write_state();
        match (stopped, noted) {
            (None, Ok(())) => {
                if let Some(file) = &self.state_file {
                    // If it stays, the next import finds that everything is done.
                    let _ = std::fs::remove_file(file);
                }
            }
            (Some(Stopped(reason)), Ok(())) => {
                ended.stopped = Some((reason, self.state_file.is_some()));
            }
            (Some(Stopped(reason)), Err(error)) => {
                ended.stopped = Some((format!("{reason}; {error}"), false));
            }
            (None, Err(error)) => ended.stopped = Some((error, false)),
        }
        Ok(ended)
    }

    async fn deliver_all(&mut self) -> Result<(), Stopped> {
        // Later lines win only if their batch is later, too.
        let in_flight_max = match self.arguments.on_duplicate() {
            OnDuplicate::Replace => 1,
            _ => self.arguments.in_flight as usize,
        };
        let mut under_way: JoinSet<(u64, Result<Delivered, Stopped>)> = JoinSet::new();
        let mut ends: VecDeque<Reached> = VecDeque::new();
        let mut done: BTreeMap<u64, Delivered> = BTreeMap::new();
        let (mut next, mut is_over) = (0, false);
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while !is_over || !under_way.is_empty() {
            tokio::select! {
                batch = self.incoming.recv(), if !is_over && ends.len() < in_flight_max => {
                    let Some(batch) = batch else {
                        is_over = true;
                        continue;
                    };
                    let batch = batch.map_err(Stopped)?;
                    let number = next;
                    next += 1;
                    ends.push_back(batch.end);
                    let delivery = Rc::clone(&self.delivery);
                    under_way.spawn_local(async move { (number, delivery.deliver(&batch).await) });
                }
                Some(ended) = under_way.join_next() => {
                    let (number, delivered) =
                        ended.map_err(|error| Stopped(format!("a defect: {error}")))?;
                    done.insert(number, delivered?);
                    while let Some(delivered) = done.remove(&(next - ends.len() as u64)) {
                        let end = ends.pop_front().expect("every batch has an end");
                        self.commit(end, &delivered)?;
                    }
                }
                _ = tick.tick() => {
                    let bytes = self.bytes_read.load(Ordering::Relaxed);
                    self.progress.show(self.state.counts.total(), bytes);
                }
                _ = &mut interrupted => return Err(Stopped("interrupted".into())),
            }
        }
        Ok(())
    }

    /// A batch, and all before it, is done.
    fn commit(&mut self, end: Reached, delivered: &Delivered) -> Result<(), Stopped> {
        let rejected = self.arguments.rejected_file();
        self.rejects
            .add(&delivered.rejects)
            .map_err(|error| Stopped(format!("{}: {error}", rejected.display())))?;
        self.state.reached = end;
        self.state.counts.taken += delivered.taken;
        self.state.counts.skipped += delivered.skipped;
        self.state.counts.rejected += delivered.rejects.len() as u64;
        if self.state_written.elapsed() >= STATE_WAIT {
            self.write_state().map_err(Stopped)?;
        }
        Ok(())
    }

    /// Notes how far it is. Only what is noted is acknowledged to the group: a crash may ask for all after it.
    fn write_state(&mut self) -> Result<(), String> {
        self.state_written = Instant::now();
        if let Some(file) = &self.state_file {
            let rejected = self.arguments.rejected_file();
            let synced = self.rejects.sync();
            self.state.rejected_bytes =
                synced.map_err(|error| format!("{}: {error}", rejected.display()))?;
            self.state.write(file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        self.delivery.durable_records.set(self.state.reached.records);
        Ok(())
    }
}

/// The columns of a stream that cannot be read twice, the stream after them, and where it stands.
fn header_of_stream(
    mut reader: super::source::Reader,
    delimiter: u8,
) -> Result<(Vec<String>, super::source::Reader, records::Place), String> {
    use std::io::BufRead as _;
    let mut line = Vec::new();
    let read = std::io::Read::take(&mut reader, records::LINE_BYTES_MAX as u64)
        .read_until(b'\n', &mut line);
    read.map_err(|error| format!("standard input: {error}"))?;
    let cursor: super::source::Reader = Box::new(std::io::Cursor::new(line));
    let (columns, place) =
        records::header(cursor, delimiter).map_err(|error| format!("standard input: {error}"))?;
    Ok((columns, reader, place))
}

/// The schema of the collection, which is made if that is wanted.
async fn schema(client: &Client, arguments: &ImportArguments) -> Result<Schema, Failure> {
    let collection = arguments.collection.as_str();
    let described = match client.describe(Some(collection)).await {
        Err(error) if error.code == ErrorCode::UnknownCollection && arguments.create => {
            match client.create(collection, Schema::default()).await {
                Err(error) if error.code != ErrorCode::CollectionExists => Err(error),
                _ => client.describe(Some(collection)).await,
            }
        }
        described => described,
    };
    let described = described.map_err(|error| match error.code {
        ErrorCode::UnknownCollection => {
            Failure::Wrong(format!("{}, or say --create", error.message))
        }
        _ => Failure::Stopped(error.to_string()),
    })?;
    match described.get("schema") {
        Some(Value::Document(schema)) => {
            api::parse::parse_schema(schema).map_err(|error| Failure::Stopped(error.to_string()))
        }
        _ => Err(Failure::Stopped("the node described the collection without its schema".into())),
    }
}

async fn about(
    client: &Client,
    arguments: &ImportArguments,
    format: Format,
) -> Result<About, Failure> {
    let status = client.request(Request::Status { hash: false }).await;
    let status = status.map_err(|error| Failure::Stopped(error.to_string()))?;
    let cluster = status.as_document().and_then(|status| status.get_str("cluster").ok());
    let input = if arguments.is_stdin() {
        "standard input".to_string()
    } else {
        let fingerprint = fingerprint(&arguments.file);
        fingerprint.map_err(|e| Failure::Wrong(format!("{}: {e}", arguments.file.display())))?
    };
    Ok(About {
        cluster: cluster.unwrap_or_default().to_string(),
        collection: arguments.collection.clone(),
        input,
        settings: format!(
            "{format:?} delimiter {} columns {:?} inference {} on duplicate {:?}",
            arguments.delimiter,
            arguments.columns,
            !arguments.no_inference,
            arguments.on_duplicate()
        ),
    })
}

/// In what two imports differ.
fn difference(found: &About, wanted: &About) -> String {
    if found.cluster != wanted.cluster {
        "into another group".into()
    } else if found.collection != wanted.collection {
        format!("into {}", found.collection)
    } else if found.input != wanted.input {
        "the file has changed since".into()
    } else {
        format!("with {}", found.settings)
    }
}

impl Ended {
    fn tell(&self, arguments: &ImportArguments) -> ExitCode {
        if arguments.json {
            println!("{}", self.json());
        } else {
            self.tell_in_words();
        }
        match (&self.stopped, self.counts.rejected) {
            (Some(_), _) => ExitCode::from(STOPPED),
            (None, 0) => ExitCode::SUCCESS,
            (None, _) => ExitCode::FAILURE,
        }
    }

    fn tell_in_words(&self) {
        let Counts { taken, skipped, rejected } = self.counts;
        let now = self.counts.total() - self.before.total();
        let mut text = format!("{} documents imported", grouped(taken));
        if skipped > 0 {
            text += &format!(", {} passed over", grouped(skipped));
        }
        if rejected > 0 {
            text += &format!(", {} rejected ({})", grouped(rejected), self.rejected.display());
        }
        let seconds = self.elapsed.as_secs_f64();
        text += &format!("; {} in {seconds:.1} s, {:.0}/s", grouped(now), self.rate);
        println!("{text}");
        if let Some((reason, can_go_on)) = &self.stopped {
            // The terminal may hold what is left of a line that was interrupted.
            if std::io::stderr().is_terminal() {
                eprintln!();
            }
            eprintln!("error: stopped: {reason}");
            if *can_go_on {
                eprintln!("run the same command again to go on from there");
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "imported": self.counts.taken,
            "skipped": self.counts.skipped,
            "rejected": self.counts.rejected,
            "rejected_file": self.rejected.display().to_string(),
            "seconds": self.elapsed.as_secs_f64(),
            "stopped": self.stopped.as_ref().map(|(reason, _)| reason),
        })
    }
}
