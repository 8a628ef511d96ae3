//! An export from beginning to end.

use super::pages::{Pages, Wanted};
use super::rows::Rows;
use crate::progress::{Progress, grouped};
use crate::target::Target;
use api::{Call, Document, Level, Options, Request, SearchOptions, Value};
use clap::{Args, ValueEnum};
use client::Client;
use server::Access;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Exit status for wrong arguments, as clap's.
const WRONG_ARGUMENTS: u8 = 2;

/// Write the documents of a collection into a file.
#[derive(Debug, Args)]
#[command(after_long_help = EXPORT_HELP)]
pub(crate) struct ExportArguments {
    /// Members of the group, any of them: HOST:PORT[,HOST:PORT…]; or a folder that no server holds
    #[arg(value_name = "HOST:PORT[,HOST:PORT…]|FOLDER")]
    pub(crate) members: String,

    /// The collection
    #[arg(value_name = "COLLECTION")]
    pub(crate) collection: String,

    /// The file; - for the standard output
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,

    /// What to write; by the name of the file if not said, JSON lines on the standard output
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// Which documents, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = parse_document)]
    pub(crate) query: Document,

    /// In which order, as JSON; that of _id if not said
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = parse_document)]
    pub(crate) sort: Document,

    /// These fields only; a.b is field b of a
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) fields: Vec<String>,

    /// So many documents at most
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,

    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,
}

const EXPORT_HELP: &str = "\
JSON lines are in extended JSON, so that an import has the same values again. CSV has the columns of
--fields, else _id, the fields of the schema and those of the first documents; lists and objects are
JSON in their cell.

All documents are as they were at one moment if the node has cursors. The file appears under its name
when it is complete. A document whose JSON is longer than the protocol can carry (16 MiB) is left out: its
_id is told, and stands in FILE.rejected; read it in parts, with search and fields.

The exit status is 0 if all was written, 1 if not or if documents were left out, 2 for wrong arguments.

Examples:
  mondongo export localhost:8000 users users.jsonl
  mondongo export localhost:8000 users adults.csv --query '{\"age\":{\"$gte\":18}}' --fields email,age
  mondongo export localhost:8000 users | gzip > users.jsonl.gz";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object in each line, in extended JSON
    Jsonl,
    /// Comma-separated values
    Csv,
}

fn parse_document(text: &str) -> Result<Document, String> {
    api::json::parse_document(text.as_bytes()).map_err(|error| error.message)
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &ExportArguments) -> ExitCode {
    let prepared = format(arguments)
        .and_then(|format| Ok((Target::parse(&arguments.members)?, format)))
        .and_then(|(target, format)| match &target {
            Target::Folder(path) if !path.is_dir() => {
                Err(format!("{} is no folder, and no address: write HOST:PORT", path.display()))
            }
            _ => Ok((target, format)),
        });
    let (target, format) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    match export(&target, arguments, format) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(left_out) => {
            let those = match is_stdout(&arguments.file) {
                true => "as told above".to_string(),
                false => format!("see {}", rejected_path(&arguments.file).display()),
            };
            eprintln!(
                "error: {} too long for an answer, and left out of what is written otherwise complete: {those}",
                if left_out == 1 {
                    "a document is".into()
                } else {
                    format!("{left_out} documents are")
                }
            );
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn format(arguments: &ExportArguments) -> Result<Format, String> {
    if let Some(format) = arguments.format {
        return Ok(format);
    }
    if is_stdout(&arguments.file) {
        return Ok(Format::Jsonl);
    }
    match arguments.file.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok(Format::Csv),
        Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
        _ => Err(format!(
            "{}: its name does not say what to write; say --format jsonl or --format csv",
            arguments.file.display()
        )),
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Where the `_id`s of documents stand that are left out.
fn rejected_path(file: &Path) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(".rejected");
    path.into()
}

/// Answers how many documents were left out.
fn export(target: &Target, arguments: &ExportArguments, format: Format) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let reached = target.reach(&runtime)?;
    let level = match &reached.access {
        Some(Access::ReadOnly { .. }) => Level::Local,
        _ => Level::Linearizable,
    };
    let source = Source { client: reached.client.clone(), level };
    let exported = if is_stdout(&arguments.file) {
        let out = BufWriter::new(io::stdout().lock());
        runtime.block_on(write(source, arguments, format, out)).map(|(_, left_out)| left_out)
    } else {
        runtime.block_on(write_file(source, arguments, format))
    };
    let closed = reached.close(runtime);
    let left_out = exported?;
    closed.map(|()| left_out)
}

/// Whom the documents come from.
struct Source {
    client: Client,
    /// How fresh they must be.
    level: Level,
}

/// The file is complete or not there.
async fn write_file(
    source: Source,
    arguments: &ExportArguments,
    format: Format,
) -> Result<u64, String> {
    let failed = |error: io::Error| format!("{}: {error}", arguments.file.display());
    let mut partial = OsString::from(&arguments.file);
    partial.push(".partial");
    let out = BufWriter::new(File::create(&partial).map_err(failed)?);
    match write(source, arguments, format, out).await {
        Ok((out, left_out)) => {
            let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
            file.sync_all().map_err(failed)?;
            fs::rename(&partial, &arguments.file).map_err(failed)?;
            Ok(left_out)
        }
        Err(error) => {
            // What is there is of no use.
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

async fn write<W: Write>(
    source: Source,
    arguments: &ExportArguments,
    format: Format,
    out: W,
) -> Result<(W, u64), String> {
    let failed = |error: io::Error| format!("{}: {error}", arguments.file.display());
    let schema = schema_fields(&source, &arguments.collection).await?;
    let total = count(&source, arguments).await?;
    let mut rows = match format {
        Format::Jsonl => Rows::Lines(out),
        Format::Csv => Rows::cells(out, &arguments.fields).map_err(failed)?,
    };
    // Documents are what is counted here.
    let mut progress = Progress::new(arguments.quiet, Some(total), 0, 0);
    let wanted = Wanted {
        collection: arguments.collection.clone(),
        filter: arguments.query.clone(),
        sort: arguments.sort.clone(),
        fields: arguments.fields.clone(),
        limit: arguments.limit,
    };
    let mut pages = Pages::new(source.client, source.level, wanted);
    let mut written = 0;
    let mut rejected = Rejected::new(&arguments.file)?;
    while let Some(documents) = pages.next().await.map_err(|error| error.to_string())? {
        written += documents.len() as u64;
        rows.add(&documents, &schema).map_err(failed)?;
        rejected.add(&pages.take_too_long())?;
        progress.show(written, written.min(total));
    }
    progress.finish();
    let too_long = rejected.finish()?;
    let (mut out, left_out) = rows.finish().map_err(failed)?;
    out.flush().map_err(failed)?;
    if !left_out.is_empty() {
        let names: Vec<&str> = left_out.iter().map(String::as_str).collect();
        eprintln!(
            "warning: fields without a column were left out: {}; name all columns with --fields",
            names.join(", ")
        );
    }
    if !arguments.quiet {
        let elapsed = Duration::from_millis(progress.elapsed().as_millis() as u64);
        let elapsed = humantime::format_duration(elapsed);
        let rate = progress.rate(written);
        eprintln!("{} documents exported; {elapsed}, {rate:.0}/s", grouped(written));
    }
    Ok((out, too_long))
}

/// The `_id`s of documents that are left out: in a file beside the other, or told at once.
struct Rejected {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    count: u64,
}

impl Rejected {
    /// What an earlier export left out is of no interest any more.
    fn new(file: &Path) -> Result<Rejected, String> {
        let path = (!is_stdout(file)).then(|| rejected_path(file));
        if let Some(path) = &path
            && let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(format!("{}: {error}", path.display()));
        }
        Ok(Rejected { path, file: None, count: 0 })
    }

    fn add(&mut self, ids: &[Value]) -> Result<(), String> {
        for id in ids {
            self.count += 1;
            let id = api::json::to_string(id);
            let Some(path) = &self.path else {
                eprintln!(
                    "warning: the document with _id {id} is too long for an answer, and left out"
                );
                continue;
            };
            let failed = |error: io::Error| format!("{}: {error}", path.display());
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(BufWriter::new(File::create(path).map_err(failed)?)),
            };
            writeln!(file, "{{\"_id\":{id},\"reason\":\"its JSON is too long for an answer\"}}")
                .map_err(failed)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, String> {
        if let (Some(file), Some(path)) = (&mut self.file, &self.path) {
            file.flush().map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(self.count)
    }
}

/// The names of the fields that the schema declares.
async fn schema_fields(source: &Source, collection: &str) -> Result<Vec<String>, String> {
    let request = Request::Describe { collection: Some(collection.to_string()) };
    let described = ask(&source.client, source.level, request).await?;
    let schema =
        described.as_document().and_then(|described| described.get_document("schema").ok());
    Ok(schema.map(|schema| schema.keys().cloned().collect()).unwrap_or_default())
}

async fn count(source: &Source, arguments: &ExportArguments) -> Result<u64, String> {
    let search = SearchOptions { count: true, ..SearchOptions::default() };
    let (collection, filter) = (arguments.collection.clone(), arguments.query.clone());
    let answer =
        ask(&source.client, source.level, Request::Search { collection, filter, search }).await?;
    let count = answer.as_i64().and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
    Ok(count.min(arguments.limit.unwrap_or(u64::MAX)))
}

async fn ask(client: &Client, level: Level, request: Request) -> Result<Value, String> {
    let options = Options { level, ..Options::default() };
    client.call(Call { request, options }).await.map_err(|error| error.to_string())
}
