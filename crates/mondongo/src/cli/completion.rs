//! What the prompt offers when the tab key is pressed.

use super::help;
use super::language::canonical;
use api::FieldType;
use api::parse::Operation;

/// What completion knows of the group, as last heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The collections, with fields of their schema and of some documents.
    pub(super) collections: Vec<(String, Vec<String>)>,
    /// The addresses of the members.
    pub(super) members: Vec<String>,
}

/// What may stand at the end of `line` (the text before the cursor): the byte at which the word begins
/// that it would replace, and the candidates.
pub(super) fn candidates(line: &str, known: &Known) -> (usize, Vec<String>) {
    let start = line
        .char_indices()
        .rev()
        .find(|(_, character)| is_divider(*character))
        .map_or(0, |(position, character)| position + character.len_utf8());
    let (before, word) = line.split_at(start);
    let in_json = before.contains(['{', '[']);
    let mut words = before.split_whitespace();
    let Some(first) = words.next() else {
        return (start, matching(help::words().into_iter().map(spaced), word));
    };
    let command = canonical(first).unwrap_or(first);
    let second = words.next();
    if in_json && let Some(collection) = second {
        return (start, matching(fields(collection, known, "\""), word));
    }
    let found = match (command, second) {
        ("addcol", Some(_)) => return types(line, start),
        ("help", None) => help::words().into_iter().map(str::to_string).collect(),
        ("set", None) => ["output ", "timing ", "pager "].map(String::from).to_vec(),
        ("set", Some("output")) => ["blocks", "table", "json"].map(String::from).to_vec(),
        ("set", Some("timing" | "pager")) => ["on", "off"].map(String::from).to_vec(),
        ("member", None) => ["add ", "lead ", "promote ", "remove "].map(String::from).to_vec(),
        ("member", Some(_)) => known.members.clone(),
        (command, None) if takes_collection(command) => {
            known.collections.iter().map(|(name, _)| spaced(name)).collect()
        }
        ("distinct", Some(collection)) if words.next().is_none() => fields(collection, known, " "),
        ("add", Some(collection)) => {
            let mut fields = fields(collection, known, "=");
            // What is added has no _id to be looked for, but may bring one.
            fields.retain(|field| !field.starts_with("_id"));
            fields
        }
        ("search" | "update" | "remove" | "count" | "distinct", Some(collection)) => {
            fields(collection, known, "=")
        }
        _ => Vec::new(),
    };
    (start, matching(found, word))
}

fn is_divider(character: char) -> bool {
    character.is_whitespace() || matches!(character, ',' | '{' | '[' | '"')
}

fn matching(candidates: impl IntoIterator<Item = String>, word: &str) -> Vec<String> {
    candidates.into_iter().filter(|candidate| candidate.starts_with(word)).collect()
}

fn spaced(word: impl AsRef<str>) -> String {
    format!("{} ", word.as_ref())
}

/// Whether the first argument is a collection that is there.
fn takes_collection(command: &str) -> bool {
    const COMMANDS: [&str; 8] =
        ["add", "search", "count", "distinct", "update", "remove", "rmcol", "desc"];
    let operation = Operation::find(command).filter(|operation| operation.name != "create");
    let takes = |operation: &Operation| {
        operation.arguments.first().is_some_and(|name| name.starts_with("collection"))
    };
    COMMANDS.contains(&command) || operation.is_some_and(takes)
}

/// The fields of a collection, `_id` last.
fn fields(collection: &str, known: &Known, behind: &str) -> Vec<String> {
    let Some((_, fields)) = known.collections.iter().find(|(name, _)| name == collection) else {
        return Vec::new();
    };
    let names = fields.iter().map(String::as_str).chain(std::iter::once("_id"));
    names.map(|name| format!("{name}{behind}")).collect()
}

/// Types behind the `=` of a schema's field.
fn types(line: &str, start: usize) -> (usize, Vec<String>) {
    let Some(equals) = line[start..].rfind('=') else { return (start, Vec::new()) };
    let start = start + equals + 1;
    let words = FieldType::ALL.iter().map(|(_, word)| (*word).to_string());
    (start, words.filter(|word| word.starts_with(&line[start..])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> (usize, Vec<String>) {
        let collection = |name: &str, fields: &[&str]| {
            (name.to_string(), fields.iter().map(ToString::to_string).collect())
        };
        let collections = vec![collection("users", &["email", "name"]), collection("units", &[])];
        let members = vec!["localhost:8000".to_string()];
        candidates(line, &Known { collections, members })
    }

    #[test]
    fn commands_collections_fields_and_types_are_offered() {
        let cases: [(&str, usize, &[&str]); 20] = [
            ("se", 0, &["search ", "set "]),
            ("esc", 0, &["escribe ", "escribe_hash ", "escucha "]),
            ("search u", 7, &["users ", "units "]),
            ("search us", 7, &["users "]),
            ("search users e", 13, &["email="]),
            ("search users ", 13, &["email=", "name=", "_id="]),
            ("add users email=a,n", 18, &["name="]),
            ("add users ", 10, &["email=", "name="]),
            ("search nowhere e", 15, &[]),
            ("addcol u a=", 11, &["str", "int", "float", "bool", "date", "list", "doc", "any"]),
            ("addcol u a=str,b=d", 17, &["date", "doc"]),
            ("get k", 4, &[]),
            ("count u", 6, &["users ", "units "]),
            ("distinct users e", 15, &["email "]),
            ("aggregate us", 10, &["users "]),
            ("search users {\"na", 15, &["name\""]),
            ("set output t", 11, &["table"]),
            ("member lead l", 12, &["localhost:8000"]),
            ("help aggr", 5, &["aggregate"]),
            ("create u", 7, &[]),
        ];
        for (line, start, expected) in cases {
            assert_eq!(
                offered(line),
                (start, expected.iter().map(|e| (*e).to_string()).collect()),
                "{line}"
            );
        }
        assert!(offered("").1.len() > 40, "commands, operations and their other names");
    }
}
