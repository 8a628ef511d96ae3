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
    /// Leaves out these faults, separated by commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Lets faults go on for so long, in microseconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(CHAOS_US_MIN..))]
    chaos_us: Option<u64>,
    /// Gives each client so many operations.
    #[arg(long)]
    operations: Option<usize>,
    /// Goes on after a violation, and tells all of them.
    #[arg(long)]
    keep_going: bool,
    /// Makes a failing world as small as it can.
    #[arg(long)]
    shrink: bool,
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
    if let Some(unknown) = arguments.without.iter().find(|name| Plan::faults().all(|f| f != *name))
    {
        let known: Vec<&str> = Plan::faults().collect();
        return Err(format!("there is no fault {unknown}; there are {}", known.join(", ")));
    }
    let variation = Variation {
        planted,
        without: arguments.without.clone(),
        chaos_us: arguments.chaos_us,
        operations: arguments.operations,
    };
    let played = |seed, is_printed| {
        play(seed, &variation, is_printed).map_err(|what| match arguments.shrink {
            true => shrink(seed, &variation, what),
            false => what,
        })
    };
    if let Some(seed) = arguments.seed {
        let report = played(seed, !arguments.quiet)?;
        println!("seed {seed}: {report:?}");
        return Ok(());
    }
    let (mut total, mut violations) = (Report::default(), 0);
    for seed in arguments.from..arguments.from + arguments.runs {
        let report = match played(seed, false) {
            Ok(report) => report,
            Err(what) if arguments.keep_going => {
                println!("{what}");
                violations += 1;
                continue;
            }
            Err(what) => return Err(what),
        };
        if arguments.twice && played(seed, false)? != report {
            return Err(format!("seed {seed}: two runs differ"));
        }
        total.add(&report);
    }
    println!("{} runs without a violation: {total}", arguments.runs - violations);
    match violations {
        0 => Ok(()),
        _ => Err(format!("{violations} of {} runs violated something", arguments.runs)),
    }
}

/// How a world differs from the one its seed draws.
#[derive(Clone, Debug, Default)]
pub struct Variation {
    /// A safety line that is left out.
    pub planted: Option<Planted>,
    /// Faults that are left out, by name.
    pub without: Vec<String>,
    /// How long faults go on, if not as drawn.
    pub chaos_us: Option<u64>,
    /// How many operations each client has, if not as drawn.
    pub operations: Option<usize>,
}

impl Variation {
    fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan { planted: self.planted, ..Plan::draw(seed) };
        for fault in &self.without {
            plan.leave_out(fault);
        }
        plan.chaos_us = self.chaos_us.unwrap_or(plan.chaos_us);
        plan.operations = self.operations.unwrap_or(plan.operations);
        plan
    }

    fn command(&self, seed: u64) -> String {
        let mut command = format!("cargo xtask sim --seed {seed}");
        if !self.without.is_empty() {
            command += &format!(" --without {}", self.without.join(","));
        }
        if let Some(chaos_us) = self.chaos_us {
            command += &format!(" --chaos-us {chaos_us}");
        }
        if let Some(operations) = self.operations {
            command += &format!(" --operations {operations}");
        }
        if let Some(planted) = self.planted {
            command += &format!(" --planted {}", planted.name());
        }
        command
    }
}

/// Plays one seed; a broken assertion counts as a violation.
///
/// # Errors
/// What was violated, and the command that replays it.
pub fn play(seed: u64, variation: &Variation, is_printed: bool) -> Result<Report, String> {
    let plan = variation.plan(seed);
    let replay = format!("replay: {}", variation.command(seed));
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

/// Leaves out of a failing world, one by one, the faults that it fails without, and shortens what is left. Answers
/// what the smallest one says.
fn shrink(seed: u64, variation: &Variation, first: String) -> String {
    let (mut smallest, mut what) = (variation.clone(), first);
    let mut attempt = |candidate: Variation, smallest: &mut Variation| {
        let failed = play(seed, &candidate, false);
        if let Err(said) = failed {
            (*smallest, what) = (candidate, said);
            return true;
        }
        false
    };
    for fault in Plan::faults() {
        if smallest.without.iter().all(|left_out| left_out != fault) {
            let mut candidate = smallest.clone();
            candidate.without.push(fault.to_owned());
            attempt(candidate, &mut smallest);
        }
    }
    loop {
        let plan = smallest.plan(seed);
        let chaos_us = plan.chaos_us - plan.chaos_us / 4;
        let shorter = Variation { chaos_us: Some(chaos_us), ..smallest.clone() };
        let operations = plan.operations - plan.operations / 4;
        let fewer = Variation { operations: Some(operations), ..smallest.clone() };
        let is_shorter = chaos_us > CHAOS_US_MIN && attempt(shorter, &mut smallest);
        let is_less = operations < plan.operations && attempt(fewer, &mut smallest);
        if !is_shorter && !is_less {
            return what;
        }
    }
}

/// Shortest time of faults that shrinking tries: joining nodes need some.
const CHAOS_US_MIN: u64 = 200_000;

fn parse_planted(name: &str) -> Result<Planted, String> {
    let found = Planted::all().find(|bug| bug.name() == name);
    found.ok_or_else(|| {
        let names: Vec<String> = Planted::all().map(Planted::name).collect();
        format!("unknown planted bug {name}; there are {}", names.join(", "))
    })
}
