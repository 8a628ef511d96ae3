//! `mondongo status`: what each node of a group says of itself (spec D5, X3).

use crate::ask::ask;
use api::{Document, Request, Value, json};
use clap::Args;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// How long one node may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// How long it may take if it has to read its whole store for the answer.
const HASH_TIME: Duration = Duration::from_secs(120);

/// Show the role and progress of every node of a group.
#[derive(Debug, Args)]
#[command(after_long_help = STATUS_HELP)]
pub(crate) struct StatusArguments {
    /// Members of the group, any of them; the others are found through them
    #[arg(value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub(crate) members: Vec<String>,

    /// Print one line of JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// Also show a hash of each node's content and the slot it holds for; reads the whole store
    #[arg(long)]
    pub(crate) hash: bool,
}

const STATUS_HELP: &str = "\
A slot is a position of the replicated log. ACCEPTED is the last that the node holds, DECIDED the
last that it knows to be decided, APPLIED the last that its store has executed. LAG is how many
slots its log is behind the leader's, as the leader sees it.

The exit status is 0 if a leader is known, else 1.

Examples:
  mondongo status localhost:8000
  mondongo status localhost:8000,localhost:8001 --json";

/// One node and what it answered.
pub(crate) struct Asked {
    pub(crate) address: String,
    pub(crate) answer: Result<Document, String>,
}

/// The list of those who take part, in an answer.
const MEMBERS: &[&str] = &["members"];
/// The lists of those and of who is no longer waited for.
pub(crate) const MEMBERS_AND_AWAY: &[&str] = &["members", "away"];

/// Runs the subcommand.
pub(crate) fn run(arguments: &StatusArguments) -> ExitCode {
    let nodes = ask_all(&arguments.members, MEMBERS, arguments.hash);
    let leader = leader_of(&nodes);
    let text = if arguments.json {
        json::to_string(&as_json(&nodes, leader.as_deref())) + "\n"
    } else {
        as_table(&nodes, leader.as_deref(), arguments.hash)
    };
    // Whoever closed the output wants no more of it.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if leader.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Asks the given addresses, and then everybody whom one of them has in one of `lists` and who has not answered.
pub(crate) fn ask_all(given: &[String], lists: &[&str], hash: bool) -> Vec<Asked> {
    let mut nodes: Vec<Asked> = Vec::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> = given.to_vec();
    while !next.is_empty() {
        next.retain(|address| known.insert(address.clone()));
        let asking: Vec<_> =
            (next.drain(..)).map(|address| thread::spawn(move || ask_one(address, hash))).collect();
        for asked in asking {
            // A thread that panicked has said so.
            let Ok(asked) = asked.join() else { continue };
            let answered = nodes.iter().any(|node| is_same_node(node, &asked));
            if !answered {
                nodes.push(asked);
            }
        }
        let answers = nodes.iter().filter_map(|node| node.answer.as_ref().ok());
        let own = answers.clone().filter_map(|answer| answer.get_str("address").ok());
        known.extend(own.map(str::to_string));
        let list =
            |answer| lists.iter().filter_map(move |list| Document::get_array(answer, list).ok());
        let members = answers.flat_map(list).flatten();
        let addresses = members.filter_map(|member| member.as_document()?.get_str("address").ok());
        next = addresses.filter(|address| !known.contains(*address)).map(str::to_string).collect();
        next.sort();
        next.dedup();
    }
    nodes
}

fn ask_one(address: String, hash: bool) -> Asked {
    let time = if hash { HASH_TIME } else { ANSWER_TIME };
    let answer = match ask(&address, Request::Status { hash }, time) {
        Ok(Value::Document(status)) => Ok(status),
        Ok(other) => Err(format!("it answers {other} instead of its status")),
        Err(error) => Err(error),
    };
    Asked { address, answer }
}

fn is_same_node(one: &Asked, other: &Asked) -> bool {
    match (&one.answer, &other.answer) {
        (Ok(one), Ok(other)) => one.get("node").is_some() && one.get("node") == other.get("node"),
        _ => false,
    }
}

/// The address of the leader that the node with the highest applied slot knows.
fn leader_of(nodes: &[Asked]) -> Option<String> {
    let answers = nodes.iter().filter_map(|node| node.answer.as_ref().ok());
    let knowing = answers.filter(|answer| answer.get_str("leader_address").is_ok());
    let best = knowing.max_by_key(|answer| answer.get_i64("decided").unwrap_or(0))?;
    best.get_str("leader_address").ok().map(str::to_string)
}

/// What the leader says of how far behind each node is.
fn lag_of(nodes: &[Asked], node: &str) -> Option<i64> {
    let answers = nodes.iter().filter_map(|node| node.answer.as_ref().ok());
    let mut leading =
        answers.filter(|answer| answer.get_str("role").is_ok_and(|role| role == "leader"));
    let members = leading.next()?.get_array("members").ok()?;
    let mut members = members.iter().filter_map(Value::as_document);
    members.find(|member| member.get_str("node").is_ok_and(|id| id == node))?.get_i64("lag").ok()
}

fn as_json(nodes: &[Asked], leader: Option<&str>) -> Value {
    let list = nodes.iter().map(|node| {
        let mut about = Document::new();
        about.insert("asked", node.address.as_str());
        about.insert("reachable", node.answer.is_ok());
        match &node.answer {
            Ok(answer) => about.extend(answer.clone()),
            Err(error) => {
                about.insert("error", error.as_str());
            }
        }
        Value::Document(about)
    });
    let mut all = Document::new();
    all.insert("leader_address", leader);
    all.insert("nodes", list.collect::<Vec<_>>());
    Value::Document(all)
}

fn as_table(nodes: &[Asked], leader: Option<&str>, hash: bool) -> String {
    let mut head =
        vec!["ADDRESS", "NODE", "ROLE", "BALLOT", "ACCEPTED", "DECIDED", "APPLIED", "LAG"];
    if hash {
        head.extend(["HASH", "AT SLOT"]);
    }
    let mut rows = vec![head.into_iter().map(str::to_string).collect::<Vec<_>>()];
    let mut unreachable = String::new();
    for node in nodes {
        let answer = match &node.answer {
            Ok(answer) => answer,
            Err(error) => {
                unreachable += &format!("{} is unreachable: {error}\n", node.address);
                continue;
            }
        };
        let text = |name: &str| show(answer.get(name));
        let id = text("node");
        let mut row = vec![node.address.clone(), id.clone(), text("role"), text("ballot")];
        row.extend(["accepted", "decided", "applied"].map(text));
        row.push(lag_of(nodes, &id).map_or("-".into(), |lag| lag.to_string()));
        if hash {
            row.extend(["hash", "hash_slot"].map(text));
        }
        rows.push(row);
    }
    let mut out = if rows.len() > 1 { align(&rows) } else { String::new() };
    out += &unreachable;
    for node in nodes {
        if let Some(advice) = node.answer.as_ref().ok().and_then(|a| a.get_str("advice").ok()) {
            out += &format!("{}: {advice}.\n", node.address);
        }
    }
    match leader {
        Some(leader) => out += &format!("The leader is at {leader}.\n"),
        None => out += "No leader is known.\n",
    }
    out
}

fn show(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => json::to_string(other),
    }
}

fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out += cells.join("  ").trim_end();
        out.push('\n');
    }
    out
}
