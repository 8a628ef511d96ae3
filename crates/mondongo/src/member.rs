//! `mondongo member`: who takes part in a group, and changes of it (spec D16).

use crate::ask::ask;
use crate::raise;
use api::{MemberChange, Request, Value, json};
use clap::{Args, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// How long a change may take: another node may have to catch up or to take over first.
const CHANGE_TIME: Duration = Duration::from_secs(15);

/// Show who takes part in a group, and change it.
#[derive(Debug, Args)]
#[command(after_long_help = MEMBER_HELP)]
pub(crate) struct MemberArguments {
    #[command(subcommand)]
    action: Action,

    /// Print one line of JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the members
    List(Group),
    /// Let a node that was removed join again (new nodes join by themselves: mondongo serve)
    Add(Named),
    /// Let a node take part no more; it says so and stops
    Remove(Named),
    /// Let a node that is still catching up count for majorities now
    Promote(Named),
    /// Let a node lead; without a node, whoever is best prepared, other than the present leader
    Lead(Lead),
    /// Let one of two voters go on without the other one, which is gone for good
    Alone(Alone),
    /// Raise the feature level of the group, once every node runs a version that knows it
    Raise(Raise),
}

#[derive(Debug, Args)]
struct Group {
    /// Members of the group, any of them; the first that answers is asked
    #[arg(value_name = "HOST:PORT[,HOST:PORT…]")]
    members: String,
}

#[derive(Debug, Args)]
struct Named {
    #[command(flatten)]
    group: Group,

    /// The node: its id, or the address of a member, as "list" shows them
    #[arg(value_name = "NODE")]
    node: String,
}

#[derive(Debug, Args)]
struct Lead {
    #[command(flatten)]
    group: Group,

    /// The node: its id or its address
    #[arg(value_name = "NODE")]
    node: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = ALONE_HELP)]
struct Alone {
    /// The voter that is left: this node alone is asked
    #[arg(value_name = "HOST:PORT")]
    survivor: String,

    /// The voter that is gone: its id or its address, as "list" shows them
    #[arg(value_name = "NODE")]
    without: String,

    /// You vouch that NODE and its data will never come back, and that it was not told to go on alone itself
    #[arg(long, required = true)]
    the_other_is_gone_for_good: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = RAISE_HELP)]
struct Raise {
    #[command(flatten)]
    group: Group,

    /// The level [default: the newest that a member knows]
    #[arg(value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..))]
    level: Option<u32>,

    /// You vouch that members which do not answer now will run a version that knows the level when they are back
    #[arg(long)]
    the_silent_will_know_it: bool,
}

const RAISE_HELP: &str = "\
The feature level says what the entries of the group's log mean. A new version serves a group of an
earlier level as ever, so that nodes can be replaced one by one; what is new in the level begins
when it is raised. There is no way back: nodes of an earlier version then stop, and say so.

Every member, those away included, is asked first. It is refused if one does not know the level, or
does not answer.

Example:
  mondongo member raise localhost:8000";

const ALONE_HELP: &str = "\
Of two voters neither can decide anything without the other, so each holds all that was acknowledged.
If one is gone for good, its disk included, the other one can go on alone and loses nothing. It
removes the other one from the group by an entry of its log; whatever comes back at that address
joins as a new node.

Say this to ONE of the two, ever. If both are told, or the data of the one that is gone is started
elsewhere after it was told the same, there are two groups that both take writes, and nothing
brings them together again.

It is refused where there are more than two voters, and while the other one is heard.

Example:
  mondongo member alone localhost:8000 localhost:8001 --the-other-is-gone-for-good";

const MEMBER_HELP: &str = "\
A change is answered when the group has decided it. A change that could leave the group unable to
decide is refused: removing the last voter, or so many that those in reach are no majority.

A member that is out of reach for the time of \"serve --evict-after\" is no longer waited for (away); it
is let in again by itself when it is back. A node that was removed is not.

Examples:
  mondongo member list localhost:8000
  mondongo member remove localhost:8000 localhost:8002
  mondongo member lead localhost:8000,localhost:8001 localhost:8001";

/// Runs the subcommand.
pub(crate) fn run(arguments: &MemberArguments) -> ExitCode {
    let wanted = request_of(&arguments.action);
    match wanted.and_then(|(addresses, request)| ask_any(&addresses, &request)) {
        Ok(members) => {
            let text =
                if arguments.json { json::to_string(&members) + "\n" } else { as_table(&members) };
            // Whoever closed the output wants no more of it.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Whom to ask, and what.
fn request_of(action: &Action) -> Result<(Vec<&str>, Request), String> {
    let (members, request) = match action {
        Action::List(group) => (&group.members, Request::Members),
        Action::Add(Named { group, node }) => {
            (&group.members, Request::Member(MemberChange::Add { node: node.clone() }))
        }
        Action::Remove(Named { group, node }) => {
            (&group.members, Request::Member(MemberChange::Remove { node: node.clone() }))
        }
        Action::Promote(Named { group, node }) => {
            (&group.members, Request::Member(MemberChange::Promote { node: node.clone() }))
        }
        Action::Lead(Lead { group, node }) => {
            (&group.members, Request::Member(MemberChange::Lead { node: node.clone() }))
        }
        Action::Alone(Alone { survivor, without, the_other_is_gone_for_good: _ }) => {
            (survivor, Request::Member(MemberChange::Alone { without: without.clone() }))
        }
        Action::Raise(Raise { group, level, the_silent_will_know_it }) => {
            let level = raise::level_for(&group.members, *level, *the_silent_will_know_it)?;
            (&group.members, Request::Member(MemberChange::Raise { level }))
        }
    };
    let addresses = match action {
        // That one alone: another one must not be told the same.
        Action::Alone(_) => vec![members.as_str()],
        _ => members.split(',').collect(),
    };
    Ok((addresses, request))
}

/// Asks the first that can be reached. A refusal is an answer, too; "down" is not.
fn ask_any(addresses: &[&str], request: &Request) -> Result<Value, String> {
    let mut trouble = String::new();
    for address in addresses {
        match ask(address, request.clone(), CHANGE_TIME) {
            Ok(value) => return Ok(value),
            Err(error) if error.starts_with("refused:") || error.starts_with("bad_request:") => {
                return Err(error);
            }
            Err(error) => trouble = format!("{address}: {error}"),
        }
    }
    Err(trouble)
}

fn as_table(members: &Value) -> String {
    let members = members.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text =
        format!("{:<18}{:<26}{:<9}{:<8}{:>10}\n", "NODE", "ADDRESS", "ROLE", "REACHED", "LAG");
    for member in members.iter().filter_map(Value::as_document) {
        let word = |name: &str| member.get_str(name).unwrap_or("?").to_owned();
        let is = |name: &str| member.get_bool(name).unwrap_or(false);
        let role = match (is("leader"), is("voter")) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        // Only a leader knows.
        let reached = member.get_bool("reachable").map_or("?", |is| if is { "yes" } else { "no" });
        let lag = member.get_i64("lag").map_or_else(|_| "?".into(), |lag| lag.to_string());
        let (node, address) = (word("node"), word("address"));
        text += &format!("{node:<18}{address:<26}{role:<9}{reached:<8}{lag:>10}\n");
    }
    text
}
