//! `cargo xtask model`: every state of the model of the protocol (`docs/design/model-check.md`).

use anyhow::{Result, bail};
use clap::Args;
use model::{Configuration, Search};

/// What to explore.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only this configuration; may be given more than once. `quick` and `full` name all of their kind.
    #[arg(long = "config", value_name = "NAME")]
    configurations: Vec<String>,
    /// Names the configurations and explores none.
    #[arg(long)]
    list: bool,
    /// How many threads explore.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// The configurations that every check explores: seconds each.
pub(crate) fn run_quick() -> Result<()> {
    explore(&all(true), 2)
}

/// Explores what is asked for; the quick ones if nothing is.
///
/// # Errors
/// If a configuration does not exist, or does not hold: then the way there was printed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut chosen = Vec::new();
    for name in &options.configurations {
        chosen.extend(named(name)?);
    }
    if options.configurations.is_empty() {
        chosen = if options.list { Configuration::all() } else { all(true) };
    }
    if options.list {
        for configuration in &chosen {
            println!("{}", shown(configuration));
        }
        return Ok(());
    }
    explore(&chosen, options.threads.max(1))
}

fn all(is_quick: bool) -> Vec<Configuration> {
    Configuration::all().into_iter().filter(|c| c.is_quick == is_quick).collect()
}

fn named(name: &str) -> Result<Vec<Configuration>> {
    match name {
        "quick" => Ok(all(true)),
        "full" => Ok(all(false)),
        _ => match Configuration::named(name) {
            Some(configuration) => Ok(vec![configuration]),
            None => {
                let names: Vec<_> = Configuration::all().iter().map(|c| c.name).collect();
                let known = names.join(", ");
                bail!("no configuration is named `{name}`; there are quick, full, {known}")
            }
        },
    }
}

fn explore(configurations: &[Configuration], threads: usize) -> Result<()> {
    let mut failed = Vec::new();
    for configuration in configurations {
        println!("{}", shown(configuration));
        let report = model::check(configuration, Search::Exhaustive, threads);
        println!(
            "    {} states, {} steps, depth {}, {} properties, {:.1} s",
            report.states,
            report.steps,
            report.depth,
            report.properties.len(),
            report.time.as_secs_f64()
        );
        for (property, _) in report.properties.iter().filter(|(_, holds)| !holds) {
            println!("    does not hold: {property}");
        }
        if let Some(trace) = shortest_trace(configuration, &report, threads) {
            println!("{trace}");
        }
        if !report.holds() {
            failed.push(configuration.name);
        }
    }
    if !failed.is_empty() {
        bail!("the model does not hold in: {}", failed.join(", "));
    }
    Ok(())
}

/// The nearest broken state is easier to read than the first one that was met.
fn shortest_trace(
    configuration: &Configuration,
    report: &model::Report,
    threads: usize,
) -> Option<String> {
    report.trace.as_ref()?;
    model::check(configuration, Search::Shortest, threads).trace
}

fn shown(configuration: &Configuration) -> String {
    let Configuration { name, about, owners, slots, founding, changes, crashes, .. } =
        configuration;
    let kind = if configuration.is_quick { "quick" } else { "full" };
    format!(
        "{name} ({kind}): {about}\n    owners of the ballots {owners:?}, {slots} slots, \
         voters {founding:?}, {changes} changes, {crashes} crashes"
    )
}
