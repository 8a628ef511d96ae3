//! A group of real nodes, each a process.

use crate::PATIENCE;
use anyhow::{Context, Result, bail, ensure};
use api::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
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
}

impl Group {
    /// Founds a group in `folders` and waits until all take part.
    pub(crate) fn start(binary: &Path, folders: Vec<PathBuf>) -> Result<Group> {
        let mut group = Group { binary: binary.to_owned(), nodes: Vec::new() };
        for folder in folders {
            group.join(folder)?;
        }
        let voters = group.len();
        group.wait_for_voters(voters)?;
        Ok(group)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// Starts one more node; the first founds the group, the others join it.
    pub(crate) fn join(&mut self, folder: PathBuf) -> Result<()> {
        let address = free_address()?;
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
            .open(node.folder.with_extension("log"))
            .context("the node's log file")?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg(&node.folder).arg(&node.address);
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
        wait("a leader", || {
            Ok((0..self.len()).find(|n| {
                self.status(*n, false).is_ok_and(|s| text(&s, "role").as_deref() == Some("leader"))
            }))
        })
    }

    /// Until every node knows a leader.
    pub(crate) fn wait_until_followed(&self) -> Result<()> {
        wait("every node to follow a leader", || {
            let follows = |n| self.status(n, false).is_ok_and(|s| text(&s, "leader").is_some());
            Ok((0..self.len()).all(follows).then_some(()))
        })
    }

    /// Until every node knows `count` voters.
    pub(crate) fn wait_for_voters(&self, count: usize) -> Result<()> {
        wait("all nodes to take part", || {
            Ok((0..self.len()).all(|n| self.voters(n) == Some(count)).then_some(()))
        })
    }

    fn voters(&self, index: usize) -> Option<usize> {
        let status = self.status(index, false).ok()?;
        let members = status.as_document()?.get_array("members").ok()?;
        let is_voter =
            |m: &&Value| m.as_document().is_some_and(|m| m.get_bool("voter").unwrap_or(false));
        Some(members.iter().filter(is_voter).count())
    }

    /// Until all nodes have applied the same slot, with nothing being written.
    pub(crate) fn wait_until_same(&self) -> Result<()> {
        wait("all nodes to stand at one slot", || {
            let applied = |n| -> Result<i64> { number(&self.status(n, false)?, "applied") };
            let slots: Vec<i64> = (0..self.len()).filter_map(|n| applied(n).ok()).collect();
            let same = slots.len() == self.len() && slots.iter().all(|slot| *slot == slots[0]);
            Ok(same.then_some(()))
        })
    }

    /// The slot and content hash that all nodes share.
    pub(crate) fn same_content(&self) -> Result<(i64, String)> {
        let mut seen: Option<(i64, String)> = None;
        for index in 0..self.len() {
            let status = self.status(index, true)?;
            let hash = text(&status, "hash").context("status has no hash")?;
            let here = (number(&status, "hash_slot")?, hash);
            match &seen {
                Some(other) => {
                    ensure!(*other == here, "node{index} has {here:?}, others {other:?}");
                }
                None => seen = Some(here),
            }
        }
        seen.context("no nodes")
    }

    fn status(&self, index: usize, with_hash: bool) -> Result<Value> {
        let request = if with_hash { r#"["status",{"hash":true}]"# } else { r#"["status"]"# };
        ask(&self.nodes[index].address, request)
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

/// One request on a connection of its own, as the founding document's client does it.
pub(crate) fn ask(address: &str, request: &str) -> Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(request.len())?.to_be_bytes();
    stream.write_all(&[&length, request.as_bytes()].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut payload = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut payload)?;
    match api::json::parse_reply(&payload)? {
        Ok(value) => Ok(value),
        Err(error) => bail!("{address} answers {error}"),
    }
}

fn text(status: &Value, name: &str) -> Option<String> {
    status.as_document()?.get_str(name).ok().map(str::to_owned)
}

fn number(status: &Value, name: &str) -> Result<i64> {
    let document = status.as_document().context("status is no document")?;
    document.get_i64(name).with_context(|| format!("status has no number {name}"))
}

fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
