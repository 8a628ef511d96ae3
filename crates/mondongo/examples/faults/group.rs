//! A group of real nodes, each a process.

use crate::PATIENCE;
use crate::harness::network::Network;
use crate::harness::same::{ask, same_content};
use anyhow::{Context, Result, bail, ensure};
use api::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One node.
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
    pub(crate) address: String,
    child: Option<Child>,
}

/// The group. Its processes end with it.
pub(crate) struct Group {
    binary: PathBuf,
    pub(crate) nodes: Vec<Node>,
    /// Further arguments of every node.
    arguments: Vec<&'static str>,
    /// The network of each node, where they do not share the ordinary one.
    pub(crate) network: Option<Network>,
    /// Where the nodes' logs are, if not beside their folders.
    logs: Option<PathBuf>,
}

impl Group {
    /// Founds a group in `folders`, each on a disk of its own, and waits until all take part; what they log goes into `logs`.
    pub(crate) fn start_on_disks(
        binary: &Path,
        folders: Vec<PathBuf>,
        logs: &Path,
    ) -> Result<Group> {
        let (binary, logs) = (binary.to_owned(), Some(logs.to_owned()));
        let group = Group { binary, nodes: Vec::new(), arguments: Vec::new(), network: None, logs };
        group.filled(folders)
    }

    /// The same on one disk, with further arguments of every node, and with networks that can be cut.
    pub(crate) fn start_with(
        binary: &Path,
        folders: Vec<PathBuf>,
        mut arguments: Vec<&'static str>,
        network: Option<Network>,
    ) -> Result<Group> {
        if network.is_some() {
            arguments.push("--insecure");
        }
        let binary = binary.to_owned();
        let group = Group { binary, nodes: Vec::new(), arguments, network, logs: None };
        group.filled(folders)
    }

    fn filled(mut self, folders: Vec<PathBuf>) -> Result<Group> {
        for folder in folders {
            self.join(folder)?;
        }
        let voters = self.len();
        self.wait_for_voters(voters)?;
        Ok(self)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// Starts one more node; the first founds the group, the others join it.
    pub(crate) fn join(&mut self, folder: PathBuf) -> Result<()> {
        let address = match &self.network {
            Some(network) => network.address(self.nodes.len()),
            None => free_address()?,
        };
        self.nodes.push(Node { folder, address, child: None });
        self.restart(self.nodes.len() - 1)
    }

    pub(crate) fn restart(&mut self, index: usize) -> Result<()> {
        let seeds: Vec<String> = self.addresses().into_iter().filter(|_| index > 0).collect();
        let node = &mut self.nodes[index];
        let seeds: Vec<&String> = seeds.iter().filter(|seed| **seed != node.address).collect();
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(match &self.logs {
                Some(logs) => logs.join(format!("node{index}.log")),
                None => node.folder.with_extension("log"),
            })
            .context("the node's log file")?;
        let mut command = match &self.network {
            Some(network) => {
                let words = network.prefix(index);
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        command.arg("serve").arg(&node.folder).arg(&node.address).args(&self.arguments);
        if let Some(seed) = seeds.first() {
            command.arg(seed);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot start {}", self.binary.display()))?;
        node.child = Some(child);
        Ok(())
    }

    /// Kill -9.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        if let Some(mut child) = self.nodes[index].child.take() {
            child.kill().context("kill")?;
            child.wait().context("wait")?;
        }
        Ok(())
    }

    /// The node's process.
    pub(crate) fn pid(&self, index: usize) -> Option<u32> {
        self.nodes[index].child.as_ref().map(Child::id)
    }

    /// Lets a node stand still.
    pub(crate) fn pause(&self, index: usize) -> Result<()> {
        self.pid(index).map_or(Ok(()), |pid| signal(pid, "STOP"))
    }

    pub(crate) fn resume(&self, index: usize) -> Result<()> {
        self.pid(index).map_or(Ok(()), |pid| signal(pid, "CONT"))
    }

    /// Memory that the node's process holds, in KiB.
    pub(crate) fn memory_kib(&self, index: usize) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid(index)?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Ends all processes in good order.
    pub(crate) fn stop(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            let Some(mut child) = node.child.take() else { continue };
            signal(child.id(), "TERM")?;
            let status = child.wait().context("wait")?;
            ensure!(status.success(), "the node at {} ended with {status}", node.address);
        }
        Ok(())
    }

    /// The index of the node that leads, by its own word.
    pub(crate) fn wait_for_leader(&self) -> Result<usize> {
        wait("a leader", || Ok((0..self.len()).find(|n| self.says_it_leads(*n))))
    }

    pub(crate) fn says_it_leads(&self, index: usize) -> bool {
        self.pid(index).is_some()
            && self.status(index).is_ok_and(|s| text(&s, "role").as_deref() == Some("leader"))
    }

    /// Until all nodes know the same leader.
    pub(crate) fn wait_until_followed(&self) -> Result<()> {
        wait("every node to follow one leader", || {
            let followed = |n| text(&self.status(n).ok()?, "leader");
            let first = followed(0);
            Ok((first.is_some() && (1..self.len()).all(|n| followed(n) == first)).then_some(()))
        })
    }

    /// Until every node knows `count` voters.
    pub(crate) fn wait_for_voters(&self, count: usize) -> Result<()> {
        wait("all nodes to take part", || {
            Ok((0..self.len()).all(|n| self.voters(n) == Some(count)).then_some(()))
        })
    }

    fn voters(&self, index: usize) -> Option<usize> {
        let status = self.status(index).ok()?;
        let members = status.as_document()?.get_array("members").ok()?;
        let is_voter =
            |m: &&Value| m.as_document().is_some_and(|m| m.get_bool("voter").unwrap_or(false));
        Some(members.iter().filter(is_voter).count())
    }

    /// The slot and content hash that all nodes come to share once nothing is written.
    pub(crate) fn same_content(&self) -> Result<(i64, String)> {
        same_content(&self.addresses())
    }

    /// A slot that a node tells of itself: `accepted`, `decided`, `applied`.
    pub(crate) fn slot(&self, index: usize, name: &str) -> Option<i64> {
        self.status(index).ok()?.as_document()?.get_i64(name).ok()
    }

    fn status(&self, index: usize) -> Result<Value> {
        ask(&self.nodes[index].address, r#"["status"]"#)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            // Already failing or done: what cannot be ended has ended.
            let _ = self.kill(index);
        }
    }
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
    ensure!(status.success(), "kill -{name} {pid} failed");
    Ok(())
}

/// Asks again and again until there is an answer.
pub(crate) fn wait<T>(what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(status: &Value, name: &str) -> Option<String> {
    status.as_document()?.get_str(name).ok().map(str::to_owned)
}

fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
