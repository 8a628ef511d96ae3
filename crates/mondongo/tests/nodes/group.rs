//! Nodes as real processes, for tests: started, killed, started again, and their logs shown when a
//! test fails.

use crate::harness::network::Network;
use crate::harness::workload::{Settings, Workload};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything that is waited for may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program under test.
pub(crate) fn mondongo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mondongo"));
    command.env_remove("MONDONGO_LOG").stdin(Stdio::null());
    command
}

/// Waits until `look` finds what is wanted.
///
/// # Panics
/// If that takes too long, with `what` was waited for.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody uses, from below those that the system gives to outgoing connections, so that
/// it stays free while its node is down.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + (std::process::id() % 20_000) as u16;
    loop {
        let port = 10_000 + (start - 10_000 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("localhost", port)).is_ok()
        {
            return port;
        }
    }
}

/// One node of a [`Group`].
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
    pub(crate) address: String,
    /// Where others are told that it is, if elsewhere.
    advertised: Option<String>,
    log: PathBuf,
    /// Further variables of its environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    process: Option<Child>,
}

/// Nodes in a temporary folder. Dropped, they are killed; after a failed test their logs are printed.
pub(crate) struct Group {
    pub(crate) folder: TempDir,
    pub(crate) nodes: Vec<Node>,
    /// Further arguments of every node.
    arguments: Vec<&'static str>,
    /// The network of each node, where they do not share the ordinary one.
    pub(crate) network: Option<Network>,
}

impl Group {
    /// A group of `count` members, all of them voters.
    pub(crate) fn start(count: usize) -> Group {
        let mut group = Group::empty();
        group.fill(count);
        group
    }

    /// A group whose nodes have fault switches.
    pub(crate) fn with_faults(count: usize) -> Group {
        let mut group = Group::empty();
        group.arguments = vec!["--fault-injection"];
        group.fill(count);
        group
    }

    /// A group whose links can be cut. None, with the reason printed: this machine does not allow it.
    pub(crate) fn with_network(count: usize) -> Option<Group> {
        let network = match Network::make(count) {
            Ok(network) => network,
            Err(reason) => {
                eprintln!("skipped: {reason:#}");
                return None;
            }
        };
        let mut group = Group::empty();
        (group.arguments, group.network) = (vec!["--insecure"], Some(network));
        group.fill(count);
        Some(group)
    }

    /// No nodes yet.
    pub(crate) fn empty() -> Group {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Group { folder, nodes: Vec::new(), arguments: Vec::new(), network: None }
    }

    /// A group of `count` voters whose nodes have these further arguments.
    pub(crate) fn with_arguments(count: usize, arguments: &[&'static str]) -> Group {
        let mut group = Group::empty_with(arguments);
        group.fill(count);
        group
    }

    /// No nodes yet; those to come have these further arguments.
    pub(crate) fn empty_with(arguments: &[&'static str]) -> Group {
        let mut group = Group::empty();
        group.arguments = arguments.to_vec();
        group
    }

    /// Gives `count` nodes their folders and addresses, and starts none of them.
    pub(crate) fn reserve(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.nodes.len();
            let folder = self.folder.path().join(format!("node{number}"));
            self.reserve_at(folder, None);
        }
    }

    fn fill(&mut self, count: usize) {
        for _ in 0..count {
            self.add();
        }
        self.wait_for_voters(count);
    }

    /// Starts one more node, which joins through the first. Returns its number.
    pub(crate) fn add(&mut self) -> usize {
        let folder = self.folder.path().join(format!("node{}", self.nodes.len()));
        self.add_at(folder, None)
    }

    /// The same with a folder, and where others are to be told that the node is.
    pub(crate) fn add_at(&mut self, folder: PathBuf, advertised: Option<String>) -> usize {
        let number = self.reserve_at(folder, advertised);
        let seed = (number > 0).then(|| self.nodes[0].address.clone());
        self.start_node(number, seed.as_deref());
        number
    }

    fn reserve_at(&mut self, folder: PathBuf, advertised: Option<String>) -> usize {
        let number = self.nodes.len();
        let log = self.folder.path().join(format!("node{number}.log"));
        let address = match &self.network {
            Some(network) => network.address(number),
            None => format!("127.0.0.1:{}", free_port()),
        };
        let environment = Vec::new();
        self.nodes.push(Node { folder, address, advertised, log, environment, process: None });
        number
    }

    /// Starts a node, or starts it again.
    pub(crate) fn start_node(&mut self, number: usize, seed: Option<&str>) {
        let node = &mut self.nodes[number];
        assert!(node.process.is_none(), "node {number} runs already");
        let log = File::options().create(true).append(true).open(&node.log).expect("a log");
        let mut command = mondongo();
        if let Some(network) = &self.network {
            let words = network.prefix(number);
            let program = command.get_program().to_owned();
            command = Command::new(&words[0]);
            command.args(&words[1..]).arg(program).env_remove("MONDONGO_LOG").stdin(Stdio::null());
        }
        command.arg("serve").arg(&node.folder).arg(&node.address).args(seed).stderr(log);
        command.args(&self.arguments).envs(node.environment.iter().cloned());
        if let Some(advertised) = &node.advertised {
            command.args(["--advertise", advertised]);
        }
        node.process = Some(command.spawn().expect("mondongo starts"));
    }

    /// Ends a node as a crash would.
    pub(crate) fn kill(&mut self, number: usize) {
        let mut process = self.nodes[number].process.take().expect("the node runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it ends");
    }

    /// Lets a node stand still, and go on.
    pub(crate) fn pause(&self, number: usize) {
        signal(self.pid(number), "STOP");
    }

    pub(crate) fn resume(&self, number: usize) {
        signal(self.pid(number), "CONT");
    }

    pub(crate) fn pid(&self, number: usize) -> u32 {
        self.nodes[number].process.as_ref().expect("the node runs").id()
    }

    /// Waits until a node has ended by itself.
    pub(crate) fn wait_for_exit(&mut self, number: usize) -> ExitStatus {
        let mut process = self.nodes[number].process.take().expect("the node runs");
        wait_for_end(&mut process, "a node that cannot go on")
    }

    /// Clients that work at this group from now on.
    pub(crate) fn load(&self, settings: Settings) -> Workload {
        Workload::start(self.addresses(), settings).expect("the workload starts")
    }

    /// Waits until exactly one of `nodes` leads, and all of them know who; returns it.
    pub(crate) fn one_leader_among(&self, nodes: &[usize]) -> usize {
        wait_for(&format!("one leader among {nodes:?}"), || {
            let statuses: Option<Vec<Value>> = nodes.iter().map(|n| self.status(*n)).collect();
            let statuses = statuses?;
            let mut leading = (0..nodes.len()).filter(|i| statuses[*i]["role"] == "leader");
            let (leader, None) = (leading.next()?, leading.next()) else { return None };
            let id = &statuses[leader]["node"];
            statuses.iter().all(|status| status["leader"] == *id).then_some(nodes[leader])
        })
    }

    /// Asks a node to stop, and waits until it has.
    pub(crate) fn stop(&mut self, number: usize) -> ExitStatus {
        let mut process = self.nodes[number].process.take().expect("the node runs");
        terminate(&process);
        wait_for_end(&mut process, "a node that was asked to stop")
    }

    pub(crate) fn is_running(&self, number: usize) -> bool {
        self.nodes[number].process.is_some()
    }

    pub(crate) fn log(&self, number: usize) -> String {
        fs::read_to_string(&self.nodes[number].log).unwrap_or_default()
    }

    /// Waits until a node's log holds `words`.
    pub(crate) fn wait_for_log(&self, number: usize, words: &str) {
        let what = format!("node {number} to log {words:?}");
        wait_for(&what, || self.log(number).contains(words).then_some(()));
    }

    /// The identity of a running node.
    pub(crate) fn id(&self, number: usize) -> String {
        wait_for("a node to tell its identity", || {
            self.status(number)?["node"].as_str().map(str::to_owned)
        })
    }

    /// The addresses of the members, as a node knows them, in order.
    pub(crate) fn member_addresses(&self, number: usize) -> Option<Vec<String>> {
        let status = self.status(number)?;
        let members = status["members"].as_array()?.iter();
        let mut all: Vec<String> =
            members.filter_map(|m| Some(m["address"].as_str()?.to_owned())).collect();
        all.sort();
        Some(all)
    }

    /// Runs `mondongo member ACTION`, asking the node `asked`; what it printed, or its complaint.
    pub(crate) fn member(
        &self,
        action: &str,
        asked: usize,
        node: &[&str],
    ) -> Result<String, String> {
        member(action, &self.nodes[asked].address, node)
    }

    /// What a node says of itself, if it answers.
    pub(crate) fn status(&self, number: usize) -> Option<Value> {
        let mut connection = Connection::open(&self.nodes[number].address).ok()?;
        let answer = connection.ask(&json!(["status"])).ok()?;
        (answer[0] == "ok").then(|| answer[1].clone())
    }

    /// The number of the node that leads.
    pub(crate) fn leader(&self) -> usize {
        let running = || (0..self.nodes.len()).filter(|number| self.is_running(*number));
        wait_for("a leader", || {
            running().find(|number| self.status(*number).is_some_and(|s| s["role"] == "leader"))
        })
    }

    /// Waits until every running node knows `count` voters and a leader.
    pub(crate) fn wait_for_voters(&self, count: usize) {
        for number in (0..self.nodes.len()).filter(|number| self.is_running(*number)) {
            wait_for(&format!("node {number} to know {count} voters"), || {
                let status = self.status(number)?;
                let voters = status["members"].as_array()?.iter().filter(|m| m["voter"] == true);
                (voters.count() == count && status["leader"].is_string()).then_some(())
            });
        }
    }

    /// Asks one node, again and again until it is not only out of order.
    pub(crate) fn ask(&self, number: usize, request: &Value) -> Value {
        wait_for(&format!("an answer of node {number} to {request}"), || {
            let mut connection = Connection::open(&self.nodes[number].address).ok()?;
            let answer = connection.ask(request).ok()?;
            let reason = answer[1].as_str().unwrap_or_default();
            let again = answer[0] == "ko"
                && ["down:", "busy:", "timeout:"].iter().any(|code| reason.starts_with(code));
            (!again).then_some(answer)
        })
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                // It may have ended by itself, which the test will have noticed.
                let _ = process.kill();
                let _ = process.wait();
            }
        }
        if std::thread::panicking() {
            for number in 0..self.nodes.len() {
                eprintln!("--- log of node {number}\n{}", self.log(number));
            }
        }
    }
}

/// Runs `mondongo member ACTION MEMBERS …`; what it printed, or its complaint.
pub(crate) fn member(action: &str, members: &str, node: &[&str]) -> Result<String, String> {
    let output = run(mondongo().args(["member", action, members]).args(node));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        Err(text(&output.stderr))
    }
}

/// Asks a process to end.
pub(crate) fn terminate(process: &Child) {
    signal(process.id(), "TERM");
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status();
    assert!(status.expect("kill runs").success(), "the process can be signalled");
}

/// Waits until a process has ended; one that does not is killed.
pub(crate) fn wait_for_end(process: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() >= deadline {
            // The assertion below tells what matters.
            let _ = process.kill();
            let _ = process.wait();
            panic!("waited in vain for the end of {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command that is to end by itself.
pub(crate) fn run(command: &mut Command) -> Output {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut process = spawned.expect("it starts");
    wait_for_end(&mut process, "a command");
    process.wait_with_output().expect("its output")
}

/// Runs `mondongo serve` with arguments that it must refuse; returns what it says.
pub(crate) fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(mondongo().arg("serve").arg(folder).args(arguments));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// A connection of the native protocol with 2-byte lengths.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) fn open(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Connection(stream))
    }

    pub(crate) fn ask(&mut self, request: &Value) -> io::Result<Value> {
        self.send(request)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, request: &Value) -> io::Result<()> {
        let text = request.to_string();
        let length = u16::try_from(text.len()).expect("a short request");
        self.0.write_all(&[&length.to_be_bytes()[..], text.as_bytes()].concat())
    }

    /// Whether an answer has come, or its beginning.
    pub(crate) fn has_answer(&mut self) -> bool {
        self.0.set_nonblocking(true).expect("a socket");
        let has_come = self.0.peek(&mut [0]).is_ok();
        self.0.set_nonblocking(false).expect("a socket");
        has_come
    }

    pub(crate) fn receive(&mut self) -> io::Result<Value> {
        let mut length = [0; 2];
        self.0.read_exact(&mut length)?;
        let mut text = vec![0; usize::from(u16::from_be_bytes(length))];
        self.0.read_exact(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }
}
