//! `mondongo serve`: runs one node (spec D1, D2).

use clap::Args;
use server::{EvictAfter, Options, Policy, ServerError};
use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

/// The environment variable that says what is logged.
const LOG_VARIABLE: &str = "MONDONGO_LOG";
/// Exit status after a defect, as Rust programs have it after a panic.
const DEFECT: i32 = 101;

/// Run a node that serves the store in a folder.
#[derive(Debug, Args)]
#[command(after_long_help = SERVE_HELP)]
pub(crate) struct ServeArguments {
    /// The folder of the data; a new one is made
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,

    /// Where to listen, for clients and other nodes alike
    #[arg(value_name = "HOST:PORT")]
    pub(crate) listen: String,

    /// Members of the group to join, any of them; without, a new folder founds a group
    #[arg(value_name = "MEMBER", value_delimiter = ',')]
    pub(crate) members: Vec<String>,

    /// Where others reach this node, if not at the address it listens at
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,

    /// Memory for blocks of the store, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32,
          value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) cache_mib: u64,

    /// How the group decides: paxos (any majority; the default of a new group) or passive (the leader and every
    /// follower that is there; assumes that who falls silent has stopped). A group keeps what it was founded with
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    pub(crate) replication: Option<Policy>,

    /// Found a new group at this feature level [default: the newest], so that nodes of an earlier version can join it.
    /// A group that exists keeps its own; "mondongo member raise" raises it
    #[arg(long, value_name = "LEVEL",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(server::FEATURE_LEVEL_MAX)))]
    pub(crate) feature_level: Option<u32>,

    /// Wait no more for a member that is out of reach for so long (as in 90s or 10m), or never; it is let in again
    /// when it comes back [default: 10m; with the passive policy 500ms]
    #[arg(long, value_name = "TIME", value_parser = parse_evict_after)]
    pub(crate) evict_after: Option<EvictAfter>,

    /// With the passive policy: take over when the leader is silent for so long
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) takeover_after: Duration,

    /// How much log to keep for members that were away for a while, in MiB; who is further behind gets a snapshot
    #[arg(long, value_name = "MIB", default_value_t = 256,
          value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) log_retain_mib: u64,

    /// Take no writes while less than so much of the disk is free, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64,
          value_parser = clap::value_parser!(u64).range(0..=1_048_576))]
    pub(crate) disk_reserve_mib: u64,

    /// How long the rest of a long result waits to be asked for, before its cursor is gone
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_cursor_timeout)]
    pub(crate) cursor_timeout: Duration,

    /// Listen where other machines can connect, though this version has neither TLS nor users
    #[arg(long)]
    pub(crate) insecure: bool,

    /// Let any client make this node deaf or unreliable towards the others (deaf, listen, unreliable,
    /// reliable), to see how the group copes; not for nodes that serve in earnest
    #[arg(long)]
    pub(crate) fault_injection: bool,

    /// Stop in order when the standard input ends, so that the node does not outlive its parent
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

const SERVE_HELP: &str = "\
A new folder without MEMBER becomes a group of one, its leader at once. With MEMBER the node joins
the group of that member. A folder that was used before starts again as the member it was, with or
without MEMBER; which group it belongs to does not change.

SIGTERM and SIGINT stop the node in order, with exit status 0.

MONDONGO_LOG sets what is logged to the standard error: error, warn, info (the default), debug or
trace, or a list such as info,server=debug.

Examples:
  mondongo serve db localhost:8000
  mondongo serve db2 localhost:8001 localhost:8000";

fn parse_policy(text: &str) -> Result<Policy, String> {
    match text {
        "paxos" => Ok(Policy::Paxos),
        "passive" => Ok(Policy::Passive),
        _ => Err("write paxos or passive".into()),
    }
}

fn parse_evict_after(text: &str) -> Result<EvictAfter, String> {
    if text == "never" {
        return Ok(EvictAfter::Never);
    }
    let time = humantime::parse_duration(text);
    time.map(EvictAfter::Time)
        .map_err(|error| format!("{error}; write a time such as 90s, or never"))
}

fn parse_cursor_timeout(text: &str) -> Result<Duration, String> {
    const RANGE: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
    match humantime::parse_duration(text) {
        Ok(time) if RANGE.contains(&time) => Ok(time),
        Ok(_) => Err("it may be 100ms to 24h".into()),
        Err(error) => Err(format!("{error}; write a time such as 90s or 10m")),
    }
}

/// Runs the subcommand until the node stops.
pub(crate) fn run(arguments: &ServeArguments) -> ExitCode {
    if let Err(message) = start_log() {
        eprintln!("error: {message}");
        return ExitCode::from(2);
    }
    die_of_defects();
    let options = Options {
        folder: arguments.folder.clone(),
        listen: arguments.listen.clone(),
        seeds: arguments.members.clone(),
        advertise: arguments.advertise.clone(),
        cache_bytes: arguments.cache_mib << 20,
        insecure: arguments.insecure,
        fault_injection: arguments.fault_injection,
        replication: arguments.replication,
        feature_level: arguments.feature_level,
        evict_after: arguments.evict_after.unwrap_or_default(),
        takeover_after: arguments.takeover_after,
        log_retain_bytes: arguments.log_retain_mib << 20,
        disk_reserve_bytes: arguments.disk_reserve_mib << 20,
        cursor_timeout: arguments.cursor_timeout,
    };
    let (stopper, stop) = watch::channel(false);
    let watched = watch_signals(stopper.clone());
    if arguments.stop_with_stdin {
        watch_stdin(stopper);
    }
    match watched.and_then(|()| server::run(&options, &stop)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_log() -> Result<(), String> {
    let wanted = std::env::var(LOG_VARIABLE).unwrap_or_default();
    let wanted = if wanted.trim().is_empty() { "info" } else { wanted.trim() };
    let wrong = |part: &str| {
        format!(
            "{LOG_VARIABLE}={wanted}: {part:?} is no level; write error, warn, info, debug or trace, \
             or a list such as info,server=debug"
        )
    };
    // A word alone would be taken for the name of a part of the program.
    for part in wanted.split(',').filter(|part| !part.contains('=')) {
        part.parse::<LevelFilter>().map_err(|_| wrong(part))?;
    }
    let filter: Targets = wanted.parse().map_err(|_| wrong(wanted))?;
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

/// Ends the process at the first panic, whichever thread it is in: nobody knows what the others would
/// do without it.
pub(crate) fn die_of_defects() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        eprintln!("error: a defect ended this node; nothing that was acknowledged is lost");
        std::process::exit(DEFECT);
    }));
}

/// Lets `SIGTERM` and `SIGINT` stop the node; the second one does so at once. They are watched on a
/// thread of their own, so that they count while the node is starting or stopping, too.
fn watch_signals(stopper: watch::Sender<bool>) -> Result<(), ServerError> {
    let failed = |source| ServerError::Thread { what: "the watch over signals", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(failed)?;
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate()).map_err(failed)?,
            signal(SignalKind::interrupt()).map_err(failed)?,
        )
    };
    let watch = move || {
        runtime.block_on(async {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            next().await;
            stopper.send_replace(true);
            next().await;
            eprintln!("error: stopped at once by a second signal");
            std::process::exit(1);
        });
    };
    let spawned = std::thread::Builder::new().name("mondongo-signal".into()).spawn(watch);
    spawned.map(|_| ()).map_err(failed)
}

fn watch_stdin(stopper: watch::Sender<bool>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        let mut input = io::stdin().lock();
        loop {
            match input.read(&mut bytes) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        stopper.send_replace(true);
    });
}
