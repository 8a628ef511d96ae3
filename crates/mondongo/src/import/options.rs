//! The command line of `mondongo import`.

use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Put the documents of a file into a collection.
#[derive(Debug, Args)]
#[command(after_long_help = IMPORT_HELP)]
pub(crate) struct ImportArguments {
    /// Members of the group, any of them: HOST:PORT[,HOST:PORT…]; or a folder that no server holds
    #[arg(value_name = "HOST:PORT[,HOST:PORT…]|FOLDER")]
    pub(crate) members: String,

    /// The collection
    #[arg(value_name = "COLLECTION")]
    pub(crate) collection: String,

    /// JSON lines or CSV, also compressed (.gz, .zst); - for the standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// What the file holds; by its name if not said, JSON lines on the standard input
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// Make the collection if it is not there, without a schema
    #[arg(long)]
    pub(crate) create: bool,

    /// What to do with a document whose _id or unique field is there already
    #[arg(long, value_name = "WHAT", default_value = "reject")]
    pub(crate) on_duplicate: OnDuplicate,

    /// Replace documents with the same _id; the same as --on-duplicate replace
    #[arg(long, conflicts_with = "on_duplicate")]
    pub(crate) upsert: bool,

    /// CSV: the file has no header; these are its columns
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,

    /// CSV: what divides the cells
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = parse_delimiter)]
    pub(crate) delimiter: u8,

    /// CSV: take cells as text unless the schema says otherwise
    #[arg(long)]
    pub(crate) no_inference: bool,

    /// Documents that are sent at once
    #[arg(long, value_name = "COUNT", default_value_t = 500,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) batch: u64,

    /// Batches under way at once
    #[arg(long, value_name = "COUNT", default_value_t = 4,
          value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) in_flight: u64,

    /// Where to note how far it is [default: FILE.import-state; for the standard input nowhere]
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,

    /// Where to keep lines that cannot be taken [default: FILE.rejected; COLLECTION.rejected]
    #[arg(long, value_name = "FILE")]
    pub(crate) rejected: Option<PathBuf>,

    /// Begin anew, whatever an earlier import of the file has noted
    #[arg(long)]
    pub(crate) restart: bool,

    /// Give up when nothing was answered for so long (as in 90s or 10m)
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) patience: Duration,

    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,

    /// Answer with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const IMPORT_HELP: &str = "\
Every line is put into the collection once, also if the import is killed and run again with the same
words: it goes on where it was (FILE.import-state, removed at the end). Documents without an _id get one.

Lines that cannot be taken are kept, one JSON object each, with the number of the line, the reason and
the text, in FILE.rejected.

CSV: the first line names the fields; a.b is field b of a. A cell has the type that the schema of the
collection declares, else it is a number, true or false, a list or an object if it reads so, else text;
an empty cell is no field.

With --on-duplicate: reject keeps the line in the rejected file, skip passes over it, replace puts the
document in the place of the one with its _id (later lines win), fail stops.

The exit status is 0 if every line was taken or passed over, 1 if not, 2 for wrong arguments, 3 if it
stopped before the end and can be run again.

Examples:
  mondongo import localhost:8000 users users.jsonl
  mondongo import localhost:8000,localhost:8001 towns towns.csv.gz --create
  zcat all.gz | mondongo import localhost:8000 users - --on-duplicate skip";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object in each line, in extended JSON
    Jsonl,
    /// Comma-separated values
    Csv,
}

/// What becomes of a document that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnDuplicate {
    /// Keep the line in the rejected file
    Reject,
    /// Pass over it
    Skip,
    /// Put it in the place of the one with its _id
    Replace,
    /// Stop
    Fail,
}

impl ImportArguments {
    /// Whether the input is the standard input.
    pub(crate) fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    pub(crate) fn on_duplicate(&self) -> OnDuplicate {
        if self.upsert { OnDuplicate::Replace } else { self.on_duplicate }
    }

    /// What the input holds.
    ///
    /// # Errors
    /// If its name does not say so.
    pub(crate) fn format(&self) -> Result<Format, String> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        if self.is_stdin() {
            return Ok(Format::Jsonl);
        }
        let name = self.file.to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv" | "tsv") => Ok(Format::Csv),
            Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
            _ => Err(format!(
                "{}: its name does not say what it holds; say --format jsonl or --format csv",
                self.file.display()
            )),
        }
    }

    /// Where to note how far it is.
    pub(crate) fn state_file(&self) -> Option<PathBuf> {
        self.state
            .clone()
            .or_else(|| (!self.is_stdin()).then(|| with_suffix(&self.file, ".import-state")))
    }

    /// Where to keep bad lines.
    pub(crate) fn rejected_file(&self) -> PathBuf {
        self.rejected.clone().unwrap_or_else(|| {
            if self.is_stdin() {
                format!("{}.rejected", self.collection).into()
            } else {
                with_suffix(&self.file, ".rejected")
            }
        })
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => Ok(*byte),
            _ => Err("write one character such as ; or the word tab".into()),
        },
    }
}
