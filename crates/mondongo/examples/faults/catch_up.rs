//! A follower that was away: how fast it catches up by log and by snapshot, and what its absence costs the leader.

use crate::group::{Group, wait};
use crate::{Arguments, PATIENCE};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use client::{Client, Options};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How `catch-up` is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct CatchUpArguments {
    /// How much is written while the follower is away.
    #[arg(long, default_value_t = 1_024)]
    mebibytes: u64,
    /// The size of one value.
    #[arg(long, default_value_t = 16)]
    value_kib: u64,
    /// Only this way.
    #[arg(long)]
    by: Option<Way>,
}

/// How a follower catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    Log,
    Snapshot,
}

/// How `dead-follower` is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeadFollowerArguments {
    /// For how long.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// The size of one value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many keys there are.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
}

/// How long a follower may take for a gigabyte or so.
const CATCH_UP_TIME: Duration = Duration::from_secs(300);
const MIB: f64 = (1 << 20) as f64;

/// What the writers do.
struct Writers {
    addresses: Vec<String>,
    value: String,
    keys: u64,
    /// None are begun from here on.
    writes_max: u64,
    next: AtomicU64,
    acknowledged: AtomicU64,
    is_stopping: AtomicBool,
}

impl Writers {
    fn new(group: &Group, value_bytes: usize, keys: u64, writes_max: u64) -> Arc<Writers> {
        Arc::new(Writers {
            addresses: group.addresses(),
            value: "v".repeat(value_bytes),
            keys,
            writes_max,
            next: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Until all is written, or they are told to stop.
    async fn run(self: Arc<Writers>, count: usize) -> Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..count {
            tasks.spawn(Arc::clone(&self).write());
        }
        while let Some(ended) = tasks.join_next().await {
            ended.context("a writer panicked")??;
        }
        Ok(())
    }

    async fn write(self: Arc<Writers>) -> Result<()> {
        let options = Options { timeout: PATIENCE, ..Options::default() };
        let client = Client::connect(&self.addresses, options).await?;
        while !self.is_stopping.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= self.writes_max {
                break;
            }
            client.write(&format!("key-{}", number % self.keys), self.value.as_str()).await?;
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// A group in a folder of its own, with these further arguments.
fn start(arguments: &Arguments, folder: &Path, also: &[&'static str]) -> Result<Group> {
    let folders: Vec<PathBuf> =
        (0..arguments.nodes).map(|n| folder.join(format!("node{n}"))).collect();
    fs::create_dir_all(folder)?;
    Group::start_with(&arguments.binary, folders, also.to_vec(), None)
}

/// Ends one follower; which.
fn kill_follower(group: &mut Group) -> Result<usize> {
    group.wait_until_followed()?;
    let leader = group.wait_for_leader()?;
    let follower = (leader + 1) % group.len();
    group.kill(follower)?;
    Ok(follower)
}

/// Measures both ways of catching up, and the disk alone beside each.
pub(crate) async fn catch_up(
    arguments: &Arguments,
    folder: &Path,
    how: &CatchUpArguments,
) -> Result<()> {
    let ways: [(Way, &str, &[&'static str]); 2] = [
        (Way::Log, "log", &["--log-retain-mib", "1048576"]),
        (Way::Snapshot, "snapshot", &["--log-retain-mib", "64"]),
    ];
    for (way, name, also) in ways {
        if how.by.is_some_and(|by| by != way) {
            continue;
        }
        let folder = folder.join(name);
        let mut group = start(arguments, &folder, also)?;
        let follower = kill_follower(&mut group)?;
        let value_bytes = usize::try_from(how.value_kib << 10)?;
        let writes = (how.mebibytes << 10) / how.value_kib;
        let writers = Writers::new(&group, value_bytes, writes, writes);
        let begun = Instant::now();
        writers.run(arguments.writers).await?;
        let written = begun.elapsed();
        let leader = group.wait_for_leader()?;
        let target = group.slot(leader, "applied").context("the leader's applied slot")?;
        // Before and after: what a disk can do changes from minute to minute where others use it, too.
        let disk_before = disk_alone(&folder, how.mebibytes)?;
        let begun = Instant::now();
        group.restart(follower)?;
        while group.slot(follower, "applied").is_none_or(|slot| slot < target) {
            ensure!(begun.elapsed() < CATCH_UP_TIME, "it takes too long by {name}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = begun.elapsed();
        let log = fs::read_to_string(group.nodes[follower].folder.with_extension("log"))?;
        let by_snapshot = log.contains("a snapshot has taken the place of the store");
        ensure!(by_snapshot == (name == "snapshot"), "it caught up in the other way than {name}");
        println!(
            "{} MiB by {name}: {:.1} s, {:.0} MB/s, from the start of its process until all is applied \
             (two nodes wrote them at {:.0} MB/s)",
            how.mebibytes,
            took.as_secs_f64(),
            rate(how.mebibytes, took),
            rate(how.mebibytes, written)
        );
        let disk_after = disk_alone(&folder, how.mebibytes)?;
        println!(
            "the disk alone: {disk_before:.0} MB/s before and {disk_after:.0} MB/s after it (MiB written in \
             order, then synced)"
        );
        group.same_content()?;
        group.stop()?;
        drop(group);
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// Millions of bytes a second.
fn rate(mebibytes: u64, time: Duration) -> f64 {
    mebibytes as f64 * MIB / 1e6 / time.as_secs_f64()
}

fn disk_alone(folder: &Path, mebibytes: u64) -> Result<f64> {
    let path = folder.join("disk-alone");
    let chunk = vec![7; 1 << 20];
    let begun = Instant::now();
    let mut file = File::create(&path)?;
    for _ in 0..mebibytes {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    let rate = rate(mebibytes, begun.elapsed());
    fs::remove_file(&path)?;
    Ok(rate)
}

/// Load on a group of which one follower is dead; prints the leader's memory each minute.
pub(crate) async fn dead_follower(
    arguments: &Arguments,
    folder: &Path,
    how: &DeadFollowerArguments,
) -> Result<()> {
    let mut group = start(arguments, folder, &["--evict-after", "never"])?;
    let leader = group.wait_for_leader()?;
    let memory = |group: &Group, node| group.memory_kib(node).map_or(0, |kib| kib / 1_024);
    println!("before: leader {} MiB", memory(&group, leader));
    let follower = kill_follower(&mut group)?;
    let writers = Writers::new(&group, how.value_bytes, how.keys, u64::MAX);
    let running = tokio::spawn(Arc::clone(&writers).run(arguments.writers));
    for minute in 1..=how.minutes {
        tokio::time::sleep(Duration::from_secs(60)).await;
        ensure!(!running.is_finished(), "a writer gave up");
        let leader = group.wait_for_leader()?;
        println!(
            "minute {minute}: leader node{leader} {} MiB, {} writes acknowledged",
            memory(&group, leader),
            writers.acknowledged.load(Ordering::SeqCst)
        );
    }
    writers.is_stopping.store(true, Ordering::SeqCst);
    running.await.context("the writers panicked")??;
    group.restart(follower)?;
    group.wait_until_followed()?;
    wait("the follower to catch up", || {
        let leader = group.wait_for_leader()?;
        let wanted = group.slot(leader, "applied");
        Ok((wanted.is_some() && group.slot(follower, "applied") >= wanted).then_some(()))
    })?;
    let (slot, hash) = group.same_content()?;
    println!("the follower is back; content {hash} at slot {slot} everywhere");
    group.stop()
}
