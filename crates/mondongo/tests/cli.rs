//! The prompt as a process, against a node in memory: sessions word for word, pipes, exit status.
//!
//! Each file of `scripts/` is a session: lines that begin with `db > ` are typed, the lines between
//! are what came back. With `BLESS=1` the answers are written anew.

mod common;

use common::start_node;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROMPT: &str = "db > ";

fn mondongo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mondongo"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    mondongo(arguments).output().expect("it runs")
}

fn pipe(arguments: &[&str], input: &str) -> Output {
    let mut child = mondongo(arguments).stdin(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    // It may have stopped reading by design.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = std::fs::read_dir(folder).expect("the scripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths
}

/// D3.
#[test]
fn sessions_go_as_written() {
    let paths = scripts();
    assert!(paths.len() >= 3, "the scripts are there");
    for path in paths {
        let expected = std::fs::read_to_string(&path).expect("a script");
        let node = start_node();
        let mut found = String::new();
        for line in expected.lines() {
            if let Some(command) = line.strip_prefix(PROMPT) {
                let output = run(&["cli", &node, "-c", command]);
                found += &format!("{line}\n{}{}", out(&output), err(&output));
            } else if line.starts_with("## ") {
                found += &format!("{line}\n");
            }
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &found).expect("written");
            continue;
        }
        assert_eq!(found, expected, "{}", path.display());
    }
}

/// The session printed in the founding document, through one pipe.
/// D3.
#[test]
fn the_session_of_the_seed_goes_word_for_word() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/seed.txt");
    let session = std::fs::read_to_string(path).expect("the script");
    let lines = || session.lines().filter(|line| !line.starts_with("## "));
    let typed: Vec<&str> = lines().filter_map(|line| line.strip_prefix(PROMPT)).collect();
    let answers: Vec<&str> = lines().filter(|line| !line.starts_with(PROMPT)).collect();
    let output = pipe(&["cli", &start_node()], &(typed.join("\n") + "\n"));
    assert_eq!(out(&output).lines().collect::<Vec<_>>(), answers);
    assert_eq!(err(&output), "");
    assert!(output.status.success());
}

#[test]
fn a_pipe_goes_on_after_a_failure_and_tells_by_the_status() {
    let node = start_node();
    let output = pipe(&["cli", &node], "get\n# nothing\n\nput k 1\nget k");
    assert_eq!(out(&output), "Key written.\n1\n");
    assert_eq!(err(&output), "get\n   ^\nError: a key is missing\n");
    assert_eq!(output.status.code(), Some(1));

    let output = pipe(&["cli", &node], "get k\nexit\nget\n");
    assert_eq!(out(&output), "1\nBye\n");
    assert_eq!(output.status.code(), Some(0));

    let output = run(&["cli", &node, "-c", "nonsense", "-c", "get k"]);
    assert_eq!((out(&output).as_str(), output.status.code()), ("1\n", Some(1)));
}

/// D3.
#[test]
fn json_answers_are_one_line_per_command() {
    let lines = "addcol users *email=str,age=int\nadd users email=a age=18\n\nsearch users age>10\n\
                 update users age=18 age=19\nsearch nowhere\nadd users age=x\n\
                 [\"search\",\"users\",{}]\nput k {\"a\":1.5}\nget none\ncas k 1 2\nnonsense\nexit\n";
    let output = pipe(&["cli", "--json", &start_node()], lines);
    assert_eq!(
        out(&output).lines().collect::<Vec<_>>(),
        [
            r#"["ok",null]"#,
            r#"["ok","2dc694b9-ead6-4805-9cfb-14fb00c47f1a"]"#,
            r#"["ok",[{"_id":"2dc694b9-ead6-4805-9cfb-14fb00c47f1a","email":"a","age":18}]]"#,
            r#"["ok",1]"#,
            r#"["ko","unknown_collection: there is no \"nowhere\""]"#,
            r#"["ko","bad_request: at character 15: age is declared int, \"x\" is no whole number of 64 bits"]"#,
            r#"["ok",[{"_id":"2dc694b9-ead6-4805-9cfb-14fb00c47f1a","email":"a","age":19}]]"#,
            r#"["ok",{"a":1.5}]"#,
            r#"["ok",null]"#,
            r#"["ok",{"swapped":false,"current":{"a":1.5}}]"#,
            r#"["ko","bad_request: at character 1: unknown command \"nonsense\"; help lists the commands"]"#,
            r#"["ok","Bye"]"#,
        ]
    );
    assert_eq!((err(&output).as_str(), output.status.code()), ("", Some(1)));
}

/// D4.
#[test]
fn wrong_arguments_are_refused_in_words() {
    let cases: [(&[&str], &str); 4] = [
        (&["cli"], "required arguments were not provided"),
        (&["cli", "localhost"], "\"localhost\" is no address: write HOST:PORT"),
        (&["cli", "localhost:8000", "--jsn"], "unexpected argument '--jsn'"),
        (&["clii"], "unrecognized subcommand 'clii'"),
    ];
    for (arguments, part) in cases {
        let output = run(arguments);
        assert!(err(&output).contains(part), "{arguments:?}: {}", err(&output));
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""), "{arguments:?}");
    }
}

#[test]
fn help_is_there_without_a_node() {
    let output = run(&["cli", "help"]);
    assert!(out(&output).starts_with("Usage: mondongo cli <host:port>"));
    assert!(out(&output).contains("\n  addcol <name> {key=val,}+: add a new collection"));
    for arguments in [&["--help"][..], &["help"], &["help", "cli"], &["cli", "--help"]] {
        let output = run(arguments);
        assert!(
            output.status.success() && out(&output).contains("Usage: mondongo"),
            "{arguments:?}"
        );
    }
}

#[test]
fn nobody_there_is_said_at_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let output = run(&["cli", &address, "-c", "get k"]);
    let message = err(&output);
    assert!(message.starts_with(&format!("error: cannot reach any of {address} (")), "{message}");
    assert_eq!(output.status.code(), Some(1));
}

/// The member that is there is found, wherever it stands in the list.
#[test]
fn one_member_that_answers_is_enough() {
    let output = run(&["cli", &format!("127.0.0.1:1,{}", start_node()), "-c", "status"]);
    assert_eq!(out(&output), "role: leader\napplied: 7\n");
}
