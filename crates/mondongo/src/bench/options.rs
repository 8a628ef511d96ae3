//! What to measure, and how: the command line.

use super::arrivals::Form;
use super::content::RANGE_NEEDS;
use super::keys::Distribution;
use super::mix::{Mix, Operation};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Measure a group: so many clients, or so many requests a second.
#[derive(Debug, Args)]
#[command(after_long_help = BENCH_HELP)]
pub(crate) struct BenchArguments {
    /// Members of the group, any of them
    #[arg(value_name = "HOST:PORT", value_delimiter = ',', required_unless_present = "compare")]
    pub(crate) members: Vec<String>,

    /// What is asked: put, get, get-local, swap, cas, insert, search, range, update or batch; or several with weights
    #[arg(long, value_name = "NAME[=WEIGHT],…", default_value = "put", value_parser = Mix::parse)]
    pub(crate) operation: Mix,

    /// Clients, each with a connection of its own
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) clients: u64,

    /// Requests that each connection has under way
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) pipeline: u64,

    /// Threads that the clients are divided over
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) threads: u64,

    /// Requests a second, sent when they are due and not when others are answered; without it every client
    /// sends its next request when it has the answer
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// How the requests of --rate are spread over time
    #[arg(long, value_name = "FORM", requires = "rate")]
    pub(crate) arrivals: Option<Form>,

    /// Keys, or documents, that are written and read
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=999_999_999))]
    pub(crate) keys: u64,

    /// Which of them are meant how often
    #[arg(long, value_name = "NAME", default_value = "uniform")]
    pub(crate) distribution: Distribution,

    /// How uneven zipf is [default: 0.99]
    #[arg(long, value_name = "NUMBER", value_parser = exponent)]
    pub(crate) zipf_exponent: Option<f64>,

    /// Bytes of the value of a key
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=8_388_608))]
    pub(crate) value_bytes: u64,

    /// Writes in one request of the operation batch
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) batch: u64,

    /// The collection of the documents
    #[arg(long, value_name = "NAME", default_value = "bench")]
    pub(crate) collection: String,

    /// Lots are drawn from this number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Write the keys and documents that the operations find, before anything else
    #[arg(long)]
    pub(crate) preload: bool,

    /// Time before requests count [default: 1s; 0s with --count]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) warm_up: Option<Duration>,

    /// For how long requests count [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,

    /// How many requests count
    #[arg(long, value_name = "COUNT", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// How long one request may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,

    /// Connect every client to the first member
    #[arg(long)]
    pub(crate) first: bool,

    /// Spread the clients over all members (the default)
    #[arg(long, conflicts_with = "first")]
    pub(crate) spread: bool,

    /// Also tell what these processes use: the nodes, if they run on this machine
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,

    /// Answer with one line of JSON, and show nothing else
    #[arg(long)]
    pub(crate) json: bool,

    /// Also write the JSON into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,

    /// Measure nothing: compare two files of --output, the second beside the first
    #[arg(long, num_args = 2, value_names = ["FILE", "FILE"], exclusive = true)]
    pub(crate) compare: Option<Vec<PathBuf>>,
}

const BENCH_HELP: &str = "\
Without --rate every client sends a request when it has the answer to the one before. With --rate the times
at which requests are due are fixed beforehand, any client that is free takes the next, and the time of a
request counts from when it was due: a stall shows in all requests that it held up.

Keys begin with bench/ and stay in the store, as do the documents of the collection. get, get-local, search,
range and update need them: say --preload once. --preload removes what the collection held.

Every answer is checked. Right answers have a time; refused (the members have too much to do), unknown (no
answer in time) and wrong ones, and errors, are counted apart.

Ctrl-C ends the measurement early; what was measured is shown.

The exit status is 0 if every answer was right or refused, 1 if not, 2 for wrong arguments, 3 if nothing could
be measured.

Examples:
  mondongo bench localhost:8000,localhost:8001,localhost:8002 --operation put --clients 64
  mondongo bench localhost:8000 --operation get=80,put=20 --distribution zipf --preload --output a.json
  mondongo bench localhost:8000 --operation put --rate 5000 --duration 1m
  mondongo bench --compare a.json b.json";

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|_| "it is no number".to_string())?;
    let allowed = 0.001..=10_000_000.0;
    let wrong = || "a rate is from 0.001 to 10000000 requests a second".to_string();
    allowed.contains(&number).then_some(number).ok_or_else(wrong)
}

fn exponent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|_| "it is no number".to_string())?;
    let wrong = || "an exponent is from 0.01 to 10".to_string();
    (0.01..=10.0).contains(&number).then_some(number).ok_or_else(wrong)
}

const ZIPF_EXPONENT: f64 = 0.99;
const WARM_UP: Duration = Duration::from_secs(1);
const DURATION: Duration = Duration::from_secs(10);
/// A measurement may not last longer.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// All that decides what is measured, as the report tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) members: Vec<String>,
    /// `first` or `spread`.
    pub(crate) connected_to: String,
    pub(crate) operation: String,
    pub(crate) clients: u64,
    pub(crate) pipeline: u64,
    pub(crate) threads: u64,
    /// None: a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) arrivals: Option<String>,
    pub(crate) keys: u64,
    pub(crate) distribution: String,
    pub(crate) zipf_exponent: Option<f64>,
    pub(crate) value_bytes: u64,
    pub(crate) batch: Option<u64>,
    pub(crate) collection: Option<String>,
    pub(crate) seed: u64,
    pub(crate) preload: bool,
    pub(crate) warm_up_s: f64,
    pub(crate) duration_s: Option<f64>,
    pub(crate) count: Option<u64>,
    pub(crate) timeout_s: f64,
}

impl BenchArguments {
    /// What the report tells of them.
    ///
    /// # Errors
    /// In words, what does not go together.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        for member in &self.members {
            let port = member.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
                return Err(format!(
                    "{member:?} is no address: write HOST:PORT, as in localhost:8000"
                ));
            }
        }
        if self.threads > self.clients {
            return Err(format!(
                "--threads {} is more than --clients {}: a client lives on one thread",
                self.threads, self.clients
            ));
        }
        if self.zipf_exponent.is_some() && self.distribution != Distribution::Zipf {
            return Err("--zipf-exponent says nothing without --distribution zipf".into());
        }
        let has = |wanted| self.operation.operations().any(|operation| operation == wanted);
        if has(Operation::Range) && self.keys < RANGE_NEEDS {
            return Err(format!(
                "range needs --keys {RANGE_NEEDS} at least, to find its documents"
            ));
        }
        for (name, time, zero_is_meant) in [
            ("--warm-up", self.warm_up(), true),
            ("--duration", self.duration().unwrap_or(DURATION), false),
            ("--timeout", self.timeout, false),
        ] {
            if time > DURATION_MAX || (time.is_zero() && !zero_is_meant) {
                let time = humantime::format_duration(time);
                return Err(format!(
                    "{name} {time}: it must be more than nothing and at most 7 days"
                ));
            }
        }
        let documents = self.operation.operations().any(Operation::is_about_documents);
        let is_zipf = self.distribution == Distribution::Zipf;
        Ok(Settings {
            members: self.members.clone(),
            connected_to: if self.first { "first" } else { "spread" }.into(),
            operation: self.operation.to_string(),
            clients: self.clients,
            pipeline: self.pipeline,
            threads: self.threads,
            rate: self.rate,
            arrivals: self.rate.map(|_| self.form().name().to_string()),
            keys: self.keys,
            distribution: self.distribution.name().to_string(),
            zipf_exponent: is_zipf.then(|| self.exponent()),
            value_bytes: self.value_bytes,
            batch: has(Operation::Batch).then_some(self.batch),
            collection: documents.then(|| self.collection.clone()),
            seed: self.seed,
            preload: self.preload,
            warm_up_s: self.warm_up().as_secs_f64(),
            duration_s: self.duration().map(|time| time.as_secs_f64()),
            count: self.count,
            timeout_s: self.timeout.as_secs_f64(),
        })
    }

    pub(crate) fn form(&self) -> Form {
        self.arrivals.unwrap_or(Form::Poisson)
    }

    pub(crate) fn exponent(&self) -> f64 {
        self.zipf_exponent.unwrap_or(ZIPF_EXPONENT)
    }

    pub(crate) fn warm_up(&self) -> Duration {
        let unsaid = if self.count.is_some() { Duration::ZERO } else { WARM_UP };
        self.warm_up.unwrap_or(unsaid)
    }

    /// None: it ends after a number of requests.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.count.is_none().then(|| self.duration.unwrap_or(DURATION))
    }

    /// How clients behave: what they are refused for lack of room, they tell at once.
    pub(crate) fn client_options(&self) -> client::Options {
        client::Options {
            timeout: self.timeout,
            tries_again_when_busy: false,
            ..client::Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArguments,
    }

    fn parse(line: &str) -> Result<Settings, String> {
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.bench.settings()
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        for (line, part) in [
            ("", "required"),
            ("localhost", "no address"),
            ("a:1 --operation putt", "no operation \"putt\""),
            ("a:1 --operation get=80,put=x", "a weight is"),
            ("a:1 --rate 0", "from 0.001"),
            ("a:1 --rate=-5", "from 0.001"),
            ("a:1 --rate fast", "no number"),
            ("a:1 --arrivals uniform", "--rate"),
            ("a:1 --clients 0", "1..=10000"),
            ("a:1 --clients 2 --threads 3", "a client lives on one thread"),
            ("a:1 --zipf-exponent 1.1", "without --distribution zipf"),
            ("a:1 --distribution zipf --zipf-exponent 0", "from 0.01"),
            ("a:1 --operation range --keys 100", "--keys 160"),
            ("a:1 --duration 1s --count 5", "cannot be used"),
            ("a:1 --duration 0s", "more than nothing"),
            ("a:1 --first --spread", "cannot be used"),
            ("a:1 --compare x y", "cannot be used"),
            ("--compare x", "2 values"),
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn what_is_not_said_is_filled_in() {
        let settings = parse("a:1,b:2").expect("it is whole");
        assert_eq!((settings.warm_up_s, settings.duration_s), (1.0, Some(10.0)));
        assert_eq!((settings.rate, settings.arrivals, settings.batch), (None, None, None));
        assert_eq!(settings.connected_to, "spread");
        let settings =
            parse("a:1 --count 5 --rate 10 --distribution zipf --operation batch --first");
        let settings = settings.expect("it is whole");
        assert_eq!((settings.warm_up_s, settings.duration_s, settings.count), (0.0, None, Some(5)));
        assert_eq!(settings.arrivals.as_deref(), Some("poisson"));
        assert_eq!((settings.zipf_exponent, settings.batch), (Some(0.99), Some(10)));
        assert_eq!(settings.connected_to, "first");
    }
}
