//! Folders without a server: the prompt on them (D4), `verify` and `log` (D5).

use crate::group::{Group, mondongo, wait_for};
use crate::snapshots::write_bulk;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs commands in the prompt on a folder.
fn cli(folder: &Path, commands: &[&str]) -> Output {
    let mut command = mondongo();
    command.arg("cli").arg(folder);
    for text in commands {
        command.args(["-c", text]);
    }
    command.output().expect("it runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn verify(folder: &Path) -> Output {
    mondongo().arg("verify").arg(folder).output().expect("it runs")
}

fn log(folder: &Path, arguments: &[&str]) -> Output {
    mondongo().arg("log").arg(folder).args(arguments).output().expect("it runs")
}

/// Every file below a folder with its bytes, but for the lock.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).expect("a folder").map(|e| e.expect("a name").path()));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            found.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

/// D4: what is written without a server is there for a later one, and the other way round, whatever its address.
#[test]
fn a_folder_without_a_server_is_a_group_of_one() {
    let mut group = Group::empty();
    group.reserve(1);
    let folder = group.nodes[0].folder.clone();
    let first = cli(&folder, &["addcol users *email=str", "add users _id=1 email=a", "put k 5"]);
    assert_eq!(out(&first), "Col added.\nDoc added with _id 1.\nKey written.\n", "{}", err(&first));
    assert!(err(&first).contains("is new"), "{}", err(&first));
    let again = cli(&folder, &["search users email=a", "put l 6"]);
    assert_eq!(out(&again), "Results:\n- id: 1\n  email: a\nKey written.\n");
    assert_eq!(err(&again), "");
    group.start_node(0, None);
    assert_eq!(group.ask(0, &json!(["read", "k"])), json!(["ok", 5]));
    assert_eq!(group.ask(0, &json!(["write", "m", 7])), json!(["ok", 7]));
    let refused = cli(&folder, &["get m"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("in use by another process (process"), "{}", err(&refused));
    let checked = verify(&folder);
    assert_eq!(checked.status.code(), Some(2), "{}", err(&checked));
    assert!(err(&checked).contains("in use by another process (process"), "{}", err(&checked));
    // The log can be looked at all the same.
    wait_for("the write in the log", || out(&log(&folder, &[])).contains("\"m\"").then_some(()));
    group.kill(0);
    assert_eq!(out(&cli(&folder, &["get l", "get m"])), "6\n7\n");
    let checked = verify(&folder);
    assert_eq!(checked.status.code(), Some(0), "{}{}", out(&checked), err(&checked));
}

/// D4: a folder of a larger group can be read; a write, which the others would not have, is refused.
#[test]
fn a_folder_of_a_larger_group_can_only_be_read() {
    let mut group = Group::start(3);
    assert_eq!(group.ask(1, &json!(["create", "c", {}]))[0], "ok");
    assert_eq!(group.ask(1, &json!(["insert", "c", {"_id": 1}])), json!(["ok", 1]));
    wait_for("node 1 to have it", || {
        let found = group.ask(1, &json!(["search", "c", {}, {"level": "local"}]));
        (found == json!(["ok", [{"_id": 1}]])).then_some(())
    });
    (0..3).for_each(|number| group.kill(number));
    let folder = group.nodes[1].folder.clone();
    let commands = ["search c *", "add c _id=2", "desc", "members", "[\"search\", \"c\", {}]"];
    let output = cli(&folder, &commands);
    assert_eq!(output.status.code(), Some(1));
    let (said, refused) = (out(&output), err(&output));
    assert!(said.starts_with("Results:\n- id: 1\nCollections:\n- c: 1 doc\n"), "{said}");
    assert!(said.ends_with("[\"ok\",[{\"_id\":1}]]\n"), "{said}");
    assert_eq!(said.matches("voter: true").count(), 3, "{said}");
    for part in
        ["can only be read: it belongs to a group of 3 nodes", "insert: this folder can only"]
    {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Nothing has become of it that the group could not go on with.
    (0..3).for_each(|number| group.start_node(number, None));
    assert_eq!(group.ask(1, &json!(["insert", "c", {"_id": 2}])), json!(["ok", 2]));
}

#[test]
fn a_folder_that_is_something_else_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("letter.txt"), "dear").expect("written");
    for (output, code) in [
        (cli(folder.path(), &["desc"]), 1),
        (verify(folder.path()), 2),
        (log(folder.path(), &[]), 1),
        (verify(&folder.path().join("nowhere")), 2),
        (log(&folder.path().join("nowhere"), &[]), 1),
    ] {
        let said = err(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("letter.txt") || said.contains("nowhere"), "{said}");
    }
    let names: Vec<_> = fs::read_dir(folder.path()).expect("there").collect();
    assert_eq!(names.len(), 1, "nothing is left behind: {names:?}");
    // Whoever asks, the same is said of the same mistake.
    for (path, part) in [("nowhere", "there is no such folder"), ("letter.txt", "it is no folder")]
    {
        let path = folder.path().join(path);
        let (of_verify, of_log) = (err(&verify(&path)), err(&log(&path, &[])));
        assert_eq!(of_verify, of_log);
        assert_eq!(of_log, err(&log(&path, &["--follow"])));
        assert!(of_log.contains(part), "{of_log}");
    }
}

/// D5: what the log says, as text and as JSON, whole or in part.
#[test]
fn the_log_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("db");
    assert!(cli(&db, &["put k 1", "put k 2", "put k 3"]).status.success());
    let before = content(&db);
    let text = out(&log(&db, &[]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "a membership, a blank and three writes: {text}");
    assert!(lines[0].contains("membership") && lines[0].contains("localhost:8000"), "{text}");
    assert!(lines[1].ends_with("blank"), "{text}");
    assert!(lines[3].contains("4 d ") && lines[3].ends_with("[\"write\",\"k\",2]"), "{text}");
    let json = out(&log(&db, &["--json", "--from", "4", "--to", "4"]));
    let entry: Value = serde_json::from_str(&json).expect("one line");
    assert_eq!(entry["slot"], 4);
    assert_eq!(entry["kind"], "command");
    assert_eq!(entry["operation"], "write");
    assert_eq!(entry["request"], json!(["write", "k", 2]));
    assert!(entry["reference"].as_str().is_some_and(|text| text.contains(':')), "{entry}");
    let records = out(&log(&db, &["--records"]));
    assert!(records.starts_with("promise") && records.contains("\ndecided"), "{records}");
    assert_eq!(content(&db), before, "it is only looked at");
}

/// D5: entries are shown as they come while a server holds the folder, each once, across the end of a segment.
#[test]
fn the_log_is_followed() {
    let group = Group::start(1);
    assert_eq!(group.ask(0, &json!(["write", "k", "before"]))[0], "ok");
    let mut following = mondongo()
        .arg("log")
        .arg(&group.nodes[0].folder)
        .args(["--follow", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let stdout = following.stdout.take().expect("its output");
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let entry: Value = serde_json::from_str(&line).expect("JSON");
            if entry["operation"] == "write" && sender.send(entry).is_err() {
                break;
            }
        }
    });
    let next = || lines.recv_timeout(Duration::from_secs(60)).expect("an entry comes");
    assert_eq!(next()["request"], json!(["write", "k", "before"]));
    for number in 0..5 {
        assert_eq!(group.ask(0, &json!(["write", "k", number]))[0], "ok");
        assert_eq!(next()["request"], json!(["write", "k", number]));
    }
    // More than a segment holds.
    let text = "x".repeat(60_000);
    for number in 0..1_200 {
        assert_eq!(group.ask(0, &json!(["write", format!("k{number}"), text]))[0], "ok");
    }
    for number in 0..1_200 {
        assert_eq!(next()["request"][1], json!(format!("k{number}")));
    }
    let pid = rustix::process::Pid::from_child(&following);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is there");
    let ended = following.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{}", err(&ended));
    assert!(lines.recv().is_err(), "each entry once");
}

/// What a node writes while its log is read for the first time comes, too.
#[test]
fn a_log_is_followed_without_a_gap_while_the_node_writes() {
    let group = Group::start(1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when something is found to be wrong.
        let _stopping = Stopping(&stop);
        for writer in 0..4 {
            let (group, stop) = (&group, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(group.ask(0, &json!(["write", format!("k{writer}"), 1]))[0], "ok");
                }
            });
        }
        let applied = || group.ask(0, &json!(["status"]))[1]["applied"].as_u64().expect("a slot");
        wait_for("a log that takes a while to read", || (applied() > 3_000).then_some(()));
        for _ in 0..5 {
            let mut following = mondongo()
                .arg("log")
                .arg(&group.nodes[0].folder)
                .args(["--follow", "--json"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("it runs");
            let upto = applied() + 500;
            let mut next = 1;
            for line in BufReader::new(following.stdout.take().expect("its output")).lines() {
                let entry: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
                let slot = entry["slot"].as_u64().expect("a slot");
                assert!(slot <= next, "slot {slot} is shown where {next} follows");
                next = next.max(slot + 1);
                if slot >= upto {
                    break;
                }
            }
            // What it wrote behind that nobody reads; it ends by that or by this.
            let _ = following.kill();
            following.wait().expect("it ends");
        }
    });
}

/// Ends what goes on beside a test.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Undoes what a damage did when it goes.
struct Undo {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Drop for Undo {
    fn drop(&mut self) {
        fs::write(&self.path, &self.bytes).expect("written back");
    }
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) -> Undo {
    let bytes = fs::read(path).expect("a file");
    let mut changed = bytes.clone();
    how(&mut changed);
    fs::write(path, changed).expect("it is written");
    Undo { path: path.to_path_buf(), bytes }
}

fn flip(at: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[at] ^= 0x10
}

/// The first file of a folder, in order of names, whose name begins with `start`.
fn file(folder: &Path, start: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a name").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(start)));
    paths.sort();
    paths.into_iter().next().unwrap_or_else(|| panic!("no {start}… in {folder:?}"))
}

/// Spec D5, 6: a store that is gone is missed where the log does not hold all that was in it.
#[test]
fn verify_misses_a_store_whose_log_was_cut() {
    let mut group = Group::with_arguments(1, &["--log-retain-mib", "1"]);
    write_bulk(&group, 4);
    assert!(group.stop(0).success());
    let folder = group.nodes[0].folder.clone();
    let store = folder.join("store");
    // The log is whole: what is gone is made anew from it.
    fs::rename(&store, folder.join("elsewhere")).expect("moved");
    let found = verify(&folder);
    assert_eq!(found.status.code(), Some(0), "{}", out(&found));
    assert!(out(&found).contains("there is no store"), "{}", out(&found));
    fs::rename(folder.join("elsewhere"), &store).expect("moved back");
    group.start_node(0, None);
    group.leader();
    write_bulk(&group, 160);
    assert!(group.stop(0).success());
    let found = verify(&folder);
    assert_eq!(found.status.code(), Some(0), "{}", out(&found));
    assert!(!out(&found).contains("slots 1 to"), "it was not cut: {}", out(&found));
    fs::remove_dir_all(&store).expect("removed");
    let found = verify(&folder);
    let said = out(&found);
    assert_eq!(found.status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.starts_with("DAMAGED")).unwrap_or_default();
    assert!(
        line.contains(&store.display().to_string()) && line.contains("begins after slot"),
        "{said}"
    );
}

/// Spec D5, 6: damage to each kind of file is found, the file named, and nothing changed by looking.
#[test]
fn verify_names_the_file_that_is_damaged() {
    let mut group = Group::start(1);
    assert_eq!(group.ask(0, &json!(["create", "c", {"*n": "int"}]))[0], "ok");
    for number in 0..50 {
        assert_eq!(group.ask(0, &json!(["insert", "c", {"_id": number, "n": number}]))[0], "ok");
    }
    write_bulk(&group, 40);
    assert!(group.stop(0).success());
    let folder = group.nodes[0].folder.clone();
    let before = content(&folder);
    let sound = verify(&folder);
    assert_eq!(sound.status.code(), Some(0), "{}{}", out(&sound), err(&sound));
    assert!(out(&sound).contains("1 collections, 50 documents"), "{}", out(&sound));
    let rows = folder.join("store/keyspaces/1");
    let table = file(&rows.join("tables"), "");
    type Damage = Box<dyn FnOnce(&mut Vec<u8>)>;
    let middle = |path: &Path| fs::metadata(path).expect("a file").len() as usize / 2;
    let segment = file(&folder.join("log"), "segment-");
    let current = fs::read(rows.join("current")).expect("a pointer");
    let number = u64::from_le_bytes(current[..8].try_into().expect("8 bytes"));
    let manifest = rows.join(format!("v{number}"));
    let journal = newest_journal(&folder.join("store"));
    let damages: Vec<(PathBuf, Damage)> = vec![
        (folder.join("identity.json"), Box::new(|bytes| bytes.truncate(20))),
        (
            folder.join("identity.json"),
            Box::new(|bytes| replace(bytes, "\"policy\": \"p", "\"policy\": \"q")),
        ),
        (folder.join("members.json"), Box::new(|bytes| bytes.truncate(1))),
        (segment.clone(), Box::new(flip(20))),
        (segment.clone(), Box::new(flip(100))),
        (segment.clone(), Box::new(|bytes| bytes.truncate(bytes.len() / 2))),
        (table.clone(), Box::new(flip(middle(&table)))),
        (table.clone(), Box::new(|bytes| bytes.truncate(bytes.len() / 2))),
        (manifest.clone(), Box::new(flip(10))),
        (rows.join("current"), Box::new(flip(3))),
        (journal.clone(), Box::new(flip(20))),
    ];
    for (path, damage) in damages {
        let undo = change(&path, damage);
        let found = verify(&folder);
        let said = out(&found);
        assert_eq!(found.status.code(), Some(1), "{}: {said}{}", path.display(), err(&found));
        let named = said
            .lines()
            .any(|line| line.starts_with("DAMAGED") && line.contains(&path.display().to_string()));
        assert!(named, "{}: {said}", path.display());
        drop(undo);
    }
    // A broken stores.json, and files that are gone.
    let stores = folder.join("stores.json");
    fs::write(&stores, "{\"current\":\"store\"").expect("written");
    let said = out(&verify(&folder));
    assert!(said.contains(&format!("DAMAGED  {}", stores.display())), "{said}");
    fs::remove_file(&stores).expect("removed");
    for path in [table, segment, folder.join("identity.json"), manifest] {
        let aside = folder.with_extension("aside");
        fs::rename(&path, &aside).expect("moved");
        let found = verify(&folder);
        let said = out(&found);
        assert_eq!(found.status.code(), Some(1), "{}: {said}{}", path.display(), err(&found));
        assert!(said.contains("DAMAGED"), "{said}");
        fs::rename(&aside, &path).expect("moved back");
    }
    assert_eq!(verify(&folder).status.code(), Some(0));
    assert!(content(&folder) == before, "it is only looked at");
}

fn newest_journal(store: &Path) -> PathBuf {
    let entries = fs::read_dir(store).expect("a store").map(|entry| entry.expect("a name").path());
    let journals = entries.filter(|path| path.extension().is_some_and(|e| e == "jnl"));
    let number = |path: &PathBuf| {
        path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()).unwrap_or_default()
    };
    journals.max_by_key(number).expect("a journal")
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(bytes.clone()).expect("text");
    assert!(text.contains(from), "{text}");
    *bytes = text.replace(from, to).into_bytes();
}

/// Bits that flip anywhere end no check, no log and no opening with a panic.
#[test]
fn no_damage_ends_in_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("db");
    assert!(cli(&db, &["addcol c *n=int", "add c n=1 t=x", "put k 1"]).status.success());
    let rounds = std::env::var("MONDONGO_FLIPS").map_or(2, |n| n.parse().expect("a number"));
    let mut random = fastrand::Rng::with_seed(7);
    for (path, bytes) in content(&db) {
        let held = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for _ in 0..if held == 0 { 0 } else { rounds } {
            let at = random.usize(..held);
            let undo = change(&path, |bytes| bytes[at] ^= 1 << random.u8(..8));
            for output in [verify(&db), log(&db, &["--records"])] {
                let said = format!("{} at {at}: {}{}", path.display(), out(&output), err(&output));
                assert!(output.status.code().is_some_and(|code| code <= 2), "{said}");
                assert!(!said.contains("panicked"), "{said}");
            }
            drop(undo);
        }
    }
}
