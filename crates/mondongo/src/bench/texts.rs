//! Golden tests of what people read: a report, and two compared.

use super::compare::{compare, read};
use super::mix::Operation;
use super::options::Settings;
use super::process::Host;
use super::report::{
    FORMAT, Figures, Generator, Machine, Member, Open, Processes, Report, Results, VERSION,
};
use super::tally::{Ended, Outcome, Tally};
use api::ErrorCode;
use expect_test::expect;
use std::collections::BTreeMap;
use std::time::Duration;

/// A made-up measurement: gets in `get_us`, puts in four times that, and one of each kind of trouble.
fn report(get_us: u64) -> Report {
    let mut tally = Tally::new();
    let mut note = |operation, us: u64, outcome| {
        let took = Duration::from_micros(us);
        tally.note(Ended { operation, took, at: took, late: Some(took / 10), outcome });
    };
    for number in 0..1_000 {
        note(Operation::Get, get_us + number, Outcome::Right);
        note(Operation::Put, get_us * 4 + number * 9, Outcome::Right);
    }
    note(Operation::Put, 1, Outcome::Refused);
    note(Operation::Put, 1, Outcome::Unknown("it was not answered".into()));
    note(Operation::Put, 1, Outcome::Failed(ErrorCode::Down, "no quorum".into()));
    note(Operation::Get, 1, Outcome::Wrong("bench/000000007 holds null".into()));
    let seconds = 2.0;
    let figures = tally
        .operations()
        .map(|(operation, of)| (operation.name().to_string(), Figures::new(of, seconds)));
    let results = Results {
        seconds,
        interrupted: false,
        all: Figures::new(&tally.total(), seconds),
        operations: figures.collect(),
        per_second: vec![900, 1_100],
        per_second_min: Some(900),
        per_second_median: Some(1_000.0),
        open: Some(Open {
            due: 2_104,
            sent: 2_004,
            late_p50_us: 61.0,
            late_p99_us: 420.5,
            late_max_us: 12_345.0,
        }),
        generator: Generator {
            threads: 1,
            cpu_seconds: 1.8,
            cores: 0.9,
            cpu_us_per_request: 898.2,
        },
        machine: Machine { busy_cores: 1.97, stolen_cores: 0.0 },
        processes: Some(Processes {
            pids: vec![11, 12, 13],
            cores: 0.8,
            cpu_seconds_per_1000: 0.798,
            resident_mib: vec![50.4, 41.0, 40.6],
            written_bytes_per_request: 1_422.4,
        }),
        clients_at: BTreeMap::from([("h:1".to_string(), 33), ("h:2".to_string(), 31)]),
        examples: tally.examples.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
    };
    let mut report = Report {
        format: FORMAT.into(),
        version: VERSION,
        program: "0.0.0".into(),
        began: "2026-01-01T00:00:00Z".into(),
        settings: Settings {
            members: vec!["h:1".into(), "h:2".into()],
            connected_to: "spread".into(),
            operation: "get=50,put=50".into(),
            clients: 64,
            pipeline: 1,
            threads: 1,
            rate: Some(1_052.0),
            arrivals: Some("poisson".into()),
            keys: 100_000,
            distribution: "zipf".into(),
            zipf_exponent: Some(0.99),
            value_bytes: 256,
            batch: None,
            collection: None,
            seed: 1,
            preload: true,
            warm_up_s: 1.0,
            duration_s: Some(2.0),
            count: None,
            timeout_s: 10.0,
        },
        host: Host {
            cores: 2,
            processor: "a processor".into(),
            system: "Linux 6".into(),
            memory_mib: 4_096,
            load_before: 0.5,
        },
        members: vec![
            Member { address: "h:1".into(), role: Some("leader".into()) },
            Member { address: "h:2".into(), role: None },
        ],
        results,
        warnings: vec!["h:2: Connection refused".into()],
    };
    let more = report.warnings_of_figures();
    report.warnings.extend(more);
    report
}

#[test]
fn a_report_reads_well() {
    expect![[r#"
        get=50,put=50: 64 clients, 1052 requests a second (poisson); 100,000 keys, zipf 0.99; values of 256 bytes
        members: h:1 (leader), h:2 (no answer); clients: 33 at h:1, 31 at h:2
        2.0 s

        operation  requests  per second  mean ms  p50 ms  p90 ms  p99 ms  p99.9 ms  max ms  refused  unknown  wrong  errors
        put           1,003         500     5.30    5.29    8.90    9.71      9.79    9.80        1        1      0       1
        get           1,001         500    0.700   0.699    1.10    1.19      1.20    1.20        0        0      1       0
        all           2,004       1,000     3.00    1.16    7.99    9.62      9.77    9.80        1        1      1       1

        seconds: 2; the slowest 900 answers, the median 1,000
        refused: 1 a second, for lack of room at the members
        open loop: 2,104 requests due, 2,004 sent; sent after they were due: p50 0.061 ms, p99 0.420 ms, at most 12.3 ms
        generator: 0.90 processors on 1 thread, 898.2 µs a request; the machine: 1.97 of 2
        3 processes: 0.80 processors, 0.798 s of them for 1,000 requests; resident 50 + 41 + 41 MiB; 1,422 bytes written a request
        warning: h:2: Connection refused
        warning: the generator kept 0.90 of 1 threads busy and may have been the limit; try --threads
        warning: all processors of this machine were busy (1.97 of 2, 0.90 of them by the generator)
        warning: the rate was not held: 100 of 2,104 requests that were due were never sent, and the times above lack them; the latest was sent 12.3 ms after it was due
        warning: down, one of them: put: no quorum
        warning: unknown, one of them: put: it was not answered
        warning: wrong, one of them: get: bench/000000007 holds null
    "#]].assert_eq(&report(200).to_text());
}

#[test]
fn two_reports_are_compared_and_what_differs_is_told() {
    let (first, mut second) = (report(200), report(300));
    expect![[r#"
        A: a, get=50,put=50, 2026-01-01T00:00:00Z
        B: b, get=50,put=50, 2026-01-01T00:00:00Z
        settings: the same

                                                A      B   B/A
        get        per second                 500    500  1.00
                   mean ms                  0.700  0.800  1.14
                   p50 ms                   0.699  0.799  1.14
                   p90 ms                    1.10   1.20  1.09
                   p99 ms                    1.19   1.29  1.08
                   p99.9 ms                  1.20   1.30  1.08
                   max ms                    1.20   1.30  1.08
                   wrong                        1      1
        put        per second                 500    500  1.00
                   mean ms                   5.30   5.70  1.08
                   p50 ms                    5.29   5.69  1.08
                   p90 ms                    8.90   9.30  1.05
                   p99 ms                    9.71   10.1  1.04
                   p99.9 ms                  9.79   10.2  1.04
                   max ms                    9.80   10.2  1.04
                   refused                      1      1
                   unknown                      1      1
                   errors                       1      1
        all        per second               1,000  1,000  1.00
                   mean ms                   3.00   3.25  1.08
                   p50 ms                    1.16   1.29  1.11
                   p90 ms                    7.99   8.40  1.05
                   p99 ms                    9.62   10.0  1.04
                   p99.9 ms                  9.77   10.2  1.04
                   max ms                    9.80   10.2  1.04
                   refused                      1      1
                   unknown                      1      1
                   wrong                        1      1
                   errors                       1      1
        generator  µs a request               898    898  1.00
        processes  s for 1,000              0.798  0.798  1.00
                   MiB in all                 132    132  1.00
                   bytes written a request   1422   1422  1.00
    "#]]
    .assert_eq(&compare(["a", "b"], [&first, &second]).expect("alike"));
    second.settings.clients = 16;
    second.settings.rate = None;
    second.host.cores = 8;
    let text = compare(["a", "b"], [&first, &second]).expect("alike");
    let notes: String =
        text.lines().filter(|l| l.starts_with("note")).map(|l| format!("{l}\n")).collect();
    expect![[r#"
        note: clients is 64 in A and 16 in B
        note: rate is 1052.0 in A and null in B
        note: cores is 2 in A and 8 in B
    "#]]
    .assert_eq(&notes);
    second.results.operations.clear();
    let message = compare(["a", "b"], [&first, &second]).expect_err("nothing in common");
    assert!(message.contains("no operation is in both"), "{message}");
}

#[test]
fn a_report_comes_back_from_its_json_and_others_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.json");
    let report = report(200);
    let mut value = serde_json::to_value(&report).expect("JSON");
    std::fs::write(&path, value.to_string()).expect("written");
    assert_eq!(read(&path).expect("it is whole"), report);
    let counted: u64 = report.results.all.histogram_ns.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, 2_000, "the histogram holds every right answer");
    for (field, wrong, part) in [
        ("results", serde_json::json!({}), "not whole"),
        ("version", 2.into(), "version 2"),
        ("format", "other".into(), "no report"),
    ] {
        value[field] = wrong;
        std::fs::write(&path, value.to_string()).expect("written");
        let message = read(&path).expect_err(field);
        assert!(message.contains(part) && message.contains("a.json"), "{message}");
    }
    std::fs::write(&path, "{").expect("written");
    assert!(read(&path).expect_err("cut off").contains("no JSON"));
}
