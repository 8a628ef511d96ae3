//! The command line of the simulator: `cargo xtask sim`.

use crate::plan::{Plan, Planted};
use crate::world::{Report, run};
use clap::Parser;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs simulated worlds and checks them.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// Plays this one seed and prints its trace.
    #[arg(long, conflicts_with_all = ["runs", "from"])]
    seed: Option<u64>,
    /// How many seeds to play.
    #[arg(long, default_value_t = 1000)]
    runs: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Plays each seed twice and compares the traces.
    #[arg(long)]
    twice: bool,
    /// Leaves out a safety line, by the name it has in docs/design/planted-bugs.md.
    #[arg(long)]
    planted: Option<String>,
    /// Does not print the trace of a single seed.
    #[arg(long)]
    quiet: bool,
}

/// Runs what `args` (without a program name) ask for.
///
/// # Errors
/// The first seed that violates something, with the command that replays it.
pub fn run_arguments(args: &[String]) -> Result<(), String> {
    let words = std::iter::once("sim".to_owned()).chain(args.iter().cloned());
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) if !error.use_stderr() => {
            println!("{error}");
            return Ok(());
        }
        Err(error) => return Err(error.to_string()),
    };
    let planted = arguments.planted.as_deref().map(parse_planted).transpose()?;
    if let Some(seed) = arguments.seed {
        let report = play(seed, planted, !arguments.quiet)?;
        println!("seed {seed}: {report:?}");
        return Ok(());
    }
    play_many(&arguments, planted)
}

fn play_many(arguments: &Arguments, planted: Option<Planted>) -> Result<(), String> {
    let mut total = Report::default();
    for seed in arguments.from..arguments.from + arguments.runs {
        let report = play(seed, planted, false)?;
        if arguments.twice && play(seed, planted, false)? != report {
            return Err(format!("seed {seed}: two runs differ"));
        }
        total.add(&report);
    }
    println!("{} runs without a violation: {total}", arguments.runs);
    Ok(())
}

/// Plays one seed; a broken assertion counts as a violation.
///
/// # Errors
/// What was violated, and the command that replays it.
pub fn play(seed: u64, planted: Option<Planted>, is_printed: bool) -> Result<Report, String> {
    let plan = Plan { planted, ..Plan::draw(seed) };
    let replay = format!("replay: cargo xtask sim --seed {seed}");
    match catch_unwind(AssertUnwindSafe(|| run(&plan, is_printed))) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(violation)) => Err(format!(
            "seed {seed}: at {} us: {}\n{replay}\n{plan:?}",
            violation.time_us, violation.what
        )),
        Err(panic) => {
            let text = (panic.downcast_ref::<String>().cloned())
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            Err(format!("seed {seed}: an assertion broke: {text}\n{replay}\n{plan:?}"))
        }
    }
}

fn parse_planted(name: &str) -> Result<Planted, String> {
    let of_paxos = paxos::PlantedBug::ALL.into_iter().map(Planted::Paxos);
    let of_wal = wal::PlantedBug::ALL.into_iter().map(Planted::Wal);
    let mut all = of_paxos.chain(of_wal);
    all.find(|bug| match bug {
        Planted::Paxos(bug) => format!("{bug:?}") == name,
        Planted::Wal(bug) => format!("{bug:?}") == name,
    })
    .ok_or_else(|| format!("unknown planted bug {name}"))
}
