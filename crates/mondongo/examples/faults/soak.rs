//! Faults drawn by lot, one after the other and sometimes two at once, while concurrent clients work; their
//! history is checked in windows, at whose end everything is healed and all nodes must hold the same.

use crate::Arguments;
use crate::group::Group;
use crate::harness::network::Network;
use crate::harness::same::ask;
use crate::harness::workload::{Settings, Workload};
use anyhow::{Context, Result};
use clap::Args;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How a soak is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct SoakArguments {
    /// How long.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// What decides which faults there are, and what clients do; drawn and printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How long a window is whose history is checked as one.
    #[arg(long, default_value_t = 20)]
    window_seconds: u64,
}

/// What is wrong now with one node, or with the network.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    Killed(usize),
    Paused(usize),
    Deaf(usize),
    Unreliable(usize),
    Network,
}

/// What a soak came to.
#[derive(Debug, Default)]
struct Figures {
    windows: u64,
    answered: u64,
    unanswered: u64,
    repeated: u64,
    faults: BTreeMap<&'static str, u64>,
    longest_pause: Duration,
    most_memory_kib: u64,
}

struct Soak {
    group: Group,
    rng: Rng,
    troubles: Vec<Trouble>,
    figures: Figures,
}

/// Runs a soak.
pub(crate) fn run(arguments: &Arguments, folder: &Path, soak: &SoakArguments) -> Result<()> {
    let seed = soak.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("soak of {} minutes, seed {seed} (again with --seed {seed})", soak.minutes);
    let network = match Network::make(arguments.nodes) {
        Ok(network) => Some(network),
        Err(reason) => {
            println!("no partitions: {reason:#}");
            None
        }
    };
    let folders = (0..arguments.nodes).map(|n| folder.join(format!("node{n}"))).collect();
    let group = Group::start_with(&arguments.binary, folders, vec!["--fault-injection"], network)?;
    let (rng, troubles) = (Rng::with_seed(seed), Vec::new());
    let mut soak_state = Soak { group, rng, troubles, figures: Figures::default() };
    let end = Instant::now() + Duration::from_secs(60 * soak.minutes);
    while Instant::now() < end {
        let window = soak_state.figures.windows + 1;
        soak_state
            .window(window, seed, arguments.writers, Duration::from_secs(soak.window_seconds))
            .with_context(|| format!("window {window} of the soak with seed {seed}"))?;
    }
    soak_state.group.stop()?;
    soak_state.figures.print();
    Ok(())
}

impl Soak {
    /// One window: clients, faults, healing, checks.
    fn window(&mut self, window: u64, seed: u64, clients: usize, length: Duration) -> Result<()> {
        let name = format!("w{window}x");
        let seed = seed.wrapping_add(window);
        let settings =
            Settings { clients, keys: 6, name: name.clone(), seed, ..Settings::default() };
        let load = Workload::start(self.group.addresses(), settings)?;
        let begun = Instant::now();
        while begun.elapsed() < length {
            // Whatever happened, clients go on after it; why they do not is told by `finish`.
            if let Err(error) = self.fault(&load) {
                return Err(load.finish().err().unwrap_or(error));
            }
        }
        self.heal()?;
        self.group.wait_until_followed()?;
        let longest_pause = load.longest_pause_since(begun);
        let finished = load.finish()?;
        let slot = finished.check_everywhere()?;
        // What was checked is not needed any more.
        for collection in ["counters", "events"] {
            ask(&self.group.nodes[0].address, &format!(r#"["destroy","{collection}-{name}"]"#))?;
        }
        let memory: Vec<u64> =
            (0..self.group.len()).filter_map(|n| self.group.memory_kib(n)).collect();
        let shown: Vec<String> = memory.iter().map(|kib| format!("{}", kib / 1024)).collect();
        let notes = &finished.notes;
        println!(
            "window {window}: {} operations, {} without an answer, longest pause {} ms, linearizable, each \
             once, the same at slot {slot} everywhere; memory {} MiB",
            notes.answered,
            notes.unanswered,
            longest_pause.as_millis(),
            shown.join(" ")
        );
        let figures = &mut self.figures;
        figures.windows += 1;
        figures.answered += notes.answered;
        figures.unanswered += notes.unanswered;
        figures.repeated += notes.repeated;
        figures.longest_pause = figures.longest_pause.max(longest_pause);
        figures.most_memory_kib =
            figures.most_memory_kib.max(memory.into_iter().max().unwrap_or(0));
        Ok(())
    }

    /// Draws a fault, sometimes two, lets it last, heals it, and demands progress.
    fn fault(&mut self, load: &Workload) -> Result<()> {
        let count = if self.rng.u8(..4) == 0 { 2 } else { 1 };
        let begun = Instant::now();
        let mut faults = Vec::new();
        for _ in 0..count {
            faults.push(self.strike()?);
            sleep(Duration::from_millis(self.rng.u64(50..1_000)));
        }
        sleep(Duration::from_millis(self.rng.u64(50..1_500)));
        self.heal()?;
        let lasted = begun.elapsed();
        let progressed = load.wait_for(20);
        let pause = load.longest_pause_since(begun).as_millis();
        let faults = faults.join(", ");
        println!("  {faults}; healed after {} ms, longest pause {pause} ms", lasted.as_millis());
        progressed
    }

    fn strike(&mut self) -> Result<String> {
        let node = self.rng.usize(..self.group.len());
        let leader = || {
            // A node that stands still answers nobody.
            let paused = |n| self.troubles.contains(&Trouble::Paused(n));
            let leads = |n: &usize| !paused(*n) && self.group.says_it_leads(*n);
            (0..self.group.len()).find(leads).unwrap_or(node)
        };
        // The leader is the more interesting one.
        let node = if self.rng.bool() { leader() } else { node };
        let is_alive = !self.troubles.contains(&Trouble::Killed(node))
            && !self.troubles.contains(&Trouble::Paused(node));
        let kinds = if self.group.network.is_some() { 8 } else { 5 };
        let (kind, what) = match self.rng.u8(..kinds) {
            0 if is_alive => {
                self.group.kill(node)?;
                self.troubles.push(Trouble::Killed(node));
                ("kill", format!("kill -9 of node{node}"))
            }
            1 => {
                for node in 0..self.group.len() {
                    self.group.kill(node)?;
                    self.troubles.push(Trouble::Killed(node));
                }
                ("kill all", "kill -9 of all nodes".to_owned())
            }
            2 if is_alive => {
                self.group.pause(node)?;
                self.troubles.push(Trouble::Paused(node));
                ("pause", format!("pause of node{node}"))
            }
            3 if is_alive => {
                ask(&self.group.nodes[node].address, r#"["deaf"]"#)?;
                self.troubles.push(Trouble::Deaf(node));
                ("deaf", format!("node{node} is deaf"))
            }
            4 if is_alive => {
                let loss = f64::from(self.rng.u8(1..7)) / 10.0;
                let request = format!(r#"["unreliable",{loss}]"#);
                ask(&self.group.nodes[node].address, &request)?;
                self.troubles.push(Trouble::Unreliable(node));
                ("unreliable", format!("node{node} loses {loss} of its messages"))
            }
            5..=7 => ("partition", self.partition(node)?),
            // Nothing can be told to a node that is not there.
            _ => ("quiet", "nothing".to_owned()),
        };
        *self.figures.faults.entry(kind).or_default() += 1;
        Ok(what)
    }

    fn partition(&mut self, node: usize) -> Result<String> {
        let others: Vec<usize> = (0..self.group.len()).filter(|other| *other != node).collect();
        let kind = self.rng.u8(..5);
        let network = self.group.network.as_mut().context("no network")?;
        self.troubles.push(Trouble::Network);
        Ok(match kind {
            0 => {
                network.divide(&[node])?;
                format!("node{node} is cut off")
            }
            1 => {
                others.iter().try_for_each(|other| network.cut(node, *other))?;
                format!("nobody hears node{node}")
            }
            2 => {
                others.iter().try_for_each(|other| network.cut(*other, node))?;
                format!("node{node} hears nobody")
            }
            3 => {
                let links: Vec<(usize, usize)> =
                    others.iter().map(|other| (node, *other)).collect();
                network.keep_only(&links)?;
                format!("all reach only node{node}")
            }
            _ => {
                let other = others[self.rng.usize(..others.len())];
                network.cut(node, other)?;
                network.cut(other, node)?;
                format!("node{node} and node{other} do not reach each other")
            }
        })
    }

    /// Makes everything whole again.
    fn heal(&mut self) -> Result<()> {
        // The dead first: the others are told something.
        let (dead, others): (Vec<Trouble>, Vec<Trouble>) = std::mem::take(&mut self.troubles)
            .into_iter()
            .partition(|trouble| matches!(trouble, Trouble::Killed(_)));
        for trouble in dead.into_iter().chain(others) {
            match trouble {
                // A node may have been killed twice: alone, then with all.
                Trouble::Killed(node) if self.group.pid(node).is_none() => {
                    self.group.restart(node)?;
                }
                Trouble::Paused(node) => self.group.resume(node)?,
                // A node that was killed meanwhile is neither deaf nor unreliable any more.
                Trouble::Deaf(node) => self.tell(node, r#"["listen"]"#),
                Trouble::Unreliable(node) => self.tell(node, r#"["reliable"]"#),
                Trouble::Network => self.group.network.as_mut().context("no network")?.heal()?,
                Trouble::Killed(_) => {}
            }
        }
        Ok(())
    }

    /// Tells a node something, again until it hears it: it may be starting.
    fn tell(&self, node: usize, request: &str) {
        let deadline = Instant::now() + crate::PATIENCE;
        while ask(&self.group.nodes[node].address, request).is_err() && Instant::now() < deadline {
            sleep(Duration::from_millis(20));
        }
    }
}

impl Figures {
    fn print(&self) {
        let faults: Vec<String> =
            self.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!(
            "soak passed: {} operations in {} windows, all linearizable, each acknowledged one once at every \
             node; {} without an answer, {} sent twice on purpose; faults: {}; longest pause {} ms; most \
             memory of a node {} MiB",
            self.answered,
            self.windows,
            self.unanswered,
            self.repeated,
            faults.join(", "),
            self.longest_pause.as_millis(),
            self.most_memory_kib / 1024
        );
    }
}
