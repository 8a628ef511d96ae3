//! `mondongo cli`: the prompt, and commands from `-c` or a pipe (spec D3).

mod completion;
mod language;
mod prompt;
mod render;
mod request;
mod session;

use crate::args::CliArguments;
use client::Client;
use session::{Session, Verdict};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Exit status for wrong arguments, as clap's.
const WRONG_ARGUMENTS: u8 = 2;

/// Runs the subcommand.
pub(crate) fn run(arguments: &CliArguments) -> ExitCode {
    if arguments.members == "help" {
        print!("{}", render::HELP);
        return ExitCode::SUCCESS;
    }
    let members = match parse_members(&arguments.members) {
        Ok(members) => members,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    match talk(&members, arguments) {
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

/// Whether every command succeeded.
fn talk(members: &[String], arguments: &CliArguments) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = runtime
        .block_on(Client::connect(members, client::Options::default()))
        .map_err(|error| io::Error::other(error.message))?;
    let mut session = Session::new(client, arguments.json);
    if !arguments.commands.is_empty() {
        let lines = arguments.commands.iter().map(|command| Ok(command.clone()));
        run_lines(&runtime, &mut session, lines)
    } else if io::stdin().is_terminal() {
        prompt::run(&runtime, &mut session).map(|()| true)
    } else {
        run_lines(&runtime, &mut session, io::stdin().lock().lines())
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

fn parse_members(text: &str) -> Result<Vec<String>, String> {
    let members: Vec<String> = text.split(',').map(|member| member.trim().to_string()).collect();
    for member in &members {
        let port = member.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            continue;
        }
        if Path::new(member).is_dir() {
            return Err(format!(
                "{member} is a folder, and a folder without a server cannot be opened in this \
                 version yet; serve it (mondongo serve {member} localhost:8000) and connect to that"
            ));
        }
        return Err(format!("{member:?} is no address: write HOST:PORT, as in localhost:8000"));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::parse_members;

    #[test]
    fn members_are_addresses() {
        let members = parse_members("localhost:8000, [::1]:8001").expect("addresses");
        assert_eq!(members, ["localhost:8000", "[::1]:8001"]);
        for text in
            ["localhost", ":8000", "localhost:", "localhost:0", "localhost:99999", "a:1,", ""]
        {
            let message = parse_members(text).expect_err(text);
            assert!(message.contains("no address"), "{message}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let message = parse_members(&folder.path().display().to_string()).expect_err("a folder");
        assert!(message.contains("is a folder"), "{message}");
    }
}
