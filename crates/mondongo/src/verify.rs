//! `mondongo verify`: whether everything in the folder of a node is sound (spec D5).

use clap::Args;
use server::inspect::{Progress, Report, Severity, verify};
use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Exit status if something is damaged.
const DAMAGED: u8 = 1;
/// Exit status if it could not be checked.
const NOT_CHECKED: u8 = 2;
/// Memory for blocks of the store, in bytes.
const CACHE_BYTES: u64 = 32 << 20;
/// Between two words about progress.
const PROGRESS_WAIT: Duration = Duration::from_millis(200);

/// Check the folder of a node that does not run.
#[derive(Debug, Args)]
#[command(after_long_help = VERIFY_HELP)]
pub(crate) struct VerifyArguments {
    /// The folder of the node
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,

    /// Answer with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const VERIFY_HELP: &str = "\
Reads every record of the log and every file and row of the store, compares checksums, indexes and
counts, and the store with the log. It changes nothing in the folder; the store is opened as a copy
among the temporary files, with links to its tables.

The exit status is 0 if everything is sound, 1 if something is damaged, 2 if it could not be checked,
because a server holds the folder, for one.

Example:
  mondongo verify db";

/// Runs the subcommand.
pub(crate) fn run(arguments: &VerifyArguments) -> ExitCode {
    let shows_progress = io::stderr().is_terminal() && !arguments.json;
    let told = Cell::new(None::<Instant>);
    let watch = |progress: Progress| {
        if shows_progress && told.get().is_none_or(|at| at.elapsed() >= PROGRESS_WAIT) {
            told.set(Some(Instant::now()));
            eprint!("\r\x1b[K{}", line(&progress));
        }
    };
    let checked = verify(&arguments.folder, CACHE_BYTES, &watch);
    if told.get().is_some() {
        eprint!("\r\x1b[K");
    }
    let report = match checked {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(NOT_CHECKED);
        }
    };
    let text = if arguments.json { json(&report) } else { text(&report) };
    // Whoever closed the output still gets the exit status.
    let _ = io::stdout().write_all(text.as_bytes());
    if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) }
}

fn line(progress: &Progress) -> String {
    let Progress { stage, done, total, unit } = progress;
    let count = |number: u64| match *unit {
        "bytes" => format!("{:.1} MB", number as f64 / 1e6),
        _ => format!("{number} {unit}"),
    };
    match total {
        Some(total) if *total > 0 => {
            let percent = (done * 100 / total).min(100);
            format!("{stage}: {} of {}, {percent} %", count(*done), count(*total))
        }
        _ => format!("{stage}: {}", count(*done)),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for sentence in &report.checked {
        text += &format!("ok       {sentence}\n");
    }
    for finding in &report.findings {
        let word = match finding.severity {
            Severity::Damage => "DAMAGED",
            Severity::Note => "note   ",
        };
        text += &format!("{word}  {}: {}\n", finding.path.display(), finding.what);
    }
    text += if report.is_sound() {
        "Everything is sound.\n"
    } else {
        "Something is damaged. A node whose group has other members joins it anew by itself when it is \
         served, and keeps what was there, unless it is identity.json that is damaged; else restore the \
         folder from a backup.\n"
    };
    text
}

fn json(report: &Report) -> String {
    let findings: Vec<serde_json::Value> = (report.findings.iter())
        .map(|finding| {
            let severity = match finding.severity {
                Severity::Damage => "damage",
                Severity::Note => "note",
            };
            let path = finding.path.display().to_string();
            serde_json::json!({ "severity": severity, "path": path, "what": finding.what })
        })
        .collect();
    let sound = report.is_sound();
    format!(
        "{}\n",
        serde_json::json!({ "sound": sound, "checked": report.checked, "findings": findings })
    )
}
