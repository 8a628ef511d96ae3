//! `mondongo cli`: the prompt, and commands from `-c` or a pipe (spec D3, D4).

mod completion;
mod language;
mod prompt;
mod render;
mod request;
mod session;

use crate::args::CliArguments;
use crate::folder::LocalNode;
use client::Client;
use server::Access;
use session::{Session, Verdict};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit status for wrong arguments, as clap's.
const WRONG_ARGUMENTS: u8 = 2;

/// Runs the subcommand.
pub(crate) fn run(arguments: &CliArguments) -> ExitCode {
    if arguments.members == "help" {
        print!("{}", render::HELP);
        return ExitCode::SUCCESS;
    }
    let target = match parse_target(&arguments.members) {
        Ok(target) => target,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    match talk(&target, arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read the output wanted no more of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whom the prompt talks to.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// Members of a group.
    Members(Vec<String>),
    /// The node of a folder, within this process.
    Folder(PathBuf),
}

/// Whether every command succeeded.
fn talk(target: &Target, arguments: &CliArguments) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let refused = |error: api::Error| io::Error::other(error.message);
    match target {
        Target::Members(members) => {
            let connect = Client::connect(members, client::Options::default());
            let client = runtime.block_on(connect).map_err(refused)?;
            run_session(&runtime, Session::new(client, arguments.json), arguments)
        }
        Target::Folder(path) => {
            let node = LocalNode::open(path).map_err(io::Error::other)?;
            let client = runtime.block_on(node.client(client::Options::default()));
            let mut session = Session::new(client.map_err(refused)?, arguments.json);
            match &node.access {
                Access::Full { is_new: true } => {
                    eprintln!("{} is new: a group of one", path.display());
                }
                Access::Full { is_new: false } => {}
                Access::ReadOnly { reason } => {
                    eprintln!("{} can only be read: {reason}", path.display());
                    session.read_locally();
                }
            }
            let ran = run_session(&runtime, session, arguments);
            // The connections go with the runtime's tasks; without them the node stops at once.
            drop(runtime);
            let closed = node.close().map_err(io::Error::other);
            let all_succeeded = ran?;
            closed.map(|()| all_succeeded)
        }
    }
}

fn run_session(
    runtime: &tokio::runtime::Runtime,
    mut session: Session,
    arguments: &CliArguments,
) -> io::Result<bool> {
    if !arguments.commands.is_empty() {
        let lines = arguments.commands.iter().map(|command| Ok(command.clone()));
        run_lines(runtime, &mut session, lines)
    } else if io::stdin().is_terminal() {
        prompt::run(runtime, &mut session).map(|()| true)
    } else {
        run_lines(runtime, &mut session, io::stdin().lock().lines())
    }
}

/// Runs commands until there are no more, one says `exit`, or no node can be reached.
fn run_lines(
    runtime: &tokio::runtime::Runtime,
    session: &mut Session,
    lines: impl Iterator<Item = io::Result<String>>,
) -> io::Result<bool> {
    let mut all_succeeded = true;
    let mut out = io::stdout().lock();
    for line in lines {
        let outcome = runtime.block_on(session.run(&line?));
        out.write_all(outcome.output.as_bytes())?;
        // Whoever holds the other ends of the pipes may wait for this answer before the next command.
        out.flush()?;
        io::stderr().write_all(outcome.error.as_bytes())?;
        match outcome.verdict {
            Verdict::Done => {}
            Verdict::Failed => all_succeeded = false,
            Verdict::Unreachable => {
                all_succeeded = false;
                break;
            }
            Verdict::Exit => break,
        }
    }
    Ok(all_succeeded)
}

/// A folder is what is one; of what is not there, whatever cannot be meant as an address.
fn parse_target(text: &str) -> Result<Target, String> {
    if Path::new(text).is_dir() {
        return Ok(Target::Folder(text.into()));
    }
    let members: Vec<String> = text.split(',').map(|member| member.trim().to_string()).collect();
    let is_address = |member: &String| {
        let port = member.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    let Some(wrong) = members.iter().find(|member| !is_address(member)) else {
        return Ok(Target::Members(members));
    };
    let is_host = wrong.is_empty() || wrong == "localhost" || wrong.parse::<IpAddr>().is_ok();
    if members.len() > 1 || is_host || (wrong.contains(':') && !wrong.contains('/')) {
        return Err(format!("{wrong:?} is no address: write HOST:PORT, as in localhost:8000"));
    }
    if Path::new(text).exists() {
        return Err(format!("{text} is a file; name a folder, or HOST:PORT"));
    }
    Ok(Target::Folder(text.into()))
}

#[cfg(test)]
mod tests {
    use super::{Target, parse_target};

    #[test]
    fn targets_are_addresses_or_folders() {
        let target = parse_target("localhost:8000, [::1]:8001").expect("addresses");
        let members = ["localhost:8000", "[::1]:8001"].map(String::from).to_vec();
        assert_eq!(target, Target::Members(members));
        for text in
            ["localhost", ":8000", "localhost:", "localhost:0", "db:99999", "a:1,", "", "a,b"]
        {
            let message = parse_target(text).expect_err(text);
            assert!(message.contains("no address"), "{message}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        for path in [folder.path().to_path_buf(), folder.path().join("new"), "db".into()] {
            let text = path.display().to_string();
            assert_eq!(parse_target(&text).expect("a folder"), Target::Folder(path));
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let message = parse_target(&file.display().to_string()).expect_err("a file");
        assert!(message.contains("is a file"), "{message}");
    }
}
