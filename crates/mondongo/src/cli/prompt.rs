//! The prompt for people: line editing, history, completion.
//!
//! rustyline does the editing: it is the smaller of the two well-kept line editors, and its history
//! files are plain text.

use super::completion::{Catalog, candidates};
use super::session::{Session, Verdict};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

const PROMPT: &str = "db > ";
/// Lines of history that are kept.
const HISTORY_LINES_MAX: usize = 10_000;
/// How long the prompt may be late for the sake of completion.
const CATALOG_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the prompt until the user leaves it.
pub(super) fn run(runtime: &Runtime, session: &mut Session) -> io::Result<()> {
    let mut editor = editor()?;
    let history = history_file(|name| std::env::var_os(name));
    if let Some(file) = &history {
        if let Some(folder) = file.parent() {
            // Without a history file the prompt still works.
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = editor.load_history(file);
    }
    loop {
        runtime.block_on(refresh(session, &mut editor));
        match editor.readline(PROMPT) {
            Ok(line) => {
                if !line.trim().is_empty() {
                    let _ = editor.add_history_entry(line.as_str());
                }
                let outcome = runtime.block_on(session.run(&line));
                io::stdout().write_all(outcome.output.as_bytes())?;
                io::stdout().flush()?;
                io::stderr().write_all(outcome.error.as_bytes())?;
                if outcome.verdict == Verdict::Exit {
                    break;
                }
            }
            // Ctrl-C gives up the line, Ctrl-D the prompt.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => {
                println!("Bye");
                break;
            }
            Err(ReadlineError::Io(error)) => return Err(error),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    if let Some(file) = &history
        && let Err(error) = editor.append_history(file)
    {
        eprintln!("the history could not be written to {}: {error}", file.display());
    }
    Ok(())
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

/// Asks for the collections, for completion. A group that does not answer soon keeps the old ones.
async fn refresh(session: &Session, editor: &mut Editor<Assistant, DefaultHistory>) {
    if let Ok(Ok(catalog)) = tokio::time::timeout(CATALOG_TIMEOUT, session.catalog()).await
        && let Some(assistant) = editor.helper_mut()
    {
        assistant.catalog = catalog.into_iter().map(|(name, schema, _)| (name, schema)).collect();
    }
}

#[derive(Default)]
struct Assistant {
    catalog: Catalog,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(candidates(&line[..position], &self.catalog))
    }
}

impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {}
impl Validator for Assistant {}
impl Helper for Assistant {}

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
