//! The prompt for people: line editing, history, completion.
//!
//! rustyline does the editing: it is the smaller of the two well-kept line editors, and its history
//! files are plain text.

use super::completion::{Known, candidates};
use super::language::{self, Command, is_incomplete};
use super::pager;
use super::session::{Outcome, Session, Verdict};
use api::value::ID_FIELD;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const PROMPT: &str = "db > ";
/// Lines of history that are kept.
const HISTORY_LINES_MAX: usize = 10_000;
/// Most documents of one answer: more is for an export.
const DOCUMENTS_MAX: usize = 10_000;
/// How long the fields of some documents stand for those of all.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(30);
/// Collections that are sampled before one prompt.
const SAMPLES_AT_ONCE: usize = 4;
/// How long the prompt may be late for the sake of completion.
const CATALOG_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the prompt until the user leaves it.
pub(super) fn run(runtime: &Runtime, session: &mut Session) -> io::Result<()> {
    session.limit_documents(DOCUMENTS_MAX);
    let mut editor = editor()?;
    let mut history = History::open(&mut editor);
    loop {
        runtime.block_on(refresh(session, &mut editor));
        match editor.readline(PROMPT) {
            Ok(text) => {
                if !text.trim().is_empty() {
                    let _ = editor.add_history_entry(text.as_str());
                    history.append(&mut editor);
                }
                let outcome = runtime.block_on(run_until_interrupted(session, &text));
                pager::show(&outcome.output, session.wants_pager())?;
                io::stderr().write_all(outcome.error.as_bytes())?;
                if outcome.verdict == Verdict::Exit {
                    return Ok(());
                }
            }
            // Ctrl-C gives up the line, Ctrl-D the prompt.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => {
                println!("Bye");
                return Ok(());
            }
            Err(ReadlineError::Io(error)) => return Err(error),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// Runs a command; Ctrl-C gives it up, not the prompt.
async fn run_until_interrupted(session: &mut Session, text: &str) -> Outcome {
    let run = async {
        match language::parse(text) {
            Ok(Command::Operation(watch)) if watch.name() == "watch" => {
                session.follow(&watch, |event| print!("{event}")).await
            }
            _ => session.run(text).await,
        }
    };
    tokio::select! {
        outcome = run => outcome,
        _ = tokio::signal::ctrl_c() => Outcome {
            output: String::new(),
            error: "\nInterrupted; a write may have taken effect or not.\n".into(),
            verdict: Verdict::Failed,
        },
    }
}

/// The file of the history, which others must not read: commands hold data.
struct History {
    file: Option<PathBuf>,
}

impl History {
    /// Reads it into the editor. Without a history file the prompt still works.
    fn open(editor: &mut Editor<Assistant, DefaultHistory>) -> History {
        let file = history_file(|name| std::env::var_os(name));
        if let Some(file) = &file {
            if let Some(folder) = file.parent().filter(|folder| !folder.exists()) {
                let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            }
            let _ = editor.load_history(file);
        }
        History { file }
    }

    /// Adds what the editor has got since; a failure is told once.
    fn append(&mut self, editor: &mut Editor<Assistant, DefaultHistory>) {
        let Some(file) = &self.file else { return };
        let kept = editor.append_history(file).map_err(|error| error.to_string()).and_then(|()| {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(file, mode).map_err(|error| error.to_string())
        });
        if let Err(error) = kept {
            eprintln!("the history is not kept in {}: {error}", file.display());
            self.file = None;
        }
    }
}

/// The file that keeps the history, if any: `MONDONGO_HISTORY`, or one in the user's state folder.
fn history_file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(file) = variable("MONDONGO_HISTORY") {
        return (!file.is_empty()).then(|| PathBuf::from(file));
    }
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("mondongo/history"))
}

fn editor() -> io::Result<Editor<Assistant, DefaultHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)
        .and_then(|builder| builder.history_ignore_dups(true))
        .map_err(io::Error::other)?
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config).map_err(io::Error::other)?;
    editor.set_helper(Some(Assistant::default()));
    Ok(editor)
}

/// Asks for the collections and some documents, for completion. A group that does not answer soon keeps what was known.
async fn refresh(session: &Session, editor: &mut Editor<Assistant, DefaultHistory>) {
    let Some(assistant) = editor.helper_mut() else { return };
    // What does not come in time is left as it was.
    let _ = tokio::time::timeout(CATALOG_TIMEOUT, assistant.refresh(session)).await;
}

#[derive(Default)]
struct Assistant {
    known: Known,
    sampled: BTreeMap<String, (Instant, Vec<String>)>,
}

impl Assistant {
    async fn refresh(&mut self, session: &Session) {
        self.known.members = session.addresses();
        let Ok(catalog) = session.catalog().await else { return };
        self.known.collections = catalog
            .into_iter()
            .map(|(name, schema, _)| {
                let mut fields: Vec<String> =
                    schema.fields.into_iter().map(|field| field.name).collect();
                let sampled = self.sampled.get(&name).map(|(_, names)| names.as_slice());
                for name in sampled.unwrap_or_default() {
                    if name != ID_FIELD && !fields.contains(name) {
                        fields.push(name.clone());
                    }
                }
                (name, fields)
            })
            .collect();
        let is_due = |name: &&String| {
            self.sampled.get(*name).is_none_or(|(at, _)| at.elapsed() >= SAMPLE_AGE_MAX)
        };
        let names = self.known.collections.iter().map(|(name, _)| name);
        let due: Vec<String> = names.filter(is_due).take(SAMPLES_AT_ONCE).cloned().collect();
        for name in due {
            if let Ok(fields) = session.sample(&name).await {
                self.sampled.insert(name, (Instant::now(), fields));
            }
        }
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(candidates(&line[..position], &self.known))
    }
}

impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {}
impl Helper for Assistant {}

impl Validator for Assistant {
    /// An open quote or bracket goes on in the next line; an empty line ends that.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let ends = text.rsplit_once('\n').is_some_and(|(_, last)| last.trim().is_empty());
        Ok(if !ends && is_incomplete(text) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_has_its_place() {
        let file = |variables: &[(&str, &str)]| {
            history_file(|name| {
                variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
            })
        };
        assert_eq!(file(&[("MONDONGO_HISTORY", "/x/h"), ("HOME", "/h")]), Some("/x/h".into()));
        assert_eq!(file(&[("MONDONGO_HISTORY", ""), ("HOME", "/h")]), None);
        let in_home = Some("/h/.local/state/mondongo/history".into());
        assert_eq!(file(&[("HOME", "/h"), ("XDG_STATE_HOME", "")]), in_home);
        let in_state = Some("/s/mondongo/history".into());
        assert_eq!(file(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]), in_state);
        assert_eq!(file(&[]), None);
    }
}
