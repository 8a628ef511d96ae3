//! `mondongo bench`: how much a group does, and how long each request takes (spec D5; `docs/design/bench.md`).

mod arrivals;
mod compare;
mod content;
mod keys;
mod live;
mod mix;
mod options;
mod preload;
mod process;
mod report;
mod run;
mod schedule;
mod tally;
#[cfg(test)]
mod texts;
mod work;

pub(crate) use options::BenchArguments;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status for wrong arguments, as clap's.
const WRONG_ARGUMENTS: u8 = 2;
/// Exit status if nothing could be measured.
const NOTHING_MEASURED: u8 = 3;

/// Runs the subcommand.
pub(crate) fn run(arguments: &BenchArguments) -> ExitCode {
    if let Some(files) = &arguments.compare {
        return compare_files(files);
    }
    let settings = match arguments.settings() {
        Ok(settings) => settings,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    // Before a long run, whose report would be lost; what is there stays until there is another one.
    if let Some(path) = &arguments.output
        && let Err(error) = OpenOptions::new().append(true).create(true).open(path)
    {
        eprintln!("error: --output {}: {error}", path.display());
        return ExitCode::from(WRONG_ARGUMENTS);
    }
    let report = match run::measure(arguments, settings) {
        Ok(report) => report,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(NOTHING_MEASURED);
        }
    };
    let json = match serde_json::to_string(&report) {
        Ok(json) => json + "\n",
        Err(error) => {
            eprintln!("error: the report cannot be written: {error}");
            return ExitCode::from(NOTHING_MEASURED);
        }
    };
    let text = if arguments.json { json.clone() } else { report.to_text() };
    // Whoever closed the output wants no more of it.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(path) = &arguments.output
        && let Err(error) = std::fs::write(path, json)
    {
        eprintln!("error: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    let is_good = report.results.all.right > 0 && !report.results.all.has_trouble();
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn compare_files(files: &[PathBuf]) -> ExitCode {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let text = files.iter().map(|file| compare::read(file)).collect::<Result<Vec<_>, _>>();
    let text = text.and_then(|reports| match (&names[..], &reports[..]) {
        ([a, b], [first, second]) => compare::compare([a.as_str(), b.as_str()], [first, second]),
        _ => Err("two reports are compared".into()),
    });
    match text {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(WRONG_ARGUMENTS)
        }
    }
}
