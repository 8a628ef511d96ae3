//! The prompt against real nodes: every operation by words, several lines, forms of answers, a terminal (D3).

use crate::group::{Group, mondongo};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The output of a prompt that reads `input` from a pipe, both streams, and its exit status.
fn pipe(group: &Group, arguments: &[&str], input: &str) -> (String, String, Option<i32>) {
    let mut command = mondongo();
    command.arg("cli").arg(&group.nodes[0].address).args(arguments).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// D3: what the protocol offers is there by words, in all forms of answers.
#[test]
fn every_operation_is_reached_by_words() {
    let group = Group::start(1);
    let input = "addcol users *email=str,age=int
add users [
  {\"_id\": 1, \"email\": \"a\", \"age\": 30},
  {\"_id\": 2, \"email\": \"b\", \"age\": 20},
  {\"_id\": 3, \"email\": \"c\", \"age\": 20}
]
count users age<25
distinct users age email!=a
distinct users age {\"email\": \"a\"}
search users {\"age\": {\"$gte\": 20}} {\"sort\": {\"age\": 1, \"_id\": -1}, \"limit\": 2, \"fields\": {\"email\": 1}}
update users {\"age\": 20} {\"$inc\": {\"age\": 1}} {\"multi\": false}
replace users {\"_id\": 9} {\"email\": \"z\"} {\"upsert\": true}
modify users {\"_id\": 1} {\"$set\": {\"age\": 31}} {\"return\": \"after\", \"fields\": {\"age\": 1}}
aggregate users [{\"$group\": {\"_id\": \"$age\", \"n\": {\"$sum\": 1}}}, {\"$sort\": {\"_id\": 1}}]
create_index users {\"age\": 1, \"email\": -1} {\"name\": \"by_age\"}
drop_index users by_age
alter users {\"add\": {\"zip\": \"str\"}}
remove users {\"_id\": 9}
escribe k 1
lee k
borrar_ref c:1
";
    let (out, err, code) = pipe(&group, &[], input);
    assert_eq!((err.as_str(), code), ("", Some(0)), "{out}");
    let expected = "Col added.
3 docs added with _id 1, 2, 3.
2
Results:
- 20
Results:
- 30
Results:
- id: 3
  email: c
- id: 2
  email: b
Doc updated.
";
    assert!(out.starts_with(expected), "{out}");
    for part in ["age: 31", "  n: 1", "Done.\nDone.\nDoc removed.\nKey written.\n1\n"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let table = "_id  email  age\n---  -----  ---\n  1  a       31\n";
    let (out, err, code) = pipe(&group, &["--output", "table"], "search users _id=1\n");
    assert_eq!((out, err, code), (format!("{table}(1 doc)\n"), String::new(), Some(0)));
    let input = "set output json\nset timing on\ncount users *\n";
    let (out, err, _) = pipe(&group, &[], input);
    assert_eq!(out, "[\"ok\",\"Set.\"]\n[\"ok\",\"Set.\"]\n[\"ok\",3]\n");
    assert!(err.contains(" ms)"), "{err}");
}

/// D3: what is wrong is pointed at, within JSON of several lines as well, and the rest goes on.
#[test]
fn errors_in_several_lines_are_pointed_at() {
    let group = Group::start(1);
    let input = "addcol c a=int\nsearch c {\n  \"a\" 1\n}\naggregate c {}\n[\"read\", k]\nput k 1\nput l \"x\n\nget k";
    let (out, err, code) = pipe(&group, &[], input);
    assert_eq!(code, Some(1));
    assert!(out.starts_with("Col added.\n[\"ko\","), "{out}");
    assert!(out.ends_with("Key written.\n1\n"), "{out}");
    for part in [
        "  \"a\" 1\n      ^\nError: not valid JSON",
        "aggregate c {}\n            ^\nError:",
        "[\"read\", k]\n         ^\n",
        "put l \"x\n      ^\nError: the quote \" is not closed",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
}

/// D3: at a terminal.
#[test]
fn the_prompt_works_at_a_terminal() {
    let group = Group::start(1);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prompt.py");
    let history = group.folder.path().join("state/history");
    let output = Command::new("python3")
        .arg(script)
        .args([env!("CARGO_BIN_EXE_mondongo"), &group.nodes[0].address])
        .arg(history)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("not run: there is no python3");
            return;
        }
        Err(error) => panic!("python3: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
