//! The `mondongo` binary: one program for the nodes and for those who talk to them.

mod args;
mod ask;
mod cli;
mod demo;
mod folder;
mod log;
mod member;
mod serve;
mod status;
mod verify;

use args::{Arguments, Command};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Cli(arguments) => cli::run(&arguments),
        Command::Member(arguments) => member::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Log(arguments) => log::run(&arguments),
    }
}
