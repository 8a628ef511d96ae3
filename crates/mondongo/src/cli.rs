//! `mondongo cli`: the prompt, and commands from `-c` or a pipe (spec D3, D4).

mod completion;
mod help;
pub(crate) mod language;
mod operations;
mod pager;
mod prompt;
mod render;
mod request;
mod session;
mod table;

pub(crate) use request::typed_text;

use crate::args::CliArguments;
use crate::target::Target;
use language::Output;
use server::Access;
use session::{Session, Verdict};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Exit status for wrong arguments, as clap's.
const WRONG_ARGUMENTS: u8 = 2;

/// Runs the subcommand.
pub(crate) fn run(arguments: &CliArguments) -> ExitCode {
    if arguments.members == "help" {
        print!("{}", help::HELP);
        return ExitCode::SUCCESS;
    }
    let target = match Target::parse(&arguments.members) {
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

/// Whether every command succeeded.
fn talk(target: &Target, arguments: &CliArguments) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reached = target.reach(&runtime).map_err(io::Error::other)?;
    let output = if arguments.json { Output::Json } else { arguments.output };
    let mut session = Session::new(reached.client.clone(), output);
    if arguments.no_pager {
        session.without_pager();
    }
    match &reached.access {
        Some(Access::Full { is_new: true }) => {
            eprintln!("{} is new: a group of one", arguments.members);
        }
        Some(Access::ReadOnly { reason }) => {
            eprintln!("{} can only be read: {reason}", arguments.members);
            session.read_locally();
        }
        Some(Access::Full { is_new: false }) | None => {}
    }
    let ran = run_session(&runtime, session, arguments);
    let closed = reached.close(runtime).map_err(io::Error::other);
    let all_succeeded = ran?;
    closed.map(|()| all_succeeded)
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
        run_lines(runtime, &mut session, Joined(io::stdin().lock().lines()))
    }
}

/// Puts lines together as long as a quote or a bracket is open; an empty line ends that.
struct Joined<L>(L);

impl<L: Iterator<Item = io::Result<String>>> Iterator for Joined<L> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        let mut text = match self.0.next()? {
            Ok(line) => line,
            error => return Some(error),
        };
        while language::is_incomplete(&text) {
            match self.0.next() {
                Some(Ok(line)) if !line.trim().is_empty() => {
                    text.push('\n');
                    text += &line;
                }
                Some(Err(error)) => return Some(Err(error)),
                _ => break,
            }
        }
        Some(Ok(text))
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
