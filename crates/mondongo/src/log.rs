//! `mondongo log`: what the log in a node's folder says, as text or JSON (spec D5).

use api::{Call, Options, Request};
use clap::Args;
use serde_json::{Value, json};
use server::inspect::{Body, EntryBody, LogRecord, MembershipShown, follow_log, read_log};
use std::cell::RefCell;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Characters of a request that are shown in a line of text.
const REQUEST_CHARACTERS_MAX: usize = 100;

/// Show what the log in a node's folder says.
#[derive(Debug, Args)]
#[command(after_long_help = LOG_HELP)]
pub(crate) struct LogArguments {
    /// The folder of the node
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,

    /// The first slot to show
    #[arg(long, value_name = "SLOT", default_value_t = 0)]
    pub(crate) from: u64,

    /// The last slot to show
    #[arg(long, value_name = "SLOT", default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) to: u64,

    /// Show every record in the order of writing, with promises and bases
    #[arg(long)]
    pub(crate) records: bool,

    /// One line of JSON for each, with whole requests
    #[arg(long)]
    pub(crate) json: bool,

    /// Go on with what is written, until interrupted
    #[arg(long, short)]
    pub(crate) follow: bool,
}

const LOG_HELP: &str = "\
Each line is a slot: its number, whether the log says that it is decided (d) or only accepted (a; it may
be decided all the same), ballot, and what it does. A command is shown with the clock of the node that
took it, its reference, and the request.

The node may be running; then this shows what is on the disk. The exit status is 1 if the log is damaged,
after what stands before the damage was shown.

With --follow entries are shown as they come, when they are accepted: one that is replaced before it is
decided is followed by the other under the same slot. An interrupt (Ctrl-C) ends it, with exit status 0.

Examples:
  mondongo log db
  mondongo log db --from 100 --to 120 --json
  mondongo log db --records
  mondongo log db --follow --json";

/// Between two looks at a log that is followed.
const LOOK_WAIT: Duration = Duration::from_millis(200);

/// Runs the subcommand.
pub(crate) fn run(arguments: &LogArguments) -> ExitCode {
    let out = RefCell::new(BufWriter::new(io::stdout().lock()));
    let mut written = Ok(());
    let show = |record: LogRecord| {
        let line = if arguments.json { json_line(&record) } else { text_line(&record) };
        written = writeln!(out.borrow_mut(), "{line}");
        written.is_ok()
    };
    let LogArguments { folder, from, to, records, .. } = arguments;
    let read = if arguments.follow {
        let mut interrupt = match Interrupt::new() {
            Ok(interrupt) => interrupt,
            Err(error) => {
                eprintln!("error: cannot wait for signals: {error}");
                return ExitCode::FAILURE;
            }
        };
        follow_log(folder, *from, *to, *records, show, || {
            // What cannot be written now will not be written later.
            out.borrow_mut().flush().is_ok() && interrupt.wait(LOOK_WAIT)
        })
    } else {
        read_log(folder, *from, *to, *records, show)
    };
    let written = written.and_then(|()| out.borrow_mut().flush());
    if let Err(error) = read {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Tells when somebody wants the program to end.
struct Interrupt {
    runtime: Runtime,
    signals: [Signal; 2],
}

impl Interrupt {
    fn new() -> io::Result<Interrupt> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]
        };
        Ok(Interrupt { runtime, signals })
    }

    /// Waits that long; false, at once, if the program is to end.
    fn wait(&mut self, time: Duration) -> bool {
        let [interrupt, terminate] = &mut self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => false,
                _ = terminate.recv() => false,
                () = tokio::time::sleep(time) => true,
            }
        })
    }
}

fn text_line(record: &LogRecord) -> String {
    let place = format!("{}:{}", record.segment, record.offset);
    match &record.body {
        Body::Promise { ballot } => format!("promise  {ballot}  at {place}"),
        Body::Decided { slot } => format!("decided  up to {slot}  at {place}"),
        Body::Base { slot, promised, membership_slot, membership } => format!(
            "base     a snapshot stands for slots up to {slot}, promised {promised}, \
             members of slot {membership_slot}: {}  at {place}",
            members_text(membership)
        ),
        Body::Accept { slot, ballot, is_decided, entry, .. } => {
            let state = if *is_decided { 'd' } else { 'a' };
            format!("{slot:>8} {state} {ballot}  {}", entry_text(entry))
        }
    }
}

fn entry_text(entry: &EntryBody) -> String {
    match entry {
        EntryBody::Blank => "blank".into(),
        EntryBody::Unreadable { reason } => format!("unreadable: {reason}"),
        EntryBody::Membership(membership) => format!("membership {}", members_text(membership)),
        EntryBody::Command { reference, time_ms, request, .. } => {
            format!("{} {reference} {}", time(*time_ms), cut(&request_json(request)))
        }
    }
}

fn members_text(membership: &MembershipShown) -> String {
    let members = membership.members.iter().map(|member| {
        let standing = match member.standing {
            "voter" => String::new(),
            other => format!(" ({other})"),
        };
        format!("{}={}{standing}", member.node, member.address)
    });
    members.collect::<Vec<_>>().join(" ")
}

/// The clock as in RFC 3339, in UTC.
fn time(milliseconds: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
    // Clocks are what they are: one far off is shown as a number.
    const YEAR_10000_MS: u64 = 253_402_300_800_000;
    match time {
        Some(time) if milliseconds < YEAR_10000_MS => {
            humantime::format_rfc3339_millis(time).to_string()
        }
        _ => format!("{milliseconds}ms"),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(REQUEST_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_string(),
    }
}

fn request_json(request: &Request) -> String {
    let mut out = Vec::new();
    let call = Call { request: request.clone(), options: Options::default() };
    api::encode::write_call(&call, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn json_line(record: &LogRecord) -> String {
    let mut line = match &record.body {
        Body::Promise { ballot } => json!({ "record": "promise", "ballot": ballot }),
        Body::Decided { slot } => json!({ "record": "decided", "slot": slot }),
        Body::Base { slot, promised, membership_slot, membership } => json!({
            "record": "base",
            "slot": slot,
            "promised": promised,
            "membership_slot": membership_slot,
            "membership": membership_json(membership),
        }),
        Body::Accept { slot, ballot, is_decided, bytes, entry } => {
            let mut line = json!({
                "record": "accept",
                "slot": slot,
                "ballot": ballot,
                "decided": is_decided,
                "bytes": bytes,
            });
            add_entry(&mut line, entry);
            line
        }
    };
    line["at"] = format!("{}:{}", record.segment, record.offset).into();
    line.to_string()
}

fn add_entry(line: &mut Value, entry: &EntryBody) {
    match entry {
        EntryBody::Blank => line["kind"] = "blank".into(),
        EntryBody::Unreadable { reason } => {
            line["kind"] = "unreadable".into();
            line["reason"] = reason.as_str().into();
        }
        EntryBody::Membership(membership) => {
            line["kind"] = "membership".into();
            line["membership"] = membership_json(membership);
        }
        EntryBody::Command { reference, acked, time_ms, request } => {
            line["kind"] = "command".into();
            line["reference"] = reference.to_string().into();
            line["acked"] = (*acked).into();
            line["time_ms"] = (*time_ms).into();
            line["operation"] = request.name().into();
            // What is no JSON of this kind is shown as text.
            let text = request_json(request);
            line["request"] = serde_json::from_str(&text).unwrap_or_else(|_| text.into());
        }
    }
}

fn membership_json(membership: &MembershipShown) -> Value {
    let members: Vec<Value> = (membership.members.iter())
        .map(|m| json!({ "node": m.node, "address": m.address, "standing": m.standing }))
        .collect();
    json!({
        "policy": membership.policy,
        "level": membership.level,
        "members": members,
        "removed": membership.removed,
    })
}
