//! A measurement from beginning to end: threads with clients, the clock of an open loop, and who watches them.

use super::arrivals::Arrivals;
use super::content::Content;
use super::keys::Keys;
use super::live::Live;
use super::options::{BenchArguments, Settings};
use super::preload;
use super::process::{Host, Processes, Used, machine_seconds, own_cpu_seconds};
use super::report::{
    self, FORMAT, Figures, Generator, Machine, Member, Open, Report, Results, VERSION, rounded,
};
use super::schedule::Schedule;
use super::tally::{Recent, Tally};
use super::work::{Shared, Worker};
use crate::ask::ask;
use api::{Request, Value};
use client::Client;
use std::collections::BTreeMap;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

/// How long a member may take to say what it is.
const STATUS_TIME: Duration = Duration::from_secs(2);
/// Between two looks at how it goes.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// Exit status after a second Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Measures.
///
/// # Errors
/// In words, why nothing could be measured.
pub(crate) fn measure(arguments: &BenchArguments, settings: Settings) -> Result<Report, String> {
    let began = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let host = Host::this();
    let processes = (!arguments.pids.is_empty()).then(|| Processes(arguments.pids.clone()));
    if let Some(processes) = &processes {
        processes.used()?;
    }
    let (members, mut warnings) = look_at_members(&arguments.members)?;
    let runtime = runtime()?;
    let (results, told) = runtime.block_on(async {
        // What prepares has patience with busy members.
        let patient = client::Options { timeout: arguments.timeout, ..client::Options::default() };
        let client = Client::connect(&arguments.members, patient).await.map_err(|e| e.message)?;
        preload::prepare(&client, arguments).await?;
        drop(client);
        work(arguments, processes).await
    })?;
    warnings.extend(told);
    let program = env!("CARGO_PKG_VERSION").to_string();
    let (format, version) = (FORMAT.to_string(), VERSION);
    let mut report =
        Report { format, version, program, began, settings, host, members, results, warnings };
    let more = report.warnings_of_figures();
    report.warnings.extend(more);
    Ok(report)
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

/// What the members that were named say that they are, and a warning for each that says nothing.
fn look_at_members(addresses: &[String]) -> Result<(Vec<Member>, Vec<String>), String> {
    let asking: Vec<_> = addresses
        .iter()
        .cloned()
        .map(|address| {
            thread::spawn(move || {
                let answer = ask(&address, Request::Status { hash: false }, STATUS_TIME);
                (address, answer)
            })
        })
        .collect();
    let (mut members, mut silent) = (Vec::new(), Vec::new());
    for asked in asking {
        let (address, answer) = asked.join().map_err(|_| "asking a member panicked".to_string())?;
        let role = match answer {
            Ok(Value::Document(status)) => status.get_str("role").ok().map(str::to_owned),
            Ok(_) => None,
            Err(message) => {
                silent.push(format!("{address}: {message}"));
                None
            }
        };
        members.push(Member { address, role });
    }
    if silent.len() == members.len() {
        return Err(format!("no member can be reached ({})", silent.join("; ")));
    }
    Ok((members, silent))
}

/// What a thread with clients says.
enum Word {
    /// Its clients are connected.
    Ready,
    /// It cannot work.
    Failed(String),
    /// Its tasks are done; how many of its clients talked to which member then.
    Done(BTreeMap<String, u64>),
}

/// What was used at one moment.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    own: f64,
    machine: (f64, f64),
    processes: Option<Used>,
}

impl Moment {
    fn now(processes: Option<&Processes>) -> Result<Moment, String> {
        Ok(Moment {
            at: Instant::now(),
            own: own_cpu_seconds(),
            machine: machine_seconds(),
            processes: processes.map(Processes::used).transpose()?,
        })
    }
}

async fn work(
    arguments: &BenchArguments,
    processes: Option<Processes>,
) -> Result<(Results, Vec<String>), String> {
    let arrivals = arguments.rate.map(|rate| Arrivals::new(arguments.form(), rate, arguments.seed));
    let schedule = Arc::new(Schedule::new(
        arguments.warm_up(),
        arguments.duration(),
        arguments.count,
        arrivals,
    ));
    let run = format!("run-{:08x}", fastrand::u32(..));
    let (words, mut heard) = mpsc::unbounded_channel();
    let (go, wait) = watch::channel(false);
    let mut threads = Vec::new();
    for number in 0..arguments.threads {
        let shared = Arc::new(Shared {
            mix: arguments.operation.clone(),
            keys: Keys::new(arguments.distribution, arguments.keys, arguments.exponent()),
            content: Content::new(arguments.value_bytes as usize),
            collection: arguments.collection.clone(),
            batch: arguments.batch,
            run: run.clone(),
            schedule: Arc::clone(&schedule),
            tally: Mutex::new(Tally::new()),
        });
        let clients = Clients::of(arguments, number, &shared);
        let (words, wait) = (words.clone(), wait.clone());
        let begun = thread::Builder::new().name(format!("bench-{number}"));
        let begun = begun.spawn(move || clients.run(&words, wait));
        begun.map_err(|error| format!("a thread cannot be started: {error}"))?;
        threads.push(shared);
    }
    for _ in 0..arguments.threads {
        match heard.recv().await {
            Some(Word::Ready) => {}
            Some(Word::Failed(message)) => return Err(message),
            _ => return Err("a thread with clients ended before it began".into()),
        }
    }
    schedule.begin();
    if arguments.rate.is_some() {
        let clock = Arc::clone(&schedule);
        thread::spawn(move || clock.run_clock());
    }
    // Nobody waits for it any more only if its clients are gone.
    let _ = go.send(true);
    let watched = Watched { arguments, schedule, threads, processes };
    watched.until_the_end(heard).await
}

/// A measurement under way, as the main thread sees it.
struct Watched<'a> {
    arguments: &'a BenchArguments,
    schedule: Arc<Schedule>,
    threads: Vec<Arc<Shared>>,
    processes: Option<Processes>,
}

impl Watched<'_> {
    async fn until_the_end(
        self,
        mut heard: mpsc::UnboundedReceiver<Word>,
    ) -> Result<(Results, Vec<String>), String> {
        let mut live = Live::new(self.arguments.quiet || self.arguments.json);
        let mut looks = tokio::time::interval(LOOK_WAIT);
        looks.tick().await;
        let warm = tokio::time::sleep_until(self.schedule.counts_from().into());
        tokio::pin!(warm);
        let mut first: Option<Moment> = None;
        let mut interrupted = false;
        loop {
            tokio::select! {
                biased;
                () = &mut warm, if first.is_none() => {
                    first = Some(Moment::now(self.processes.as_ref())?);
                }
                () = self.schedule.over() => break,
                pressed = tokio::signal::ctrl_c() => {
                    pressed.map_err(|error| error.to_string())?;
                    interrupted = true;
                    self.schedule.end();
                }
                _ = looks.tick() => {
                    let phase = if first.is_some() { "measuring" } else { "warming up" };
                    live.show(phase, &self.recent());
                    // All clients may wait for answers that do not come.
                    if self.schedule.last_turn().is_some_and(|last| Instant::now() > last) {
                        self.schedule.end();
                    }
                }
            }
        }
        let mut warnings = Vec::new();
        let last = Moment::now(self.processes.as_ref());
        let resident = self.processes.as_ref().map(Processes::resident_mib).transpose();
        let (last, resident) = match (last, resident) {
            (Ok(last), Ok(resident)) => (last, resident),
            (Err(message), _) | (_, Err(message)) => {
                warnings.push(format!("of the processes nothing is told: {message}"));
                (Moment::now(None)?, None)
            }
        };
        let mut clients_at = BTreeMap::new();
        let mut working = self.threads.len();
        while working > 0 {
            tokio::select! {
                word = heard.recv() => match word {
                    Some(Word::Done(at)) => {
                        working -= 1;
                        at.into_iter().for_each(|(address, count)| {
                            *clients_at.entry(address).or_default() += count;
                        });
                    }
                    _ => return Err("a thread with clients ended too early".into()),
                },
                pressed = tokio::signal::ctrl_c() => {
                    pressed.map_err(|error| error.to_string())?;
                    live.finish();
                    process::exit(INTERRUPTED);
                }
                _ = looks.tick() => live.show("waiting for answers", &self.recent()),
            }
        }
        live.finish();
        let first = first.unwrap_or(last);
        Ok((self.results(&first, &last, resident, clients_at, interrupted), warnings))
    }

    fn recent(&self) -> Recent {
        let mut recent = Recent::new();
        for shared in &self.threads {
            let mut tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.take_recent(&mut recent);
        }
        recent
    }

    fn results(
        &self,
        first: &Moment,
        last: &Moment,
        resident_mib: Option<Vec<f64>>,
        clients_at: BTreeMap<String, u64>,
        interrupted: bool,
    ) -> Results {
        let mut tally = Tally::new();
        for shared in &self.threads {
            tally.add(&shared.tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
        // To the last answer, and no less than was asked for.
        let ended = last.at.saturating_duration_since(self.schedule.counts_from());
        let seconds = tally.last_end.max(ended).as_secs_f64();
        let between = last.at.saturating_duration_since(first.at).as_secs_f64();
        let a_second = |used: f64| if between > 0.0 { rounded(used / between) } else { 0.0 };
        let total = tally.total();
        let a_request = |used: f64| rounded(used / total.ended().max(1) as f64);
        let own = last.own - first.own;
        let used = last.processes.zip(first.processes).map(|(last, first)| last - first);
        let per_second = report::full_seconds(&tally, seconds);
        Results {
            seconds: rounded(seconds),
            interrupted,
            all: Figures::new(&total, seconds),
            operations: tally
                .operations()
                .map(|(operation, of)| (operation.name().to_string(), Figures::new(of, seconds)))
                .collect(),
            per_second_min: per_second.iter().copied().min(),
            per_second_median: report::median(&per_second),
            per_second,
            open: self.schedule.came().map(|due| Open {
                // With a count, what comes due behind it is nobody's.
                due: self.arguments.count.map_or(due, |count| due.min(count)),
                sent: tally.late.len(),
                late_p50_us: rounded(tally.late.value_at_quantile(0.5) as f64 / 1_000.0),
                late_p99_us: rounded(tally.late.value_at_quantile(0.99) as f64 / 1_000.0),
                late_max_us: rounded(tally.late.max() as f64 / 1_000.0),
            }),
            generator: Generator {
                threads: self.arguments.threads,
                cpu_seconds: rounded(own),
                cores: a_second(own),
                cpu_us_per_request: a_request(own * 1e6),
            },
            machine: Machine {
                busy_cores: a_second(last.machine.0 - first.machine.0),
                stolen_cores: a_second(last.machine.1 - first.machine.1),
            },
            processes: used.zip(self.processes.as_ref()).zip(resident_mib).map(
                |((used, processes), resident_mib)| report::Processes {
                    pids: processes.0.clone(),
                    cores: a_second(used.cpu_seconds),
                    cpu_seconds_per_1000: a_request(used.cpu_seconds * 1_000.0),
                    resident_mib: resident_mib.into_iter().map(rounded).collect(),
                    written_bytes_per_request: a_request(used.written_bytes as f64),
                },
            ),
            clients_at,
            examples: tally
                .examples
                .iter()
                .map(|(kind, text)| (kind.to_string(), text.clone()))
                .collect(),
        }
    }
}

/// The clients of one thread.
struct Clients {
    shared: Arc<Shared>,
    /// Of each, its number among all, and the members in the order in which it tries them.
    members: Vec<(u64, Vec<String>)>,
    options: client::Options,
    pipeline: u64,
    tasks: u64,
    keys: u64,
    seed: u64,
}

impl Clients {
    fn of(arguments: &BenchArguments, thread: u64, shared: &Arc<Shared>) -> Clients {
        let numbers = (thread..arguments.clients).step_by(arguments.threads as usize);
        let members = numbers.map(|number| {
            let mut members = arguments.members.clone();
            if !arguments.first {
                let turn = number as usize % members.len();
                members.rotate_left(turn);
            }
            (number, members)
        });
        Clients {
            shared: Arc::clone(shared),
            members: members.collect(),
            options: arguments.client_options(),
            pipeline: arguments.pipeline,
            tasks: arguments.clients * arguments.pipeline,
            keys: arguments.keys,
            seed: arguments.seed,
        }
    }

    fn run(self, words: &mpsc::UnboundedSender<Word>, wait: watch::Receiver<bool>) {
        let word = match runtime() {
            Ok(runtime) => runtime.block_on(self.work(words, wait)),
            Err(message) => Err(message),
        };
        // Who does not listen any more has ended with an error of its own.
        let _ = words.send(word.map_or_else(Word::Failed, Word::Done));
    }

    async fn work(
        self,
        words: &mpsc::UnboundedSender<Word>,
        mut wait: watch::Receiver<bool>,
    ) -> Result<BTreeMap<String, u64>, String> {
        let mut clients = Vec::new();
        for (number, members) in &self.members {
            let client = Client::connect(members, self.options.clone()).await;
            clients.push((*number, client.map_err(|error| error.message)?));
        }
        let _ = words.send(Word::Ready);
        if wait.wait_for(|go| *go).await.is_err() {
            return Ok(BTreeMap::new());
        }
        let mut tasks = Vec::new();
        for (number, client) in &clients {
            for turn in 0..self.pipeline {
                let number = number * self.pipeline + turn;
                let (shared, client) = (Arc::clone(&self.shared), client.clone());
                let worker = Worker::new(shared, client, number, self.tasks, self.keys, self.seed);
                tasks.push(tokio::spawn(worker.run()));
            }
        }
        for task in tasks {
            task.await.map_err(|error| format!("a client ended: {error}"))?;
        }
        let mut at = BTreeMap::new();
        for (_, client) in &clients {
            let address = client.connected_to().await.unwrap_or_else(|| "nobody".into());
            *at.entry(address).or_default() += 1;
        }
        Ok(at)
    }
}
