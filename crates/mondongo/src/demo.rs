//! `mondongo demo`: a group of nodes as child processes in one folder, and the prompt.

use crate::args::CliArguments;
use crate::ask::ask;
use crate::cli;
use anyhow::{Context as _, bail};
use api::{Request, Value};
use clap::Args;
use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How long the nodes may take to become a group.
const GROUP_TIME: Duration = Duration::from_secs(60);
/// How long a node may take to stop in order.
const STOP_TIME: Duration = Duration::from_secs(15);
/// Between two looks at something that is waited for.
const LOOK_WAIT: Duration = Duration::from_millis(50);
/// Most nodes of a demo.
const NODES_MAX: u16 = 9;
/// Ports tried when those wanted are in use.
const PORTS_TRIED: u16 = 2_000;

/// Start a group of nodes in one folder and open the prompt; everything stops when it is left.
#[derive(Debug, Args)]
#[command(after_long_help = DEMO_HELP)]
pub(crate) struct DemoArguments {
    /// The folder of all nodes; used again at the next start
    #[arg(value_name = "FOLDER", default_value = "mondongo-demo")]
    pub(crate) folder: PathBuf,

    /// The port of the first node; the others take the next ones
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u16).range(1024..=60_000))]
    pub(crate) port: u16,

    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    pub(crate) nodes: u16,

    /// Run this command instead of opening the prompt; may be given several times
    #[arg(short = 'c', long = "command", value_name = "COMMAND")]
    pub(crate) commands: Vec<String>,
}

const DEMO_HELP: &str = "\
The nodes run as processes of their own, in FOLDER/node1, FOLDER/node2 and so on; what they log goes
to FOLDER/node1.log and so on. They stop when the prompt is left, and if the demo itself is killed.

Examples:
  mondongo demo
  mondongo demo -c 'put greeting hola' -c 'get greeting'";

/// The processes of the group; stopped when dropped.
#[derive(Debug, Default)]
struct Group {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    address: String,
    log: PathBuf,
    process: Child,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &DemoArguments) -> ExitCode {
    match demo(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let terminal =
        std::io::stdin().is_terminal().then(|| rustix::termios::tcgetattr(std::io::stdin()).ok());
    fs::create_dir_all(&arguments.folder)
        .with_context(|| format!("cannot make the folder {}", arguments.folder.display()))?;
    let count = arguments.nodes.max(count_nodes(&arguments.folder));
    if count != arguments.nodes {
        eprintln!(
            "{} holds a group of {count} nodes; starting all of them.",
            arguments.folder.display()
        );
    }
    let port = free_ports(arguments.port, count)?;
    if port != arguments.port {
        eprintln!(
            "Ports from {} on are in use; taking {port} and the next ones instead.",
            arguments.port
        );
    }
    let group = Arc::new(Mutex::new(Group::default()));
    stop_on_signals(&group, terminal.flatten())?;
    for number in 1..=count {
        let node = start(&arguments.folder, number, port)?;
        lock(&group).nodes.push(node);
    }
    wait_for_group(&group, count.into())?;
    introduce(&lock(&group), arguments);
    let members: Vec<String> = lock(&group).nodes.iter().map(|n| n.address.clone()).collect();
    let code = cli::run(&CliArguments {
        members: members.join(","),
        commands: arguments.commands.clone(),
        json: false,
        output: crate::cli::language::Output::default(),
        no_pager: false,
    });
    lock(&group).stop();
    Ok(code)
}

fn lock(group: &Mutex<Group>) -> std::sync::MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many nodes an earlier demo has left in the folder: all of them are needed for a majority.
fn count_nodes(folder: &Path) -> u16 {
    let is_there = |number: &u16| folder.join(format!("node{number}/identity.json")).exists();
    (1..=NODES_MAX).filter(is_there).max().unwrap_or(0)
}

/// The first of `count` free ports in a row, `wanted` if possible.
fn free_ports(wanted: u16, count: u16) -> anyhow::Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("localhost", port)).is_ok();
    let last = wanted.saturating_add(PORTS_TRIED).min(u16::MAX - count);
    let mut first = wanted;
    while first <= last {
        match (first..first + count).find(|port| !is_free(*port)) {
            None => return Ok(first),
            Some(taken) => first = taken + 1,
        }
    }
    bail!("no {count} free ports in a row between {wanted} and {last}; choose others with --port")
}

fn start(folder: &Path, number: u16, first_port: u16) -> anyhow::Result<Node> {
    let address = format!("localhost:{}", first_port + number - 1);
    let log = folder.join(format!("node{number}.log"));
    let open = || File::options().create(true).append(true).open(&log);
    let open = || open().with_context(|| format!("cannot write {}", log.display()));
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command
        .arg("serve")
        .arg(folder.join(format!("node{number}")))
        .arg(&address)
        .arg("--stop-with-stdin")
        .stdin(Stdio::piped())
        .stdout(open()?)
        .stderr(open()?)
        // Keys pressed in the terminal are for the prompt; the nodes stop with the pipe.
        .process_group(0);
    if number > 1 {
        command.arg(format!("localhost:{first_port}"));
    }
    let process = command.spawn().context("cannot start a node")?;
    Ok(Node { address, log, process })
}

/// Waits until the group has `count` members that count for quorums, all of them at the addresses of
/// this group, and a leader.
fn wait_for_group(group: &Mutex<Group>, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + GROUP_TIME;
    loop {
        let mut group = lock(group);
        group.check()?;
        let first = group.nodes[0].address.clone();
        let addresses: Vec<String> = group.nodes.iter().map(|n| n.address.clone()).collect();
        drop(group);
        if let Ok(Value::Document(status)) =
            ask(&first, Request::Status { hash: false }, Duration::from_secs(1))
            && let Ok(members) = status.get_array("members")
            && status.get_str("leader").is_ok()
        {
            let is_here = |member: &&Value| {
                member.as_document().is_some_and(|member| {
                    member.get_bool("voter").unwrap_or(false)
                        && member.get_str("address").is_ok_and(|a| addresses.iter().any(|b| a == b))
                })
            };
            if members.iter().filter(is_here).count() >= count {
                return Ok(());
            }
        }
        if Instant::now() >= deadline {
            bail!(
                "the nodes did not become a group within {} s; see their logs",
                GROUP_TIME.as_secs()
            );
        }
        std::thread::sleep(LOOK_WAIT);
    }
}

fn introduce(group: &Group, arguments: &DemoArguments) {
    if !arguments.commands.is_empty() {
        return;
    }
    println!("{} nodes serve {} together:", group.nodes.len(), arguments.folder.display());
    for node in &group.nodes {
        println!("  {}  process {}  log {}", node.address, node.process.id(), node.log.display());
    }
    let first = &group.nodes[0].address;
    println!("See who leads, in another terminal:  mondongo status {first}");
    println!("Kill a node there, the leader for one:  kill -9 PROCESS   (nothing is lost)");
    println!("Leave with exit; it stops all nodes. The data stays for the next demo.");
}

/// Stops the group when this process is told to stop.
fn stop_on_signals(
    group: &Arc<Mutex<Group>>,
    terminal: Option<rustix::termios::Termios>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt, mut hangup) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    let group = Arc::clone(group);
    std::thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => 15,
                _ = interrupt.recv() => 2,
                _ = hangup.recv() => 1,
            }
        });
        if let Some(terminal) = terminal {
            // The prompt may have left it in raw mode. If that fails, nothing is worse than before.
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(std::io::stdin(), now, &terminal);
        }
        lock(&group).stop();
        std::process::exit(128 + number);
    });
    Ok(())
}

impl Group {
    /// Fails if a node has ended, with the last thing it said.
    fn check(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            if let Some(status) = node.process.try_wait()? {
                let log = fs::read_to_string(&node.log).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it said nothing").to_string();
                bail!("the node at {} has ended ({status}): {last}", node.address);
            }
        }
        Ok(())
    }

    /// Stops all nodes in order; one that does not stop in time is killed.
    fn stop(&mut self) {
        for node in &mut self.nodes {
            // The end of its input tells it to stop.
            drop(node.process.stdin.take());
        }
        let deadline = Instant::now() + STOP_TIME;
        for node in &mut self.nodes {
            while matches!(node.process.try_wait(), Ok(None)) {
                if Instant::now() >= deadline {
                    eprintln!("the node at {} does not stop; killing it", node.address);
                    // It may have ended just now.
                    let _ = node.process.kill();
                    let _ = node.process.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.nodes.clear();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop();
    }
}
