//! What was measured, as an object that describes itself and as text.

use super::mix::Operation;
use super::options::Settings;
use super::process::Host;
use super::tally::{OfOperation, Tally};
use crate::progress::grouped;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the field `format` holds.
pub(crate) const FORMAT: &str = "mondongo-bench";
/// The version of the object; a field that changes its meaning changes it.
pub(crate) const VERSION: u64 = 1;

/// A measurement from beginning to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) format: String,
    pub(crate) version: u64,
    /// The version of this program.
    pub(crate) program: String,
    /// UTC.
    pub(crate) began: String,
    pub(crate) settings: Settings,
    pub(crate) host: Host,
    pub(crate) members: Vec<Member>,
    pub(crate) results: Results,
    /// What whoever reads the figures should know.
    pub(crate) warnings: Vec<String>,
}

/// A member that was named, as it was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) address: String,
    /// None: it did not answer.
    pub(crate) role: Option<String>,
}

/// The figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// For how long requests counted.
    pub(crate) seconds: f64,
    /// Whether it was ended early, by hand.
    pub(crate) interrupted: bool,
    pub(crate) all: Figures,
    pub(crate) operations: BTreeMap<String, Figures>,
    /// Right answers in each full second.
    pub(crate) per_second: Vec<u64>,
    pub(crate) per_second_min: Option<u64>,
    pub(crate) per_second_median: Option<f64>,
    /// Of an open loop.
    pub(crate) open: Option<Open>,
    pub(crate) generator: Generator,
    pub(crate) machine: Machine,
    /// Of the processes that were named.
    pub(crate) processes: Option<Processes>,
    /// How many clients talked to which member at the end.
    pub(crate) clients_at: BTreeMap<String, u64>,
    /// One message of each kind of trouble.
    pub(crate) examples: BTreeMap<String, String>,
}

/// Of one operation, or of all. Times are of right answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// All that ended.
    pub(crate) requests: u64,
    pub(crate) right: u64,
    /// Right answers a second.
    pub(crate) per_second: f64,
    /// Of the right ones, compare-and-sets that found another value.
    pub(crate) not_swapped: u64,
    pub(crate) wrong: u64,
    pub(crate) refused: u64,
    pub(crate) refused_per_second: f64,
    pub(crate) unknown: u64,
    /// By code.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Pairs: a time in nanoseconds, three digits exact, and how many took so long.
    pub(crate) histogram_ns: Vec<(u64, u64)>,
}

/// How well the rate was held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    /// Requests that came due.
    pub(crate) due: u64,
    pub(crate) sent: u64,
    /// How long after they were due requests were sent.
    pub(crate) late_p50_us: f64,
    pub(crate) late_p99_us: f64,
    pub(crate) late_max_us: f64,
}

/// What making the requests took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generator {
    pub(crate) threads: u64,
    pub(crate) cpu_seconds: f64,
    /// Processors in use, on average.
    pub(crate) cores: f64,
    pub(crate) cpu_us_per_request: f64,
}

/// The machine that the generator ran on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Processors in use, on average, by all processes.
    pub(crate) busy_cores: f64,
    /// Processors that the machine's own host kept, on average.
    pub(crate) stolen_cores: f64,
}

/// What processes used, together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Processes {
    pub(crate) pids: Vec<u32>,
    pub(crate) cores: f64,
    pub(crate) cpu_seconds_per_1000: f64,
    /// Of each, at the end.
    pub(crate) resident_mib: Vec<f64>,
    pub(crate) written_bytes_per_request: f64,
}

/// Above this share of its threads, the generator may be what bounds the figures.
const GENERATOR_LIMIT: f64 = 0.85;
/// Above this share of the processors, the machine bounds them.
const MACHINE_LIMIT: f64 = 0.95;

impl Figures {
    pub(crate) fn new(of: &OfOperation, seconds: f64) -> Figures {
        let right = of.latency.len();
        let at = |quantile| of.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        let a_second =
            |count: u64| if seconds > 0.0 { rounded(count as f64 / seconds) } else { 0.0 };
        Figures {
            requests: of.ended(),
            right,
            per_second: a_second(right),
            not_swapped: of.not_swapped,
            wrong: of.wrong,
            refused: of.refused,
            refused_per_second: a_second(of.refused),
            unknown: of.unknown,
            errors: of.failed.iter().map(|(code, count)| (code.to_string(), *count)).collect(),
            mean_us: rounded(of.latency.mean() / 1_000.0),
            p50_us: rounded(at(0.5)),
            p90_us: rounded(at(0.9)),
            p99_us: rounded(at(0.99)),
            p999_us: rounded(at(0.999)),
            max_us: rounded(if right == 0 { 0.0 } else { of.latency.max() as f64 / 1_000.0 }),
            histogram_ns: pairs(&of.latency),
        }
    }

    fn errors(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Whether any request ended as it should not.
    pub(crate) fn has_trouble(&self) -> bool {
        self.wrong + self.unknown + self.errors() > 0
    }
}

fn pairs(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let values = histogram.iter_recorded();
    values.map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
}

/// Three digits after the point are more than any figure is worth.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// The right answers of all full seconds, those without any included.
pub(crate) fn full_seconds(tally: &Tally, seconds: f64) -> Vec<u64> {
    let mut counts = tally.per_second.clone();
    counts.resize(seconds as usize, 0);
    counts
}

pub(crate) fn median(counts: &[u64]) -> Option<f64> {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle] as f64),
        _ => Some((sorted[middle - 1] + sorted[middle]) as f64 / 2.0),
    }
}

impl Report {
    /// What the figures themselves show to be a reason for care.
    pub(crate) fn warnings_of_figures(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let Results { generator, machine, open, all, .. } = &self.results;
        let threads = generator.threads as f64;
        if generator.cores >= GENERATOR_LIMIT * threads {
            let more = if generator.threads < self.host.cores.min(self.settings.clients) {
                "; try --threads"
            } else {
                "; run it on another machine"
            };
            warnings.push(format!(
                "the generator kept {:.2} of {} threads busy and may have been the limit{more}",
                generator.cores, generator.threads
            ));
        }
        let cores = self.host.cores as f64;
        if machine.busy_cores >= MACHINE_LIMIT * cores {
            warnings.push(format!(
                "all processors of this machine were busy ({:.2} of {}, {:.2} of them by the generator)",
                machine.busy_cores, self.host.cores, generator.cores
            ));
        }
        if let Some(open) = open.as_ref().filter(|open| open.sent < open.due) {
            warnings.push(format!(
                "the rate was not held: {} of {} requests that were due were never sent, and the times above \
                 lack them; the latest was sent {} after it was due",
                grouped(open.due - open.sent),
                grouped(open.due),
                milliseconds(open.late_max_us)
            ));
        }
        if all.right == 0 {
            warnings.push("no request got a right answer".into());
        }
        for (kind, message) in &self.results.examples {
            warnings.push(format!("{kind}, one of them: {message}"));
        }
        warnings
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let Report { settings, results, .. } = self;
        writeln!(out, "{}", headline(settings))?;
        writeln!(out, "{}", members(self))?;
        let early = if results.interrupted { " (ended early)" } else { "" };
        writeln!(out, "{:.1} s{early}\n", results.seconds)?;
        table(results, out)?;
        writeln!(out)?;
        if let (Some(min), Some(median)) = (results.per_second_min, results.per_second_median) {
            let count = results.per_second.len();
            let median = grouped(median.round() as u64);
            writeln!(
                out,
                "seconds: {count}; the slowest {} answers, the median {median}",
                grouped(min)
            )?;
        }
        if results.all.refused > 0 {
            let rate = grouped(results.all.refused_per_second.round() as u64);
            writeln!(out, "refused: {rate} a second, for lack of room at the members")?;
        }
        if let Some(of) = results.operations.get(Operation::Batch.name())
            && let Some(batch) = settings.batch
        {
            let writes = grouped((of.per_second * batch as f64).round() as u64);
            writeln!(out, "batch: {writes} writes a second")?;
        }
        if let Some(open) = &results.open {
            writeln!(
                out,
                "open loop: {} requests due, {} sent; sent after they were due: p50 {}, p99 {}, at most {}",
                grouped(open.due),
                grouped(open.sent),
                milliseconds(open.late_p50_us),
                milliseconds(open.late_p99_us),
                milliseconds(open.late_max_us)
            )?;
        }
        let Generator { threads, cores, cpu_us_per_request, .. } = &results.generator;
        writeln!(
            out,
            "generator: {cores:.2} processors on {threads} {}, {cpu_us_per_request:.1} µs a request; the machine: {:.2} of {}",
            if *threads == 1 { "thread" } else { "threads" },
            results.machine.busy_cores,
            self.host.cores
        )?;
        if let Some(processes) = &results.processes {
            let resident: Vec<String> =
                processes.resident_mib.iter().map(|mib| format!("{mib:.0}")).collect();
            writeln!(
                out,
                "{} processes: {:.2} processors, {:.3} s of them for 1,000 requests; resident {} MiB; {} bytes written a request",
                processes.pids.len(),
                processes.cores,
                processes.cpu_seconds_per_1000,
                resident.join(" + "),
                grouped(processes.written_bytes_per_request.round() as u64)
            )?;
        }
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        Ok(())
    }
}

fn headline(settings: &Settings) -> String {
    let mut text = settings.operation.clone();
    let _ = write!(text, ": {} clients", grouped(settings.clients));
    if settings.pipeline > 1 {
        let _ = write!(text, ", {} requests under way on each", settings.pipeline);
    }
    match (settings.rate, &settings.arrivals) {
        (Some(rate), Some(form)) => {
            let _ = write!(text, ", {rate} requests a second ({form})");
        }
        _ => text.push_str(", each waits for its answer"),
    }
    let _ = write!(text, "; {} keys, {}", grouped(settings.keys), settings.distribution);
    if let Some(exponent) = settings.zipf_exponent {
        let _ = write!(text, " {exponent}");
    }
    let _ = write!(text, "; values of {} bytes", grouped(settings.value_bytes));
    text
}

fn members(report: &Report) -> String {
    let one = |member: &Member| {
        let role = member.role.as_deref().unwrap_or("no answer");
        format!("{} ({role})", member.address)
    };
    let members: Vec<String> = report.members.iter().map(one).collect();
    let at: Vec<String> = report
        .results
        .clients_at
        .iter()
        .map(|(address, count)| format!("{count} at {address}"))
        .collect();
    format!("members: {}; clients: {}", members.join(", "), at.join(", "))
}

const COLUMNS: [&str; 12] = [
    "requests",
    "per second",
    "mean ms",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "refused",
    "unknown",
    "wrong",
    "errors",
];

fn table(results: &Results, out: &mut String) -> std::fmt::Result {
    let mut rows: Vec<[String; 13]> = vec![std::array::from_fn(|index| match index {
        0 => "operation".to_string(),
        _ => COLUMNS[index - 1].to_string(),
    })];
    for operation in Operation::ALL {
        if let Some(figures) = results.operations.get(operation.name()) {
            rows.push(row(operation.name(), figures));
        }
    }
    if rows.len() != 2 {
        rows.push(row("all", &results.all));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 13] = std::array::from_fn(width);
    for row in &rows {
        write!(out, "{:<width$}", row[0], width = widths[0])?;
        for (cell, width) in row.iter().zip(widths).skip(1) {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn row(name: &str, figures: &Figures) -> [String; 13] {
    let time = |us: f64| if figures.right == 0 { "-".to_string() } else { digits(us / 1_000.0) };
    [
        name.to_string(),
        grouped(figures.requests),
        grouped(figures.per_second.round() as u64),
        time(figures.mean_us),
        time(figures.p50_us),
        time(figures.p90_us),
        time(figures.p99_us),
        time(figures.p999_us),
        time(figures.max_us),
        grouped(figures.refused),
        grouped(figures.unknown),
        grouped(figures.wrong),
        grouped(figures.errors()),
    ]
}

/// A time in microseconds as text.
pub(crate) fn milliseconds(us: f64) -> String {
    format!("{} ms", digits(us / 1_000.0))
}

/// About three digits.
pub(crate) fn digits(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_without_answers_count() {
        let mut tally = Tally::new();
        tally.per_second = vec![5, 0, 3];
        assert_eq!(full_seconds(&tally, 4.7), [5, 0, 3, 0]);
        assert_eq!(full_seconds(&tally, 1.2), [5]);
        assert_eq!(median(&[5, 0, 3]), Some(3.0));
        assert_eq!(median(&[5, 0, 3, 0]), Some(1.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let text: Vec<String> = [0.0421, 1.5, 23.456, 1234.5].into_iter().map(digits).collect();
        assert_eq!(text, ["0.042", "1.50", "23.5", "1234"]);
    }
}
