//! `cargo xtask counts`: what fixed work costs, beside counts that are committed (`docs/design/counts.md`).
//!
//! Times say little on a machine that others use; instructions, allocations, messages and bytes are the same
//! every time, so that a change that makes something dearer shows.

use crate::step::{cargo, is_there, must_succeed, root};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the counts were when they were blessed.
const FILE: &str = "xtask/counts.toml";
/// Each workload runs with so many operations and with twice as many more; the difference is free of what
/// starting costs.
const OPERATIONS: u64 = 2_000;
const STEPS: u64 = 2;

/// What to count.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write what is counted into the file of counts, for you to read in the diff.
    #[arg(long)]
    bless: bool,
    /// Only these workloads; all of them if none is named.
    workloads: Vec<String>,
}

/// Workloads of the example `counts`, with what is counted of each from outside.
const WORKLOADS: [&str; 9] = [
    "store-put",
    "store-insert",
    "store-update",
    "store-find",
    "store-range",
    "paxos-propose",
    "log-append",
    "request-put",
    "filter",
];

/// The file of counts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// What it was counted with.
    tools: Tools,
    machine: Machine,
    row: Vec<Row>,
}

/// What counts of instructions and allocations depend on besides the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tools {
    rustc: String,
    libc: String,
    valgrind: String,
}

/// What is allowed because machines differ: the C library chooses its `memcpy` by the processor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    /// Up to here more instructions than a row allows are told and do not fail.
    instructions_tolerance_percent: f64,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine { instructions_tolerance_percent: 10.0 }
    }
}

impl Tools {
    /// Those of this machine.
    fn here() -> Tools {
        let said = |program: &str, argument: &str| {
            let output = Command::new(program).arg(argument).current_dir(root()).output();
            let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            said.unwrap_or_default().trim().to_owned()
        };
        Tools {
            rustc: said("rustc", "--version"),
            libc: said("getconf", "GNU_LIBC_VERSION"),
            valgrind: said("valgrind", "--version"),
        }
    }

    /// What differs, in words; nothing if nothing does.
    fn differences(&self, here: &Tools) -> Vec<String> {
        let pairs = [
            ("rustc", &self.rustc, &here.rustc),
            ("libc", &self.libc, &here.libc),
            ("valgrind", &self.valgrind, &here.valgrind),
        ];
        let differing = pairs.into_iter().filter(|(_, blessed, here)| blessed != here);
        differing
            .map(|(name, blessed, here)| format!("{name}: {blessed:?}, here {here:?}"))
            .collect()
    }
}

/// One count.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    workload: String,
    /// What is counted.
    what: String,
    /// Of it, for each operation.
    each: f64,
    /// How far a count may be from it.
    tolerance_percent: f64,
}

/// How a count stands to the one that was blessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Alike,
    Better,
    /// Worse than the row allows, and not worse than other tools or another machine may make it: told only.
    Dearer,
    Worse,
}

impl Row {
    fn standing(&self, each: f64, machine: Machine, tools_differ: bool) -> Standing {
        let allowed = self.each * self.tolerance_percent / 100.0;
        let by_machine = match self.what.as_str() {
            "instructions" | "allocations" if tools_differ => f64::INFINITY,
            "instructions" => self.each * machine.instructions_tolerance_percent / 100.0,
            _ => 0.0,
        };
        match each - self.each {
            more if more > allowed.max(by_machine) => Standing::Worse,
            more if more > allowed => Standing::Dearer,
            less if less < -allowed => Standing::Better,
            _ => Standing::Alike,
        }
    }
}

/// Counts, compares, and writes if that was asked for.
///
/// # Errors
/// If something has become dearer than its tolerance allows, or a count is missing.
pub(crate) fn run(options: &Options) -> Result<()> {
    for name in &options.workloads {
        let known = WORKLOADS.join(", ");
        ensure!(
            WORKLOADS.contains(&name.as_str()),
            "there is no workload {name}; there are {known}"
        );
    }
    if !is_there(Command::new("valgrind").arg("--version")) {
        println!("skipped: valgrind is not installed (apt-get install valgrind)");
        return Ok(());
    }
    must_succeed(&mut cargo("build --release --package sim --example counts"))?;
    let program = target_folder().join("release/examples/counts");
    let wanted =
        |name: &str| options.workloads.is_empty() || options.workloads.iter().any(|w| w == name);
    let mut counted = Vec::new();
    for workload in WORKLOADS.into_iter().filter(|name| wanted(name)) {
        counted.extend(count(&program, workload)?);
    }
    let path = root().join(FILE);
    let tools = Tools::here();
    let blessed = match fs::read_to_string(&path) {
        Ok(text) => toml::from_str::<Table>(&text).with_context(|| FILE.to_string())?,
        Err(_) if options.bless => {
            Table { tools: tools.clone(), machine: Machine::default(), row: Vec::new() }
        }
        Err(error) => return Err(error).context(FILE),
    };
    let differences = blessed.tools.differences(&tools);
    if options.bless {
        ensure!(
            differences.is_empty() || options.workloads.is_empty(),
            "the other counts were made with other tools ({}): bless all of them",
            differences.join("; ")
        );
        return bless(&path, &Table { tools, ..blessed }, &counted);
    }
    if !differences.is_empty() {
        println!(
            "counted with other tools than {FILE} ({}): instructions and allocations are told and fail nothing",
            differences.join("; ")
        );
    }
    let (text, worse) = compare(&blessed, !differences.is_empty(), &counted);
    print!("{text}");
    if worse > 0 {
        bail!(
            "{worse} counts are worse; if that is meant, `cargo xtask counts --bless` and say why in the commit"
        );
    }
    Ok(())
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// One line for each count, and how many are worse or have nothing to be compared with.
fn compare(
    blessed: &Table,
    tools_differ: bool,
    counted: &[(String, String, f64)],
) -> (String, usize) {
    let (mut text, mut worse) = (String::new(), 0);
    for (workload, what, each) in counted {
        let row = blessed.row.iter().find(|row| row.workload == *workload && row.what == *what);
        let said = match row {
            None => {
                worse += 1;
                "worse: it was not counted before".to_string()
            }
            Some(row) => {
                let change = each - row.each;
                let standing = row.standing(*each, blessed.machine, tools_differ);
                worse += usize::from(standing == Standing::Worse);
                let word = match standing {
                    Standing::Alike => "alike",
                    Standing::Better => "better: bless it, so that it stays",
                    Standing::Dearer => "dearer, which may be this machine's doing",
                    Standing::Worse => "worse",
                };
                format!(
                    "{change:+.1} to {:.1}, {} % allowed: {word}",
                    row.each, row.tolerance_percent
                )
            }
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{workload:14} {what:13} {each:10.1}  {said}");
    }
    (text, worse)
}

/// Writes the file anew: what was counted, and of the rest what stood there; tolerances stay.
fn bless(path: &Path, blessed: &Table, counted: &[(String, String, f64)]) -> Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    for row in &blessed.row {
        let is_counted = |c: &&(String, String, f64)| c.0 == row.workload && c.1 == row.what;
        let each = counted.iter().find(is_counted).map_or(row.each, |c| c.2);
        rows.push(Row { each, ..row.clone() });
    }
    for (workload, what, each) in counted {
        if !rows.iter().any(|row| row.workload == *workload && row.what == *what) {
            let tolerance_percent = tolerance(what);
            rows.push(Row {
                workload: workload.clone(),
                what: what.clone(),
                each: *each,
                tolerance_percent,
            });
        }
    }
    let mut text = String::from(
        "# What one operation of fixed work costs (docs/design/counts.md). Written by `cargo xtask counts --bless`;\n\
         # tolerances are edited by hand and stay.\n",
    );
    let Tools { rustc, libc, valgrind } = &blessed.tools;
    let Machine { instructions_tolerance_percent: percent } = blessed.machine;
    let _ = write!(
        text,
        "\n[tools]\nrustc = \"{rustc}\"\nlibc = \"{libc}\"\nvalgrind = \"{valgrind}\"\n\
         \n[machine]\ninstructions_tolerance_percent = {percent:.1}\n"
    );
    for Row { workload, what, each, tolerance_percent } in &rows {
        let _ = write!(
            text,
            "\n[[row]]\nworkload = \"{workload}\"\nwhat = \"{what}\"\neach = {each:.3}\ntolerance_percent = {tolerance_percent:.1}\n"
        );
    }
    fs::write(path, text).context(FILE)?;
    println!("{FILE} is written; read it in the diff");
    Ok(())
}

/// Of a new row. Instructions differ a little with the compiler's choices about code that was not touched.
fn tolerance(what: &str) -> f64 {
    if what == "instructions" { 3.0 } else { 1.0 }
}

/// All counts of one workload: its name, what is counted, and how many for each operation.
fn count(program: &Path, workload: &str) -> Result<Vec<(String, String, f64)>> {
    let last = OPERATIONS * (1 + STEPS);
    let mut counts = Vec::new();
    for (what, tool) in [("instructions", "callgrind"), ("allocations", "dhat")] {
        let (few, own_few) = valgrind(program, workload, OPERATIONS, tool)?;
        let (many, own_many) = valgrind(program, workload, last, tool)?;
        let each = |few: u64, many: u64| (many as f64 - few as f64) / (last - OPERATIONS) as f64;
        counts.push((workload.to_string(), what.to_string(), each(few, many)));
        if tool == "callgrind" {
            for ((name, few), (_, many)) in own_few.into_iter().zip(own_many) {
                counts.push((workload.to_string(), name, each(few, many)));
            }
        }
    }
    Ok(counts)
}

/// What a tool of valgrind counts, and what the workload says that it has counted.
fn valgrind(
    program: &Path,
    workload: &str,
    operations: u64,
    tool: &str,
) -> Result<(u64, Vec<(String, u64)>)> {
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={tool}")).arg(format!("--{tool}-out-file=/dev/null"));
    command.arg(program).arg(workload).arg(operations.to_string()).stdin(Stdio::null());
    let output = command.output().context("valgrind")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{workload} under {tool}: {told}");
    let total =
        total(&told, tool).with_context(|| format!("{tool} does not say its count: {told}"))?;
    let own = String::from_utf8_lossy(&output.stdout);
    let own = own.lines().filter_map(|line| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_string(), count.parse().ok()?))
    });
    Ok((total, own.collect()))
}

/// `==1== Collected : 33955504` of callgrind, `==1== Total:     1,234 bytes in 56 blocks` of dhat.
fn total(told: &str, tool: &str) -> Option<u64> {
    let digits =
        |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok();
    match tool {
        "callgrind" => digits(told.split_once("Collected :")?.1.lines().next()?),
        _ => digits(told.split_once("Total:")?.1.lines().next()?.split_once(" in ")?.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(each: f64) -> Row {
        let (workload, what) = ("filter".to_string(), "instructions".to_string());
        Row { workload, what, each, tolerance_percent: 3.0 }
    }

    fn table(row: Vec<Row>) -> Table {
        Table { tools: Tools::default(), machine: Machine::default(), row }
    }

    fn counted(each: f64) -> (String, String, f64) {
        ("filter".into(), "instructions".into(), each)
    }

    #[test]
    fn what_is_dearer_than_allowed_is_worse() {
        for (each, standing) in [
            (100.0, Standing::Alike),
            (102.9, Standing::Alike),
            (103.1, Standing::Dearer),
            (109.9, Standing::Dearer),
            (110.1, Standing::Worse),
            (97.1, Standing::Alike),
            (96.9, Standing::Better),
        ] {
            assert_eq!(row(100.0).standing(each, Machine::default(), false), standing, "{each}");
        }
        let blessed = table(vec![row(100.0)]);
        assert_eq!(compare(&blessed, false, &[counted(111.0)]).1, 1);
        assert_eq!(compare(&blessed, false, &[counted(104.0)]).1, 0);
        assert_eq!(compare(&blessed, false, &[counted(90.0)]).1, 0);
        let (text, worse) = compare(&table(Vec::new()), false, &[counted(1.0)]);
        assert_eq!(worse, 1, "what nobody blessed is told: {text}");
    }

    /// Other tools excuse what depends on them, and not the messages and bytes that the code alone makes.
    #[test]
    fn other_tools_are_told_and_excuse_only_what_they_can_change() {
        let tools = |rustc: &str| Tools { rustc: rustc.to_owned(), ..Tools::default() };
        assert_eq!(tools("1").differences(&tools("1")), [""; 0]);
        assert_eq!(tools("1").differences(&tools("2")), [r#"rustc: "1", here "2""#]);
        for (what, differ, worse) in [
            ("instructions", false, 1),
            ("instructions", true, 0),
            ("allocations", false, 1),
            ("allocations", true, 0),
            ("messages", false, 1),
            ("messages", true, 1),
            ("bytes", true, 1),
        ] {
            let blessed = table(vec![Row { what: what.to_owned(), ..row(100.0) }]);
            let counted = [("filter".to_owned(), what.to_owned(), 200.0)];
            assert_eq!(compare(&blessed, differ, &counted).1, worse, "{what}, {differ}");
        }
        // Without other tools, only instructions may be off by what machines differ.
        let blessed = table(vec![Row { what: "allocations".to_owned(), ..row(100.0) }]);
        let counted = [("filter".to_owned(), "allocations".to_owned(), 104.0)];
        assert_eq!(compare(&blessed, false, &counted).1, 1);
    }

    #[test]
    fn the_words_of_the_tools_are_understood() {
        let callgrind = "==1== Events    : Ir\n==1== Collected : 33955504\n==1== \n";
        assert_eq!(total(callgrind, "callgrind"), Some(33_955_504));
        let dhat = "==1== \n==1== Total:     1,234 bytes in 5,678 blocks\n==1== At t-gmax: 1 bytes in 2 blocks\n";
        assert_eq!(total(dhat, "dhat"), Some(5_678));
        assert_eq!(total("nothing", "dhat"), None);
    }

    #[test]
    fn blessing_keeps_tolerances_and_what_was_not_counted() {
        let path = std::env::temp_dir().join(format!("counts-{}.toml", std::process::id()));
        let other = Row { workload: "store-put".into(), tolerance_percent: 7.0, ..row(50.0) };
        let kept = Row { tolerance_percent: 5.0, ..row(100.0) };
        let new = ("filter".to_string(), "allocations".to_string(), 2.0);
        let tools = Tools { rustc: "rustc 1".into(), libc: "glibc".into(), valgrind: "v".into() };
        let machine = Machine { instructions_tolerance_percent: 12.5 };
        let blessed = Table { tools, machine, row: vec![kept, other.clone()] };
        bless(&path, &blessed, &[counted(90.0), new]).expect("written");
        let table: Table =
            toml::from_str(&fs::read_to_string(&path).expect("read")).expect("a table");
        fs::remove_file(&path).expect("removed");
        assert_eq!((&table.tools, table.machine), (&blessed.tools, blessed.machine));
        assert_eq!(table.row[0], Row { each: 90.0, tolerance_percent: 5.0, ..row(0.0) });
        assert_eq!(table.row[1], other);
        assert_eq!(
            (table.row[2].what.as_str(), table.row[2].tolerance_percent),
            ("allocations", 1.0)
        );
    }
}
