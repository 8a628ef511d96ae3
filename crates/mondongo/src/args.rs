//! The command line (spec §2).

use crate::bench::BenchArguments;
use crate::cli::language::Output;
use crate::demo::DemoArguments;
use crate::export::ExportArguments;
use crate::import::ImportArguments;
use crate::log::LogArguments;
use crate::member::MemberArguments;
use crate::serve::ServeArguments;
use crate::status::StatusArguments;
use crate::verify::VerifyArguments;
use clap::{Args, Parser, Subcommand};

/// MondongoDB: a replicated, fault-tolerant document and key-value store.
#[derive(Debug, Parser)]
#[command(name = "mondongo", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node that serves the store in a folder
    Serve(ServeArguments),
    /// Talk to a group of nodes, or open a folder without a server: a prompt, or commands from -c or a pipe
    Cli(CliArguments),
    /// Show the role and progress of every node of a group
    Status(StatusArguments),
    /// Show who takes part in a group, and change it
    Member(MemberArguments),
    /// Start a group of nodes in one folder and open the prompt
    Demo(DemoArguments),
    /// Put the documents of a file, JSON lines or CSV, into a collection
    Import(ImportArguments),
    /// Write the documents of a collection into a file, as JSON lines or CSV
    Export(ExportArguments),
    /// Measure how much a group does, and how long each request takes
    Bench(BenchArguments),
    /// Check the folder of a node that does not run: log, store, indexes, and what belongs together
    Verify(VerifyArguments),
    /// Show what the log in a node's folder says
    Log(LogArguments),
}

/// Talk to a group of nodes.
#[derive(Debug, Args)]
#[command(after_long_help = CLI_HELP)]
pub(crate) struct CliArguments {
    /// Members of the group, any of them: HOST:PORT[,HOST:PORT…]; or a folder that no server holds; or the word help
    #[arg(value_name = "HOST:PORT[,HOST:PORT…]|FOLDER")]
    pub(crate) members: String,

    /// Run this command instead of opening the prompt; may be given several times
    #[arg(short = 'c', long = "command", value_name = "COMMAND")]
    pub(crate) commands: Vec<String>,

    /// Answer every command with one line of JSON: ["ok", result] or ["ko", reason]
    #[arg(long, conflicts_with = "output")]
    pub(crate) json: bool,

    /// How answers are shown
    #[arg(long, value_name = "FORM", default_value = "blocks")]
    pub(crate) output: Output,

    /// Show long answers at once, not page by page
    #[arg(long)]
    pub(crate) no_pager: bool,
}

const CLI_HELP: &str = "\
Commands come from -c, else from the input if it is no terminal, else from a prompt.
After a command that fails the next one is run, except when no node can be reached.
The exit status is 0 if every command succeeded, else 1; 2 for wrong arguments.
Blank lines and lines that begin with # are skipped. A command goes on in the next line while a quote
or a bracket is open; an empty line ends it.

On a terminal, answers that are longer than the screen are shown by what PAGER names (less), unless it is
empty.

The prompt keeps its history in the file that MONDONGO_HISTORY names (empty: nowhere),
else in mondongo/history in XDG_STATE_HOME or ~/.local/state.

Examples:
  mondongo cli localhost:8000
  mondongo cli localhost:8000,localhost:8001 -c 'search users age>10'
  mondongo cli localhost:8000 --json < commands.txt
  mondongo cli db                         (the folder db, without a server)
  mondongo cli help";
