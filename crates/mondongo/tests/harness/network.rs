//! A network of its own for each node, on one machine: a network namespace each, joined by a bridge, with
//! links that can be cut in one direction.
//!
//! A link is cut by giving the sender a wrong hardware address for the receiver: its packets leave and
//! reach nobody, without an error, as on a broken network. The bridge has an address of its own,
//! through which clients in the ordinary network reach all nodes whatever is cut between these.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The port of every node: each is alone in its network.
const PORT: u16 = 8000;
/// A hardware address that nobody has.
const NOWHERE: &str = "02:00:00:00:00:01";
/// How names of namespaces and bridges begin; the number of the process follows.
const PREFIX: &str = "mondo";

/// Networks of a number of nodes. Removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
    /// The first three bytes of every address, with dots.
    subnet: String,
    nodes: usize,
    cut: BTreeSet<(usize, usize)>,
}

impl Network {
    /// Makes the networks of `nodes` nodes.
    ///
    /// # Errors
    /// Why this machine does not allow it; what was made by then is removed.
    pub(crate) fn make(nodes: usize) -> Result<Network> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let process = std::process::id();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{process}x{count}");
        let subnet = format!("10.{}.{}", 128 + process / 256 % 64, (process + count) % 256);
        let network = Network { name, subnet, nodes, cut: BTreeSet::new() };
        network.build().context("network namespaces need root and the program ip (iproute2)")?;
        Ok(network)
    }

    fn build(&self) -> Result<()> {
        let Network { name: bridge, subnet, .. } = self;
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {subnet}.254/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;
        for node in 0..self.nodes {
            let (space, host) = (self.namespace(node), node + 1);
            let cable = format!("{bridge}v{node}");
            ip(&format!("netns add {space}"))?;
            ip(&format!("link add {cable} type veth peer name eth0 netns {space}"))?;
            ip(&format!("link set {cable} master {bridge} up"))?;
            ip(&format!("-n {space} addr add {subnet}.{host}/24 dev eth0"))?;
            ip(&format!("-n {space} link set lo up"))?;
            ip(&format!("-n {space} link set eth0 up"))?;
        }
        Ok(())
    }

    /// Where a node listens.
    pub(crate) fn address(&self, node: usize) -> String {
        format!("{}.{}:{PORT}", self.subnet, node + 1)
    }

    /// The words before a command that is to run in a node's network.
    pub(crate) fn prefix(&self, node: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace(node)].map(str::to_owned).into()
    }

    /// Nothing that `from` sends reaches `to` any more.
    pub(crate) fn cut(&mut self, from: usize, to: usize) -> Result<()> {
        if from != to && self.cut.insert((from, to)) {
            let (space, subnet, host) = (self.namespace(from), &self.subnet, to + 1);
            ip(&format!(
                "-n {space} neigh replace {subnet}.{host} lladdr {NOWHERE} dev eth0 nud permanent"
            ))?;
        }
        Ok(())
    }

    /// Cuts both ways between every node of `here` and every other one.
    pub(crate) fn divide(&mut self, here: &[usize]) -> Result<()> {
        for a in here {
            for b in (0..self.nodes).filter(|b| !here.contains(b)) {
                self.cut(*a, b)?;
                self.cut(b, *a)?;
            }
        }
        Ok(())
    }

    /// Cuts every link but those named, which hold both ways.
    pub(crate) fn keep_only(&mut self, links: &[(usize, usize)]) -> Result<()> {
        for a in 0..self.nodes {
            for b in 0..self.nodes {
                if !links.contains(&(a, b)) && !links.contains(&(b, a)) {
                    self.cut(a, b)?;
                }
            }
        }
        Ok(())
    }

    /// Makes every link whole.
    pub(crate) fn heal(&mut self) -> Result<()> {
        for (from, to) in std::mem::take(&mut self.cut) {
            let (space, subnet, host) = (self.namespace(from), &self.subnet, to + 1);
            ip(&format!("-n {space} neigh del {subnet}.{host} dev eth0"))?;
        }
        Ok(())
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}n{node}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            // What was not made cannot be removed. Removing a namespace removes its cable.
            let _ = ip(&format!("link del {}v{node}", self.name));
            let _ = ip(&format!("netns del {}", self.namespace(node)));
        }
        let _ = ip(&format!("link del {}", self.name));
    }
}

/// Removes what processes that were killed have left.
fn remove_leftovers() {
    let entries = |path: &str| {
        let found = std::fs::read_dir(path).into_iter().flatten().flatten();
        found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let is_left = |name: &String| {
        let Some(rest) = name.strip_prefix(PREFIX) else { return false };
        let process = rest.split('x').next().unwrap_or_default();
        process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists()
    };
    for name in entries("/run/netns").iter().filter(|name| is_left(name)) {
        // Somebody else may remove it at the same time.
        let _ = ip(&format!("netns del {name}"));
    }
    for name in entries("/sys/class/net").iter().filter(|name| is_left(name)) {
        let _ = ip(&format!("link del {name}"));
    }
}

fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip").args(words.split(' ')).output().context("cannot run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {words}: {}", said.trim());
    Ok(())
}
