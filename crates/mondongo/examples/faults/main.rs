//! Faults on real processes: kill -9, all at once, power loss, a node that joins, all under load.
//!
//! `cargo run --release -p mondongo --example faults -- kill-leader --times 10` and so on. Each command starts
//! a group of its own, writes through the client library all the while, and at the end demands of every
//! node that every acknowledged write is there, took effect once, and that all nodes hold the same content
//! at the same slot.

mod group;
mod load;
mod power;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use group::Group;
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

#[derive(Clone, Copy, Debug, Subcommand)]
enum Fault {
    /// Kill -9 of the leader under load, and its restart; prints the pause that clients saw.
    KillLeader {
        /// How often.
        #[arg(long, default_value_t = 10)]
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
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    let temporary = tempfile::tempdir().context("no temporary folder")?;
    let folder = arguments.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    match arguments.fault {
        Fault::PowerLoss { times } => runtime.block_on(power::run(&arguments, &folder, times)),
        fault => runtime.block_on(run(&arguments, &folder, fault)),
    }
}

async fn run(arguments: &Arguments, folder: &std::path::Path, fault: Fault) -> Result<()> {
    let folders = (0..arguments.nodes).map(|n| folder.join(format!("node{n}"))).collect();
    let mut group = Group::start(&arguments.binary, folders)?;
    let load = Load::start(&group.addresses(), arguments.writers).await?;
    load.wait_for(200).await?;
    match fault {
        Fault::KillLeader { times } => kill_leader(&mut group, &load, times).await?,
        Fault::KillAll { times } => kill_all(&mut group, &load, times).await?,
        Fault::Join => join(&mut group, &load, folder).await?,
        Fault::PowerLoss { .. } => {}
    }
    finish(group, load).await
}

/// Stops the writers and demands everything of everybody.
pub(crate) async fn finish(mut group: Group, load: Load) -> Result<()> {
    let written = load.stop().await?;
    group.wait_until_same()?;
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

async fn kill_leader(group: &mut Group, load: &Load, times: u32) -> Result<()> {
    let mut pauses = Vec::new();
    for round in 1..=times {
        let leader = group.wait_for_leader()?;
        load.wait_for(100).await?;
        let killed = Instant::now();
        group.kill(leader)?;
        load.wait_for(100).await?;
        let pause = load.longest_pause_since(killed);
        println!("kill {round}: leader node{leader}, next answers after {} ms", pause.as_millis());
        pauses.push(pause);
        group.restart(leader)?;
        group.wait_until_followed()?;
    }
    pauses.sort();
    let median = pauses[pauses.len() / 2].as_millis();
    let longest = pauses.last().map_or(0, Duration::as_millis);
    println!("pause over {times} kills: median {median} ms, longest {longest} ms");
    Ok(())
}

async fn kill_all(group: &mut Group, load: &Load, times: u32) -> Result<()> {
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
    }
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
