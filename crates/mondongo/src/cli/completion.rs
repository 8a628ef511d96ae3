//! What the prompt offers when the tab key is pressed.

use super::language::{COMMANDS, canonical};
use api::{FieldType, Schema};

/// The collections of the store and their fields, as last heard.
pub(super) type Catalog = Vec<(String, Schema)>;

/// What may stand at the end of `line` (the text before the cursor): the byte at which the word begins
/// that it would replace, and the candidates.
pub(super) fn candidates(line: &str, catalog: &Catalog) -> (usize, Vec<String>) {
    let start = line
        .char_indices()
        .rev()
        .find(|(_, character)| character.is_whitespace() || *character == ',')
        .map_or(0, |(position, character)| position + character.len_utf8());
    let (before, word) = line.split_at(start);
    let mut words = before.split_whitespace();
    let found = match (words.next().map(canonical), words.next()) {
        (None, _) => commands(),
        (Some(Some("addcol")), Some(_)) => return types(line, start),
        (Some(Some("add" | "search" | "update" | "remove" | "rmcol" | "desc")), None) => {
            catalog.iter().map(|(name, _)| format!("{name} ")).collect()
        }
        (Some(Some(command @ ("add" | "search" | "update" | "remove"))), Some(collection)) => {
            fields(command, collection, catalog)
        }
        _ => Vec::new(),
    };
    (start, found.into_iter().filter(|candidate| candidate.starts_with(word)).collect())
}

fn commands() -> Vec<String> {
    COMMANDS
        .iter()
        .flat_map(|(name, aliases)| std::iter::once(name).chain(aliases.iter()))
        .map(|name| format!("{name} "))
        .collect()
}

fn fields(command: &str, collection: &str, catalog: &Catalog) -> Vec<String> {
    let Some((_, schema)) = catalog.iter().find(|(name, _)| name == collection) else {
        return Vec::new();
    };
    let names = schema.fields.iter().map(|field| field.name.as_str());
    // What is added has no _id to be looked for, but may bring one.
    let id = std::iter::once("_id").filter(|_| command != "add");
    names.chain(id).map(|name| format!("{name}=")).collect()
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
        let schema = api::json::parse_document(br#"{"*email":"str","name":"str"}"#).expect("JSON");
        let schema = api::parse::parse_schema(&schema).expect("a schema");
        let catalog = vec![("users".to_string(), schema), ("units".to_string(), Schema::default())];
        candidates(line, &catalog)
    }

    #[test]
    fn commands_collections_fields_and_types_are_offered() {
        let cases: [(&str, usize, &[&str]); 12] = [
            ("se", 0, &["search "]),
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
        ];
        for (line, start, expected) in cases {
            assert_eq!(
                offered(line),
                (start, expected.iter().map(|e| (*e).to_string()).collect()),
                "{line}"
            );
        }
        assert_eq!(offered("").1.len(), 26);
    }
}
