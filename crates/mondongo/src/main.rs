//! The `mondongo` binary: one program for the nodes and for those who talk to them.

mod args;
mod ask;
mod bench;
mod cli;
mod demo;
mod export;
mod folder;
mod import;
mod log;
mod member;
mod progress;
mod raise;
mod serve;
mod status;
mod target;
mod verify;

use args::{Arguments, Command};
use clap::Parser as _;
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Requests are many small pieces of memory that one thread takes and another gives back, which the C library's allocator
/// spends a fifth of a node's time on (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Cli(arguments) => cli::run(&arguments),
        Command::Member(arguments) => member::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Log(arguments) => log::run(&arguments),
    }
}
