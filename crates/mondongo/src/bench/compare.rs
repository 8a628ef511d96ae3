//! Two reports side by side: ratios, and which settings differ.

use super::report::{FORMAT, Figures, Report, VERSION, digits};
use crate::progress::grouped;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Reads a report of `--output`.
///
/// # Errors
/// In words, why it is none.
pub(crate) fn read(path: &Path) -> Result<Report, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    parse(&text).map_err(|reason| format!("{name}: {reason}"))
}

fn parse(text: &str) -> Result<Report, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    if value["format"] != FORMAT {
        return Err("it is no report of mondongo bench; write one with --output".into());
    }
    if value["version"] != VERSION {
        let version = &value["version"];
        return Err(format!("it has version {version}; this program knows version {VERSION}"));
    }
    serde_json::from_value(value).map_err(|error| format!("the report is not whole: {error}"))
}

/// The second beside the first, as text.
///
/// # Errors
/// In words, why they cannot be compared.
pub(crate) fn compare(names: [&str; 2], reports: [&Report; 2]) -> Result<String, String> {
    let [first, second] = reports;
    let mut out = String::new();
    for (letter, name, report) in [("A", names[0], first), ("B", names[1], second)] {
        let _ = writeln!(out, "{letter}: {name}, {}, {}", report.settings.operation, report.began);
    }
    let differences = differences(first, second)?;
    if differences.is_empty() {
        out.push_str("settings: the same\n");
    }
    for difference in &differences {
        let _ = writeln!(out, "note: {difference}");
    }
    let mut rows: Vec<[String; 5]> = vec![["", "", "A", "B", "B/A"].map(String::from)];
    for (name, ours) in &first.results.operations {
        if let Some(theirs) = second.results.operations.get(name) {
            rows.extend(figures(name, ours, theirs));
        }
    }
    if rows.len() == 1 {
        return Err("no operation is in both reports".into());
    }
    if first.results.operations.len() > 1 || second.results.operations.len() > 1 {
        rows.extend(figures("all", &first.results.all, &second.results.all));
    }
    rows.extend(costs(first, second));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    out.push('\n');
    for row in &rows {
        let mut line = String::new();
        let _ = write!(line, "{:<a$}  {:<b$}", row[0], row[1], a = widths[0], b = widths[1]);
        for (cell, width) in row.iter().zip(widths).skip(2) {
            let _ = write!(line, "  {cell:>width$}");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    Ok(out)
}

fn figures(name: &str, first: &Figures, second: &Figures) -> Vec<[String; 5]> {
    let times = [
        ("mean ms", first.mean_us, second.mean_us),
        ("p50 ms", first.p50_us, second.p50_us),
        ("p90 ms", first.p90_us, second.p90_us),
        ("p99 ms", first.p99_us, second.p99_us),
        ("p99.9 ms", first.p999_us, second.p999_us),
        ("max ms", first.max_us, second.max_us),
    ];
    let mut rows = vec![[
        name.to_string(),
        "per second".to_string(),
        grouped(first.per_second.round() as u64),
        grouped(second.per_second.round() as u64),
        ratio(first.per_second, second.per_second),
    ]];
    for (label, a, b) in times {
        let (a, b) = (a / 1_000.0, b / 1_000.0);
        rows.push([String::new(), label.into(), digits(a), digits(b), ratio(a, b)]);
    }
    for (label, a, b) in [
        ("refused", first.refused, second.refused),
        ("unknown", first.unknown, second.unknown),
        ("wrong", first.wrong, second.wrong),
        ("errors", first.errors.values().sum(), second.errors.values().sum()),
    ] {
        if a + b > 0 {
            rows.push([String::new(), label.into(), grouped(a), grouped(b), String::new()]);
        }
    }
    rows
}

fn costs(first: &Report, second: &Report) -> Vec<[String; 5]> {
    let (a, b) = (&first.results, &second.results);
    let mut costs = vec![(
        "generator",
        "µs a request",
        a.generator.cpu_us_per_request,
        b.generator.cpu_us_per_request,
    )];
    if let (Some(a), Some(b)) = (&a.processes, &b.processes) {
        let resident = |mib: &[f64]| mib.iter().sum::<f64>();
        costs.extend([
            ("processes", "s for 1,000", a.cpu_seconds_per_1000, b.cpu_seconds_per_1000),
            ("", "MiB in all", resident(&a.resident_mib), resident(&b.resident_mib)),
            (
                "",
                "bytes written a request",
                a.written_bytes_per_request,
                b.written_bytes_per_request,
            ),
        ]);
    }
    let row = |(name, label, a, b): (&str, &str, f64, f64)| {
        [name.to_string(), label.to_string(), digits(a), digits(b), ratio(a, b)]
    };
    costs.into_iter().map(row).collect()
}

fn ratio(first: f64, second: f64) -> String {
    if first > 0.0 { format!("{:.2}", second / first) } else { "-".into() }
}

/// What is not alike, setting by setting.
fn differences(first: &Report, second: &Report) -> Result<Vec<String>, String> {
    let object = |report: &Report| {
        let mut value =
            serde_json::to_value(&report.settings).map_err(|error| error.to_string())?;
        value["cores"] = report.host.cores.into();
        value["processor"] = report.host.processor.clone().into();
        value["system"] = report.host.system.clone().into();
        value["interrupted"] = report.results.interrupted.into();
        value["program"] = report.program.clone().into();
        Ok::<Value, String>(value)
    };
    let (first, second) = (object(first)?, object(second)?);
    let fields = first.as_object().into_iter().flatten();
    let differing = fields.filter(|(name, value)| second.get(name.as_str()) != Some(value));
    Ok(differing
        .map(|(name, value)| format!("{name} is {value} in A and {} in B", second[name]))
        .collect())
}
