//! What `help` says: all commands, or one of them with an example.

use super::language::canonical;
use api::parse::{OPERATIONS, Operation};

/// All commands.
pub(super) const HELP: &str = "\
Usage: mondongo cli <host:port>[,<host:port>...] | <folder>
Available commands within the prompt
  help [<command>]: show this message, or one command with an example
  addcol <name> {key=val,}+: add a new collection with the specified schema
  rmcol <name>: remove the specified collection
  desc [<col>]: describe the store, or one collection
  add <col> {key=val,}+: add a new document with the specified attributes
  search <col> <query>: obtain all the documents which meet the specified query
  count <col> <query>: count the documents which meet the specified query
  distinct <col> <field> <query>: obtain the values of a field
  update <col> <query> {key=val,}+: update the documents meeting the query
  remove <col> <query>: remove the documents which meet the specified query
  get <key>: show the value of a key
  put <key> <value>: set the value of a key (null removes it)
  swap <key> <value>: set the value of a key and show the one before
  cas <key> <expected> <value>: set the value of a key if it is the expected one
  status: show the state of the node
  members: show the members of the group
  deaf, listen: let the node take no messages of other nodes, and take them again
  unreliable <share>, reliable: let the node lose that share of its messages, and none
    (these four at nodes that were started with --fault-injection)
  <operation> <argument>...: any operation of the protocol, arguments as JSON or words
  [\"operation\", ...]: send a request as JSON and show its answer
  set output blocks|table|json: how answers are shown
  set timing on|off: show how long each command takes
  set pager on|off: show long answers page by page
  exit: close the current connection
Types in a schema: str int float bool date list doc any; * before a name: indexed
Queries: field OP value with = != > >= < <=, divided by spaces; * for all documents;
  or JSON: search users {\"age\": {\"$gt\": 18}} {\"sort\": {\"age\": -1}, \"limit\": 10}
Quotes protect spaces and commas; the word set may divide query and changes of update
An open quote or bracket goes on in the next line; an empty line ends it
";

/// Command, how it is written, what it does, and an example.
const TOPICS: &[(&str, &str, &str, &str)] = &[
    ("help", "help [<command>]", "shows all commands, or one with an example", "help search"),
    (
        "addcol",
        "addcol <name> {key=val,}+",
        "adds a collection; * before a name makes an index",
        "addcol users *email=str,name=str,age=int",
    ),
    ("rmcol", "rmcol <name>", "removes a collection and all in it", "rmcol users"),
    ("desc", "desc [<col>]", "describes the store, or one collection", "desc users"),
    (
        "add",
        "add <col> {key=val,}+",
        "adds a document; as JSON also several",
        "add users [{\"email\": \"a\"}, {\"email\": \"b\"}]",
    ),
    (
        "search",
        "search <col> <query>",
        "shows the documents that meet a query; as JSON with options sort, limit, skip, fields, count, explain",
        "search users {\"age\": {\"$gt\": 18}} {\"sort\": {\"age\": -1}, \"limit\": 10}",
    ),
    (
        "count",
        "count <col> <query>",
        "counts the documents that meet a query",
        "count users age>18",
    ),
    (
        "distinct",
        "distinct <col> <field> <query>",
        "shows the different values of a field",
        "distinct users age email!=a",
    ),
    (
        "update",
        "update <col> <query> [set] {key=val,}+",
        "changes the documents that meet a query; as JSON with operators",
        "update users {\"age\": 18} {\"$inc\": {\"age\": 1}}",
    ),
    (
        "remove",
        "remove <col> <query>",
        "removes the documents that meet a query",
        "remove users age<18",
    ),
    ("get", "get <key>", "shows the value of a key", "get greeting"),
    (
        "put",
        "put <key> <value>",
        "sets the value of a key; null removes it",
        "put greeting \"hola, mundo\"",
    ),
    (
        "swap",
        "swap <key> <value>",
        "sets the value of a key and shows the one before",
        "swap greeting 2",
    ),
    (
        "cas",
        "cas <key> <expected> <value>",
        "sets the value of a key if it is the expected one",
        "cas counter 1 2",
    ),
    ("status", "status", "shows the state of the node that is talked to", "status"),
    ("members", "members", "shows the members of the group", "members"),
    ("deaf", "deaf", "lets the node take no messages of other nodes", "deaf"),
    ("listen", "listen", "lets the node take messages again", "listen"),
    (
        "unreliable",
        "unreliable <share>",
        "lets the node lose that share of its messages",
        "unreliable 0.3",
    ),
    ("reliable", "reliable", "lets the node lose no messages any more", "reliable"),
    ("set", "set output|timing|pager <value>", "changes how answers are shown", "set output table"),
    ("exit", "exit", "closes the connection", "exit"),
    (
        "replace",
        "replace <col> <query> <document> [{\"upsert\": true}]",
        "puts a document in the place of one",
        "replace users {\"_id\": 1} {\"name\": \"Ana\"}",
    ),
    (
        "modify",
        "modify <col> <query> <changes> [<options>]",
        "changes one document and shows it; options sort, return, fields, upsert, remove",
        "modify jobs {\"state\": \"new\"} {\"$set\": {\"state\": \"mine\"}} {\"return\": \"after\"}",
    ),
    (
        "aggregate",
        "aggregate <col> <pipeline>",
        "shows what a pipeline of stages makes of a collection",
        "aggregate users [{\"$group\": {\"_id\": \"$age\", \"n\": {\"$sum\": 1}}}]",
    ),
    (
        "create_index",
        "create_index <col> <keys> [<options>]",
        "makes an index; options name, unique, sparse, where, wait",
        "create_index users {\"age\": 1, \"name\": -1}",
    ),
    ("drop_index", "drop_index <col> <name>", "removes an index", "drop_index users age_1"),
    (
        "alter",
        "alter <col> <changes>",
        "adds fields to a schema, or drops some",
        "alter users {\"add\": {\"zip\": \"str\"}, \"drop\": [\"age\"]}",
    ),
    (
        "batch",
        "batch <requests>",
        "carries out several writes as one step",
        "batch [[\"write\", \"a\", 1], [\"write\", \"b\", 2]]",
    ),
    (
        "watch",
        "watch <subject>",
        "shows changes as they come, until Ctrl-C",
        "watch {\"collection\": \"users\"}",
    ),
    ("forget", "forget <reference>", "drops the answer of a write", "forget c7:3"),
    (
        "member",
        "member add|remove|promote|lead [<node>]",
        "changes who takes part, or who leads",
        "member lead localhost:8001",
    ),
];

/// About one command; none if there is no such command.
pub(super) fn about(word: &str) -> Option<String> {
    let name = canonical(word).or_else(|| Operation::find(word).map(|operation| operation.name));
    let name = name.or(TOPICS.iter().find(|topic| topic.0 == word).map(|topic| topic.0))?;
    let operation = Operation::find(name);
    let mut text = match TOPICS.iter().find(|topic| topic.0 == name) {
        Some((_, usage, what, example)) => {
            format!("{usage}\n  {what}\n  example: {example}\n")
        }
        None => format!("{}\n", operation?.usage()),
    };
    let aliases = operation.map_or(&[][..], |operation| operation.aliases);
    if !aliases.is_empty() {
        text += &format!("  also: {}\n", aliases.join(", "));
    }
    Some(text)
}

/// Everything that can be the first word of a command, or that `help` knows.
pub(super) fn words() -> Vec<&'static str> {
    let operations = OPERATIONS.iter().filter(|operation| operation.name != "hello");
    let operations =
        operations.flat_map(|o| std::iter::once(o.name).chain(o.aliases.iter().copied()));
    let commands = super::language::COMMANDS.iter();
    let mut words: Vec<&str> = commands
        .flat_map(|(name, aliases)| std::iter::once(*name).chain(aliases.iter().copied()))
        .chain(operations)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::language::{Command, parse};

    #[test]
    fn every_command_and_operation_has_help_and_its_example_is_understood() {
        for word in words() {
            let about = about(word).unwrap_or_else(|| panic!("no help on {word}"));
            let Some(example) = about.lines().find_map(|line| line.strip_prefix("  example: "))
            else {
                continue;
            };
            match parse(example) {
                Ok(Command::Operation(typed)) => {
                    typed.call().unwrap_or_else(|error| panic!("{example}: {}", error.message));
                }
                Ok(_) => {}
                Err(error) => panic!("{example}: {}", error.message),
            }
        }
        assert!(about("lee").is_some_and(|text| text.contains("get <key>")));
        assert_eq!(about("nonsense"), None);
    }
}
