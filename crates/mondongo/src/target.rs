//! Whom a subcommand talks to: members of a group, or the node of a folder within this process.

use crate::folder::LocalNode;
use client::Client;
use server::Access;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// Whom to talk to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Members of a group.
    Members(Vec<String>),
    /// The node of a folder, within this process.
    Folder(PathBuf),
}

/// A target that was reached.
pub(crate) struct Reached {
    /// A client of it.
    pub(crate) client: Client,
    /// What a folder allows; none: it is a group.
    pub(crate) access: Option<Access>,
    node: Option<LocalNode>,
}

impl Target {
    /// A folder is what is one; of what is not there, whatever cannot be meant as an address.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Target, String> {
        if Path::new(text).is_dir() {
            return Ok(Target::Folder(text.into()));
        }
        let members: Vec<String> =
            text.split(',').map(|member| member.trim().to_string()).collect();
        let is_address = |member: &String| {
            let port = member.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
        };
        let Some(wrong) = members.iter().find(|member| !is_address(member)) else {
            return Ok(Target::Members(members));
        };
        let is_host = wrong.is_empty() || wrong == "localhost" || wrong.parse::<IpAddr>().is_ok();
        if members.len() > 1 || is_host || (wrong.contains(':') && !wrong.contains('/')) {
            return Err(format!("{wrong:?} is no address: write HOST:PORT, as in localhost:8000"));
        }
        if Path::new(text).exists() {
            return Err(format!("{text} is a file; name a folder, or HOST:PORT"));
        }
        Ok(Target::Folder(text.into()))
    }

    /// Connects, or opens the folder.
    ///
    /// # Errors
    /// In words, why that does not work.
    pub(crate) fn reach(&self, runtime: &Runtime) -> Result<Reached, String> {
        let options = client::Options::default();
        match self {
            Target::Members(members) => {
                let client = runtime.block_on(Client::connect(members, options));
                let client = client.map_err(|error| error.message)?;
                Ok(Reached { client, access: None, node: None })
            }
            Target::Folder(path) => {
                let node = LocalNode::open(path)?;
                let client = runtime.block_on(node.client(options)).map_err(|e| e.message)?;
                Ok(Reached { client, access: Some(node.access.clone()), node: Some(node) })
            }
        }
    }
}

impl Reached {
    /// Ends the connections, with the runtime that they need, and stops the node of a folder in order.
    ///
    /// # Errors
    /// In words, why that node had stopped before.
    pub(crate) fn close(self, runtime: Runtime) -> Result<(), String> {
        drop(self.client);
        // The connections are tasks of the runtime; without them the node stops at once.
        drop(runtime);
        self.node.map_or(Ok(()), LocalNode::close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_or_folders() {
        let target = Target::parse("localhost:8000, [::1]:8001").expect("addresses");
        let members = ["localhost:8000", "[::1]:8001"].map(String::from).to_vec();
        assert_eq!(target, Target::Members(members));
        for text in
            ["localhost", ":8000", "localhost:", "localhost:0", "db:99999", "a:1,", "", "a,b"]
        {
            let message = Target::parse(text).expect_err(text);
            assert!(message.contains("no address"), "{message}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        for path in [folder.path().to_path_buf(), folder.path().join("new"), "db".into()] {
            let text = path.display().to_string();
            assert_eq!(Target::parse(&text).expect("a folder"), Target::Folder(path));
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let message = Target::parse(&file.display().to_string()).expect_err("a file");
        assert!(message.contains("is a file"), "{message}");
    }
}
