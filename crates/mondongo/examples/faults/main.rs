//! Faults on real processes: kill -9, pauses, partitions, all at once, power loss, a node that joins, all
//! under load; and a soak that draws them by lot.
//!
//! `cargo run --release -p mondongo --example faults -- kill-leader --times 10` and so on. Each command starts
//! a group of its own, writes through the client library all the while, and at the end demands of every
//! node that every acknowledged write is there, took effect once, and that all nodes hold the same content
//! at the same slot.

mod catch_up;
mod group;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod load;
mod power;
mod soak;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use group::Group;
use harness::network::Network;
use load::Load;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long anything may take that should take a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Parser)]
struct Arguments {
    /// The program under test.
    #[arg(long, default_value = "target/release/mondongo")]
    binary: PathBuf,
    /// A folder for the nodes' data, made and removed. Default: a temporary one.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Tasks that write.
    #[arg(long, default_value_t = 16)]
    writers: usize,
    /// Nodes of the group.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    #[command(subcommand)]
    fault: Fault,
}

#[derive(Clone, Debug, Subcommand)]
enum Fault {
    /// Kill -9 of the leader under load, and its restart; prints the pause that clients saw.
    KillLeader {
        /// How often.
        #[arg(long, default_value_t = 20)]
        times: u32,
    },
    /// The leader stands still (SIGSTOP) under load, and goes on later; prints the pause that clients saw.
    Pause {
        /// How often.
        #[arg(long, default_value_t = 20)]
        times: u32,
    },
    /// The leader is cut off from the other nodes under load, and reached again later; prints the pause that
    /// clients saw. Needs root and network namespaces.
    Partition {
        /// How often.
        #[arg(long, default_value_t = 20)]
        times: u32,
    },
    /// Kill -9 of all nodes at once under load, and their restart.
    KillAll {
        /// How often.
        #[arg(long, default_value_t = 5)]
        times: u32,
    },
    /// A further node joins under load.
    Join,
    /// The power fails at one node, or at all, under load. Needs root: each node has its folder on a file
    /// system of its own, which is shut down without its journal being written.
    PowerLoss {
        /// How often; every third time at all nodes.
        #[arg(long, default_value_t = 30)]
        times: u32,
    },
    /// How fast a follower that was away catches up, by log and by snapshot; and what the disk does alone.
    CatchUp(catch_up::CatchUpArguments),
    /// Load while a follower is dead; prints the leader's memory each minute.
    DeadFollower(catch_up::DeadFollowerArguments),
    /// Concurrent clients and faults drawn by lot, for minutes; their history is checked in windows.
    Soak(soak::SoakArguments),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    let temporary = tempfile::tempdir().context("no temporary folder")?;
    let folder = arguments.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    let done = match &arguments.fault {
        Fault::PowerLoss { times } => runtime.block_on(power::run(&arguments, &folder, *times)),
        Fault::CatchUp(how) => runtime.block_on(catch_up::catch_up(&arguments, &folder, how)),
        Fault::DeadFollower(how) => {
            runtime.block_on(catch_up::dead_follower(&arguments, &folder, how))
        }
        Fault::Soak(soak) => soak::run(&arguments, &folder, soak),
        _ => runtime.block_on(run(&arguments, &folder)),
    };
    if done.is_err() && arguments.folder.is_none() {
        eprintln!("the nodes' folders and logs are kept in {}", temporary.keep().display());
    }
    done
}

async fn run(arguments: &Arguments, folder: &std::path::Path) -> Result<()> {
    let folders = (0..arguments.nodes).map(|n| folder.join(format!("node{n}"))).collect();
    let network = match arguments.fault {
        Fault::Partition { .. } => Some(Network::make(arguments.nodes)?),
        _ => None,
    };
    let mut group = Group::start_with(&arguments.binary, folders, Vec::new(), network)?;
    let load = Load::start(&group.addresses(), arguments.writers).await?;
    load.wait_for(200).await?;
    match arguments.fault {
        Fault::KillLeader { times } => {
            trials("kill", &mut group, &load, times, Group::kill, Group::restart).await?;
        }
        Fault::Pause { times } => {
            let (pause, resume) = (|g: &mut Group, n| g.pause(n), |g: &mut Group, n| g.resume(n));
            trials("pause", &mut group, &load, times, pause, resume).await?;
        }
        Fault::Partition { times } => {
            trials("partition", &mut group, &load, times, cut_off, heal).await?;
        }
        Fault::KillAll { times } => kill_all(&mut group, &load, times).await?,
        Fault::Join => join(&mut group, &load, folder).await?,
        // They have groups of their own.
        Fault::PowerLoss { .. } | Fault::CatchUp(_) | Fault::DeadFollower(_) | Fault::Soak(_) => {}
    }
    finish(group, load).await
}

/// Stops the writers and demands everything of everybody.
pub(crate) async fn finish(mut group: Group, load: Load) -> Result<()> {
    let written = load.stop().await?;
    group.same_content()?;
    for address in group.addresses() {
        written.verify(&address).await.with_context(|| format!("node at {address}"))?;
    }
    let (slot, hash) = group.same_content()?;
    println!(
        "{} acknowledged operations, each there once at each of {} nodes; content {hash} at slot {slot} \
         everywhere",
        written.acknowledged(),
        group.addresses().len()
    );
    group.stop()
}

/// Does something to the leader again and again; prints how long nobody had an answer each time.
async fn trials(
    name: &str,
    group: &mut Group,
    load: &Load,
    times: u32,
    fault: impl Fn(&mut Group, usize) -> Result<()>,
    repair: impl Fn(&mut Group, usize) -> Result<()>,
) -> Result<()> {
    let mut pauses = Vec::new();
    for round in 1..=times {
        group.wait_until_followed()?;
        let leader = group.wait_for_leader()?;
        load.wait_for(100).await?;
        let begun = Instant::now();
        fault(group, leader)?;
        load.wait_for(100).await?;
        let pause = load.longest_pause_since(begun);
        println!(
            "{name} {round}: leader node{leader}, next answers after {} ms",
            pause.as_millis()
        );
        pauses.push(pause);
        repair(group, leader)?;
    }
    group.wait_until_followed()?;
    print_pauses(name, pauses);
    Ok(())
}

fn print_pauses(name: &str, mut pauses: Vec<Duration>) {
    pauses.sort();
    let median = pauses.get(pauses.len() / 2).map_or(0, Duration::as_millis);
    let longest = pauses.last().map_or(0, Duration::as_millis);
    println!(
        "pause over {} trials of {name}: median {median} ms, longest {longest} ms",
        pauses.len()
    );
}

fn cut_off(group: &mut Group, node: usize) -> Result<()> {
    group.network.as_mut().context("no network")?.divide(&[node])
}

fn heal(group: &mut Group, _node: usize) -> Result<()> {
    group.network.as_mut().context("no network")?.heal()
}

async fn kill_all(group: &mut Group, load: &Load, times: u32) -> Result<()> {
    let mut pauses = Vec::new();
    for round in 1..=times {
        load.wait_for(200).await?;
        let killed = Instant::now();
        for node in 0..group.len() {
            group.kill(node)?;
        }
        for node in 0..group.len() {
            group.restart(node)?;
        }
        load.wait_for(100).await?;
        let pause = load.longest_pause_since(killed);
        println!("kill of all {round}: next answers after {} ms", pause.as_millis());
        pauses.push(pause);
    }
    print_pauses("kill of all", pauses);
    Ok(())
}

async fn join(group: &mut Group, load: &Load, folder: &std::path::Path) -> Result<()> {
    load.wait_for(2_000).await?;
    let begun = Instant::now();
    let before = load.acknowledged();
    group.join(folder.join("newcomer"))?;
    let voters = group.len();
    group.wait_for_voters(voters)?;
    println!(
        "the newcomer counts after {} ms, during which {} operations were acknowledged",
        begun.elapsed().as_millis(),
        load.acknowledged() - before
    );
    ensure!(load.acknowledged() > before, "writes went on");
    load.wait_for(500).await
}
