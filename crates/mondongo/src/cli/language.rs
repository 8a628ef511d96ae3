//! The language of the prompt (spec §2): a line of text to a [`Command`], without any I/O.
//!
//! Values are kept as they were written ([`Literal`]); their types come from the collection's schema,
//! which only the session knows. Positions are counted in characters, so that an error can point at
//! the place.

mod scan;
#[cfg(test)]
mod tests;

use super::operations::{self, Typed};
use api::FaultSwitch;
use scan::Scanner;

/// Every command with its other names.
pub(crate) const COMMANDS: &[(&str, &[&str])] = &[
    ("help", &[]),
    ("addcol", &[]),
    ("rmcol", &[]),
    ("desc", &[]),
    ("add", &[]),
    ("search", &[]),
    ("count", &[]),
    ("distinct", &[]),
    ("update", &[]),
    ("remove", &[]),
    ("get", &["lee"]),
    ("put", &["escribe"]),
    ("swap", &["escribe_hash"]),
    ("cas", &[]),
    ("status", &[]),
    ("members", &[]),
    ("deaf", &["sordo"]),
    ("listen", &["escucha"]),
    ("unreliable", &["no_fiable"]),
    ("reliable", &["fiable"]),
    ("set", &[]),
    ("exit", &[]),
];

/// One line, understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// A blank line or a comment.
    Nothing,
    Help {
        /// On what; none: on everything.
        topic: Option<String>,
    },
    Exit,
    Set(Setting),
    Count {
        collection: String,
        conditions: Vec<Condition>,
    },
    Distinct {
        collection: String,
        field: String,
        conditions: Vec<Condition>,
    },
    /// An operation of the protocol.
    Operation(Typed),
    AddCollection {
        collection: String,
        fields: Vec<Assignment>,
    },
    RemoveCollection {
        collection: String,
    },
    Describe {
        collection: Option<String>,
    },
    Add {
        collection: String,
        fields: Vec<Assignment>,
    },
    Search {
        collection: String,
        conditions: Vec<Condition>,
    },
    Update {
        collection: String,
        conditions: Vec<Condition>,
        changes: Vec<Assignment>,
    },
    Remove {
        collection: String,
        conditions: Vec<Condition>,
    },
    Get {
        key: String,
    },
    Put {
        key: String,
        value: Literal,
    },
    Swap {
        key: String,
        value: Literal,
    },
    Cas {
        key: String,
        expected: Literal,
        value: Literal,
    },
    Status,
    Members,
    Fault(FaultSwitch),
    /// A request as the native protocol has it: a JSON list.
    Raw(String),
}

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Output(Output),
    Timing(bool),
    Pager(bool),
}

/// The form of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// As in the founding document: a block of lines for each document
    #[default]
    Blocks,
    /// A table, a line for each document
    Table,
    /// One line of JSON for each command: ["ok", result] or ["ko", reason]
    Json,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// The text, without quotes.
    pub(crate) text: String,
    /// Whether it was quoted, so that it is text unless the schema says otherwise.
    pub(crate) quoted: bool,
    /// Where it stands, in characters from the start of the line.
    pub(crate) position: usize,
}

/// `field=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) field: String,
    pub(crate) value: Literal,
    /// Where the field stands.
    pub(crate) position: usize,
}

/// `field OP value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) field: String,
    pub(crate) operator: Operator,
    pub(crate) value: Literal,
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// What is wrong with a line, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// In characters from the start of the line.
    pub(crate) position: usize,
    pub(crate) message: String,
}

/// Understands one line.
pub(crate) fn parse(line: &str) -> Result<Command, SyntaxError> {
    let mut scanner = Scanner::new(line);
    scanner.skip_blanks();
    match scanner.peek() {
        None | Some('#') => return Ok(Command::Nothing),
        Some('[') => {
            scanner.word()?;
            return Ok(Command::Raw(line.to_string()));
        }
        Some(_) => {}
    }
    let position = scanner.position();
    let word = scanner.bare_word();
    if let Some((operation, words_before)) = operations::find(&word, canonical(&word).is_some())
        && words_before.is_none_or(|count| has_json_behind(&scanner, count))
    {
        return operation_with(operation, position, &mut scanner);
    }
    let command = match canonical(&word) {
        Some("help") => {
            scanner.skip_blanks();
            let topic = scanner.bare_word();
            Command::Help { topic: (!topic.is_empty()).then_some(topic) }
        }
        Some("set") => Command::Set(setting(&mut scanner)?),
        Some("count") => Command::Count {
            collection: collection(&mut scanner)?,
            conditions: conditions(&mut scanner)?,
        },
        Some("distinct") => Command::Distinct {
            collection: collection(&mut scanner)?,
            field: value(&mut scanner, "a field")?.text,
            conditions: conditions(&mut scanner)?,
        },
        Some("exit") => Command::Exit,
        Some("addcol") => Command::AddCollection {
            collection: collection(&mut scanner)?,
            fields: schema(&mut scanner)?,
        },
        Some("rmcol") => Command::RemoveCollection { collection: collection(&mut scanner)? },
        Some("desc") => Command::Describe { collection: optional_collection(&mut scanner)? },
        Some("add") => Command::Add {
            collection: collection(&mut scanner)?,
            fields: some_assignments(&mut scanner)?,
        },
        Some("search") => Command::Search {
            collection: collection(&mut scanner)?,
            conditions: conditions(&mut scanner)?,
        },
        Some("update") => update(&mut scanner)?,
        Some("remove") => Command::Remove {
            collection: collection(&mut scanner)?,
            conditions: some_conditions(&mut scanner)?,
        },
        Some("get") => Command::Get { key: key(&mut scanner)? },
        Some("put") => {
            Command::Put { key: key(&mut scanner)?, value: value(&mut scanner, "a value")? }
        }
        Some("swap") => {
            Command::Swap { key: key(&mut scanner)?, value: value(&mut scanner, "a value")? }
        }
        Some("cas") => Command::Cas {
            key: key(&mut scanner)?,
            expected: value(&mut scanner, "the expected value (null: none)")?,
            value: value(&mut scanner, "the new value")?,
        },
        Some("status") => Command::Status,
        Some("members") => Command::Members,
        Some("deaf") => Command::Fault(FaultSwitch::Deaf),
        Some("listen") => Command::Fault(FaultSwitch::Listen),
        Some("unreliable") => {
            Command::Fault(FaultSwitch::Unreliable { loss: share(&mut scanner)? })
        }
        Some("reliable") => Command::Fault(FaultSwitch::Reliable),
        _ => {
            let message = format!("unknown command {word:?}; help lists the commands");
            return Err(SyntaxError { position, message });
        }
    };
    scanner.skip_blanks();
    if scanner.peek().is_some() {
        return Err(scanner.error("the command should end here; quote a value that holds spaces"));
    }
    Ok(command)
}

/// Whether what was typed so far goes on in the next line: a quote or a bracket is open.
pub(crate) fn is_incomplete(text: &str) -> bool {
    parse(text).is_err_and(|error| error.message.ends_with(scan::NOT_CLOSED))
}

/// Whether a list or an object comes behind so many words.
fn has_json_behind(scanner: &Scanner, words: usize) -> bool {
    let mut ahead = scanner.clone();
    for _ in 0..words {
        ahead.skip_blanks();
        if matches!(ahead.peek(), Some('{' | '[')) || ahead.word().is_err() {
            return false;
        }
    }
    ahead.skip_blanks();
    matches!(ahead.peek(), Some('{' | '['))
}

fn operation_with(
    operation: &api::parse::Operation,
    position: usize,
    scanner: &mut Scanner,
) -> Result<Command, SyntaxError> {
    let mut literals = Vec::new();
    scanner.skip_blanks();
    while scanner.peek().is_some() {
        literals.push(scanner.word()?);
        scanner.skip_blanks();
    }
    operations::typed(operation, position, &literals)
}

fn setting(scanner: &mut Scanner) -> Result<Setting, SyntaxError> {
    const WHAT: &str = "what to set: output, timing or pager";
    let name = value(scanner, WHAT)?;
    let wrong = |position, expected: &str| SyntaxError {
        position,
        message: format!("expected {expected}"),
    };
    match name.text.as_str() {
        "output" => {
            const FORMS: &str = "blocks, table or json";
            let form = value(scanner, FORMS)?;
            let output = <Output as clap::ValueEnum>::from_str(&form.text, false);
            output.map(Setting::Output).map_err(|_| wrong(form.position, FORMS))
        }
        setting @ ("timing" | "pager") => {
            const SWITCH: &str = "on or off";
            let switch = value(scanner, SWITCH)?;
            let on = match switch.text.as_str() {
                "on" => true,
                "off" => false,
                _ => return Err(wrong(switch.position, SWITCH)),
            };
            Ok(if setting == "timing" { Setting::Timing(on) } else { Setting::Pager(on) })
        }
        _ => Err(wrong(name.position, WHAT)),
    }
}

/// The command that `word` names, by its name or an alias.
pub(crate) fn canonical(word: &str) -> Option<&'static str> {
    COMMANDS
        .iter()
        .find(|(name, aliases)| *name == word || aliases.contains(&word))
        .map(|(name, _)| *name)
}

fn collection(scanner: &mut Scanner) -> Result<String, SyntaxError> {
    match optional_collection(scanner)? {
        Some(name) => Ok(name),
        None => Err(scanner.error("a collection's name is missing")),
    }
}

fn optional_collection(scanner: &mut Scanner) -> Result<Option<String>, SyntaxError> {
    scanner.skip_blanks();
    Ok(if scanner.peek().is_none() { None } else { Some(scanner.word()?.text) })
}

fn key(scanner: &mut Scanner) -> Result<String, SyntaxError> {
    value(scanner, "a key").map(|literal| literal.text)
}

/// A value that stands alone: up to the next blank.
fn value(scanner: &mut Scanner, what: &str) -> Result<Literal, SyntaxError> {
    scanner.skip_blanks();
    if scanner.peek().is_none() {
        return Err(scanner.error(format!("{what} is missing")));
    }
    scanner.word()
}

/// A number from 0 to 1.
fn share(scanner: &mut Scanner) -> Result<f64, SyntaxError> {
    const WHAT: &str = "the share of messages to lose, from 0 to 1";
    let literal = value(scanner, WHAT)?;
    let share = literal.text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| SyntaxError {
        position: literal.position,
        message: format!("{:?} is not {WHAT}", literal.text),
    })
}

fn schema(scanner: &mut Scanner) -> Result<Vec<Assignment>, SyntaxError> {
    let fields = assignments(scanner)?;
    for field in &fields {
        let literal = &field.value;
        if !literal.text.starts_with('{') && api::FieldType::parse(&literal.text).is_none() {
            let known: Vec<&str> = api::FieldType::ALL.iter().map(|(_, word)| *word).collect();
            return Err(SyntaxError {
                position: literal.position,
                message: format!("{:?} is no type; known: {}", literal.text, known.join(", ")),
            });
        }
    }
    Ok(fields)
}

fn some_assignments(scanner: &mut Scanner) -> Result<Vec<Assignment>, SyntaxError> {
    let assignments = assignments(scanner)?;
    if assignments.is_empty() {
        return Err(scanner.error("field=value is missing"));
    }
    Ok(assignments)
}

/// `field=value` as often as it comes, divided by blanks or commas.
fn assignments(scanner: &mut Scanner) -> Result<Vec<Assignment>, SyntaxError> {
    let mut assignments: Vec<Assignment> = Vec::new();
    scanner.skip_blanks();
    while scanner.peek().is_some() {
        let position = scanner.position();
        let field = scanner.field()?;
        let after_field = scanner.position();
        if !matches!(scanner.operator(), Ok(Operator::Equal)) {
            let message = "expected = after the field's name".to_string();
            return Err(SyntaxError { position: after_field, message });
        }
        if assignments.iter().any(|earlier| earlier.field == field) {
            let message = format!("{field} is assigned twice");
            return Err(SyntaxError { position, message });
        }
        let value = scanner.value()?;
        assignments.push(Assignment { field, value, position });
        scanner.skip_blanks();
        if scanner.peek() == Some(',') {
            scanner.next();
            scanner.skip_blanks();
            if scanner.peek().is_none() {
                return Err(scanner.error("field=value is missing after the comma"));
            }
        }
    }
    Ok(assignments)
}

fn some_conditions(scanner: &mut Scanner) -> Result<Vec<Condition>, SyntaxError> {
    scanner.skip_blanks();
    if scanner.peek().is_none() {
        return Err(scanner.error("a condition is missing; * means all documents"));
    }
    conditions(scanner)
}

/// `field OP value` as often as it comes, divided by blanks; or `*`, which is none.
fn conditions(scanner: &mut Scanner) -> Result<Vec<Condition>, SyntaxError> {
    let mut conditions = Vec::new();
    scanner.skip_blanks();
    if scanner.rest().trim_end() == "*" {
        scanner.skip_rest();
    }
    while scanner.peek().is_some() {
        let field = scanner.field()?;
        let operator = scanner.operator()?;
        let value = scanner.value()?;
        conditions.push(Condition { field, operator, value });
        if scanner.peek() == Some(',') {
            return Err(
                scanner.error("conditions are divided by spaces; quote a value with a comma")
            );
        }
        scanner.skip_blanks();
    }
    Ok(conditions)
}

/// The word `set` divides conditions from changes; without it the last word is the changes.
fn update(scanner: &mut Scanner) -> Result<Command, SyntaxError> {
    let collection = collection(scanner)?;
    let words = scanner.words_ahead()?;
    let (divide, resume) = match (words.iter().find(|word| word.text == "set"), words.as_slice()) {
        (Some(set), _) => (set.start, set.end),
        (None, [.., _, last]) => (last.start, last.start),
        (None, [_]) => {
            let message = "conditions and changes are needed: update users age<18 minor=true; \
                           update users set minor=true changes all documents";
            return Err(scanner.error(message));
        }
        (None, []) => {
            scanner.skip_blanks();
            return Err(scanner.error("conditions and changes are missing"));
        }
    };
    let mut before = scanner.until(divide);
    let conditions = conditions(&mut before)?;
    scanner.jump(resume);
    scanner.skip_blanks();
    if scanner.peek().is_none() {
        return Err(scanner.error("the changes are missing: field=value after set"));
    }
    let changes = assignments(scanner)?;
    Ok(Command::Update { collection, conditions, changes })
}
