//! `cargo xtask fuzz`: random bytes into every parser of bytes from outside (`docs/design/fuzzing.md`).

use crate::step::{cargo, must_succeed, root};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Instruments what is built so that libFuzzer sees which branches an input takes, and what numbers and bytes were
/// compared. The flags are those of `cargo fuzz -s none`, which run on the stable toolchain.
const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";

/// Longest input, in bytes: long enough for what a parser counts, short enough to try many.
const INPUT_BYTES_MAX: u32 = 4096;
/// An input that takes longer than this is a finding.
const INPUT_SECONDS_MAX: u32 = 10;
/// More memory than this is a finding.
const MEMORY_MIB_MAX: u32 = 1024;

/// What to fuzz.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these targets; all of them if none is named.
    targets: Vec<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many targets run at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Gives this one input to the one target named, instead of looking for new ones.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Builds the targets and runs them, some at a time.
///
/// # Errors
/// If a target is not known or cannot be built; if an input was found that breaks one: it is kept and named.
pub(crate) fn run(options: &Options) -> Result<()> {
    let targets = chosen(&options.targets)?;
    let folder = build(&targets)?;
    if let Some(input) = &options.input {
        let [target] = &targets[..] else { bail!("--input is for one target; name it") };
        let status = Command::new(folder.join(target)).arg(input).status();
        if !status.with_context(|| format!("cannot start the fuzz target {target}"))?.success() {
            bail!("{target} does not survive {}", input.display());
        }
        return Ok(());
    }
    let mut waiting: VecDeque<_> = targets.into_iter().collect();
    let mut running: Vec<Run> = Vec::new();
    let mut broken = Vec::new();
    while !(waiting.is_empty() && running.is_empty()) {
        while running.len() < options.jobs.max(1)
            && let Some(target) = waiting.pop_front()
        {
            running.push(Run::start(&folder, target, options.seconds)?);
        }
        std::thread::sleep(Duration::from_millis(200));
        let mut left = Vec::new();
        for mut run in running {
            match run.child.try_wait().context("cannot ask for a target's end")? {
                None => left.push(run),
                Some(status) => {
                    run.tell(status.success());
                    if !status.success() {
                        broken.push(run.target);
                    }
                }
            }
        }
        running = left;
    }
    if !broken.is_empty() {
        bail!("inputs were found that break: {}", broken.join(", "));
    }
    Ok(())
}

/// The targets: one for each file of `fuzz/targets/`.
fn chosen(names: &[String]) -> Result<Vec<String>> {
    let mut known = Vec::new();
    for entry in fs::read_dir(fuzz_folder().join("targets")).context("there are fuzz targets")? {
        let path = entry?.path();
        known.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    known.sort_unstable();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("no fuzz target is named `{unknown}`; there are {}", known.join(", "));
    }
    Ok(if names.is_empty() { known } else { names.to_vec() })
}

/// Builds the targets with their flags and answers where they are.
fn build(targets: &[String]) -> Result<PathBuf> {
    let (host, into) = (host()?, root().join("target/fuzz"));
    let mut build = cargo("build --release --locked --manifest-path fuzz/Cargo.toml");
    // Naming the target keeps the flags away from build scripts.
    build.arg("--target").arg(&host).arg("--target-dir").arg(&into).env("RUSTFLAGS", FLAGS);
    for target in targets {
        build.arg("--bin").arg(target);
    }
    must_succeed(&mut build).context("the fuzz targets need a C++ compiler, for libFuzzer")?;
    Ok(into.join(host).join("release"))
}

fn host() -> Result<String> {
    let version = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

fn fuzz_folder() -> PathBuf {
    root().join("fuzz")
}

/// A target that runs.
struct Run {
    target: String,
    child: Child,
    log: PathBuf,
    artifacts: PathBuf,
}

impl Run {
    fn start(folder: &Path, target: String, seconds: u64) -> Result<Run> {
        let corpus = fuzz_folder().join("corpus").join(&target);
        let artifacts = fuzz_folder().join("artifacts").join(&target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        fs::create_dir_all(&artifacts)
            .with_context(|| format!("cannot make {}", artifacts.display()))?;
        let log = artifacts.join("log.txt");
        let output =
            File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = Command::new(folder.join(&target))
            .arg(&corpus)
            .arg(fuzz_folder().join("seeds").join(&target))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg("-print_final_stats=1")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start the fuzz target {target}"))?;
        Ok(Run { target, child, log, artifacts })
    }

    /// Says what it saw: one line, or the end of its log and how to see it again.
    fn tell(&self, is_whole: bool) {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let count =
            log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let covered = log.lines().rev().find_map(|line| line.split(" cov: ").nth(1));
        let covered = covered.and_then(|rest| rest.split_whitespace().next());
        let (count, covered) = (count.unwrap_or("?").trim(), covered.unwrap_or("?"));
        let target = &self.target;
        println!("{target}: {count} inputs, {covered} branches covered");
        if is_whole {
            return;
        }
        let lines: Vec<_> = log.lines().filter(|line| !line.starts_with('#')).collect();
        for line in &lines[lines.len().saturating_sub(40)..] {
            println!("    {line}");
        }
        let folder = self.artifacts.display();
        println!("    the input is in {folder}; see it again with");
        println!("    cargo xtask fuzz {target} --input {folder}/NAME");
    }
}
