//! `strace` on a running node: what it asks of the kernel is seen, made to fail, or left undone.

use crate::group::{terminate, wait_for};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A tracer that is attached to every thread of a process. It ends with the process, or when it is dropped.
pub(crate) struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        // It may have ended. A node that is held by it could not be waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Tracer {
    /// Attached with these options of `strace`, its trace going to `output`. None, with the reason printed: this
    /// machine has none or does not allow it.
    pub(crate) fn attach(process: u32, output: &Path, options: &[&str]) -> Option<Tracer> {
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(output)
            .args(options)
            .args(["-p", &process.to_string()])
            .stderr(Stdio::piped())
            .spawn();
        let mut strace = match strace {
            Ok(strace) => strace,
            Err(error) => {
                eprintln!("skipped: system calls cannot be traced without strace: {error}");
                return None;
            }
        };
        let tasks = Path::new("/proc").join(process.to_string()).join("task");
        let attached = wait_for("strace to attach", || {
            if strace.try_wait().expect("a child").is_some() {
                return Some(false);
            }
            let mut tasks = fs::read_dir(&tasks).expect("the node runs");
            let is_traced = |status: String| !status.contains("TracerPid:\t0\n");
            let all = tasks.all(|task| {
                let status = fs::read_to_string(task.expect("a task").path().join("status"));
                // A thread may have ended meanwhile.
                status.is_ok_and(is_traced)
            });
            all.then_some(true)
        });
        if !attached {
            let output = strace.wait_with_output().expect("its output");
            let said = String::from_utf8_lossy(&output.stderr);
            eprintln!("skipped: strace may not attach here: {said}");
            return None;
        }
        Some(Tracer(strace))
    }

    /// Lets the process go on by itself.
    pub(crate) fn detach(mut self) {
        terminate(&self.0);
        self.0.wait().expect("it ends when it is told to");
    }

    /// Waits for its end, which comes with that of the process.
    pub(crate) fn wait(mut self) {
        self.0.wait().expect("it ends with the node");
    }
}

/// A tracer that lets every further sync of a node fail.
pub(crate) fn fail_syncs(process: u32) -> Option<Tracer> {
    let options = ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO"];
    Tracer::attach(process, Path::new("/dev/null"), &options)
}

/// A tracer that lets every further sync of a node wait until it is detached.
pub(crate) fn hold_syncs(process: u32) -> Option<Tracer> {
    // Longer than any test waits, in microseconds.
    let options = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=600000000"];
    Tracer::attach(process, Path::new("/dev/null"), &options)
}

/// What a node does with the files of its log, in a file that its tracer writes.
///
/// A tracer writes down that a call has ended before it lets the thread go on, so whatever a node does after a
/// call, such as to answer, comes after the call stands in the file: no clock is compared with another.
pub(crate) struct LogTrace {
    pub(crate) path: PathBuf,
}

/// A call that has ended without an error and was really done.
#[derive(Debug)]
struct Done {
    name: String,
    /// The file, and for a write what was written, as the tracer shows it.
    arguments: String,
    file: String,
    /// When it was begun and when it had ended, by lines.
    began: usize,
    ended: usize,
}

impl LogTrace {
    /// Traces a node from now on; with `swallow`, its syncs are told to it as done, and are not.
    pub(crate) fn attach(process: u32, path: PathBuf, swallow: bool) -> Option<(Tracer, LogTrace)> {
        let mut options = vec!["-y", "-s", "1000000", "-e", "trace=pwrite64,fdatasync"];
        if swallow {
            options.extend(["-e", "inject=fdatasync:retval=0"]);
        }
        let tracer = Tracer::attach(process, &path, &options)?;
        Some((tracer, LogTrace { path }))
    }

    /// How many syncs of the log are done.
    pub(crate) fn syncs(&self) -> usize {
        self.done().iter().filter(|done| done.name == "fdatasync").count()
    }

    /// Whether every one of these texts was written into the log, and the same file synced afterwards: the sync
    /// was begun when the write had ended, and has ended by now.
    pub(crate) fn are_synced<'a>(&self, texts: impl IntoIterator<Item = &'a String>) -> bool {
        let done = self.done();
        let (writes, syncs): (Vec<&Done>, Vec<&Done>) =
            done.iter().partition(|done| done.name == "pwrite64");
        let is_synced = |write: &&&Done| {
            syncs.iter().any(|sync| sync.file == write.file && sync.began > write.ended)
        };
        let synced: Vec<&&Done> = writes.iter().filter(is_synced).collect();
        texts.into_iter().all(|text| synced.iter().any(|write| write.arguments.contains(text)))
    }

    fn done(&self) -> Vec<Done> {
        let text = fs::read(&self.path).expect("a trace");
        parse(&String::from_utf8_lossy(&text))
    }
}

/// Reads lines such as `17 fdatasync(9</db/log/segment-0000000001.log>) = 0`, and calls in two lines, the first of
/// which ends in `<unfinished ...>` and the second of which begins with `<... fdatasync resumed>`.
fn parse(text: &str) -> Vec<Done> {
    let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut done = Vec::new();
    // A last line without an end is still being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for (line, words) in whole.lines().enumerate() {
        let Some((thread, call)) = words.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(call) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (line, call));
            continue;
        }
        let (began, beginning, end) = match call.strip_prefix("<... ") {
            None => (line, call, call),
            Some(_) => match begun.remove(thread) {
                Some((began, beginning)) => (began, beginning, call),
                // It had begun before the tracer came.
                None => continue,
            },
        };
        // `(INJECTED)` behind it: it was not done.
        let result = end.rsplit_once(" = ").and_then(|(_, result)| result.parse::<u64>().ok());
        let Some((name, arguments)) = beginning.split_once('(') else { continue };
        let file = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let (Some(_), Some((file, _))) = (result, file) else { continue };
        if file.contains("/log/segment-") {
            let (name, arguments) = (name.to_owned(), arguments.to_owned());
            done.push(Done { name, arguments, file: file.to_owned(), began, ended: line });
        }
    }
    done
}

/// The check itself: what it must not take for a sync.
#[test]
fn a_sync_counts_once_it_was_begun_after_the_write_and_has_ended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = LogTrace { path: folder.path().join("trace") };
    let text = ["v1".to_owned()];
    let is_synced = |lines: &[&str]| {
        fs::write(&trace.path, format!("{}\n", lines.join("\n"))).expect("written");
        trace.are_synced(&text)
    };
    let write = r#"7 pwrite64(9</d/log/segment-01.log>, "..v1\0", 4096, 0) = 4096"#;
    let sync = "7 fdatasync(9</d/log/segment-01.log>) = 0";
    let begun = "7 fdatasync(9</d/log/segment-01.log> <unfinished ...>";
    let ended = "7 <... fdatasync resumed>) = 0";
    assert!(is_synced(&[write, sync]));
    assert!(is_synced(&[write, begun, ended]));
    for not_synced in [
        &[write][..],
        &[sync, write],
        &[begun, &write.replace("7 p", "8 p"), ended],
        &[write, begun],
        &[write, "7 fdatasync(9</d/log/segment-01.log>) = 0 (INJECTED)"],
        &[write, "7 fdatasync(9</d/log/segment-01.log>) = -1 EIO (Input/output error)"],
        &[write, "7 fdatasync(9</d/log/segment-02.log>) = 0"],
        &[&write.replace("v1", "v2"), sync],
    ] {
        assert!(!is_synced(not_synced), "{not_synced:?}");
    }
}
