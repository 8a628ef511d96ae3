//! All other nodes: where they are, and what waits for them. Belongs to the event loop.

use super::frame;
use super::greeting::Hello;
use super::outgoing::{Outbox, keep};
use crate::faults::Faults;
use crate::folder::ClusterId;
use paxos::{Membership, Message, NodeId};
use replica::{PeerMessage, encode_peer_message};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// Most nodes without membership that are remembered: those that join.
const STRANGERS_MAX: usize = 64;

/// All other nodes that this one talks to.
///
/// Invariants: there is a link to every other member; a link to anybody else only while that node is
/// connected to us, or is the one to join through.
#[derive(Debug)]
pub(crate) struct Peers {
    me: NodeId,
    cluster: ClusterId,
    /// Where this node listens.
    address: String,
    members: BTreeMap<NodeId, String>,
    /// What nodes that are connected to us say of their address, with the number of the connection.
    /// It is newer than what the membership says.
    told: BTreeMap<NodeId, (u64, String)>,
    links: BTreeMap<NodeId, Link>,
    /// Whether news were put in since they were last let go.
    have_news: bool,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Link {
    address: String,
    outbox: Arc<Outbox>,
    task: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connection number of an address that was not told on a connection to us.
const ASKED: u64 = 0;
/// Instead of the number of a connection that has ended, where the address is still the newest that is known of a member.
const ENDED: u64 = u64::MAX;

impl Peers {
    pub(crate) fn new(
        me: NodeId,
        cluster: ClusterId,
        address: String,
        faults: Arc<Faults>,
    ) -> Peers {
        Peers {
            me,
            cluster,
            address,
            members: BTreeMap::new(),
            told: BTreeMap::new(),
            links: BTreeMap::new(),
            have_news: false,
            faults,
        }
    }

    /// Puts a message into the outbox of `to`, if there is a way there. [`Peers::flush`] sends it, or, if it only
    /// brings news, [`Peers::flush_news`].
    pub(crate) fn send(&mut self, to: NodeId, message: &PeerMessage) {
        if let Some(link) = self.links.get(&to).filter(|_| !self.faults.drops_outgoing()) {
            let is_news = is_news(message);
            self.have_news |= is_news;
            let append = |out: &mut _| frame::append(out, |out| encode_peer_message(message, out));
            link.outbox.push(append, is_news);
        }
    }

    /// Lets everything go to those for whom more was put in than news, one write per peer.
    pub(crate) fn flush(&self) {
        for link in self.links.values() {
            link.outbox.send(false);
        }
    }

    /// Whether news may wait.
    pub(crate) fn have_news(&self) -> bool {
        self.have_news
    }

    /// Lets everything go that was put in, one write per peer.
    pub(crate) fn flush_news(&mut self) {
        self.have_news = false;
        for link in self.links.values() {
            link.outbox.send(true);
        }
    }

    /// Takes note of who takes part.
    pub(crate) fn set_membership(&mut self, membership: &Membership) {
        let others = membership.members.iter().filter(|(node, _)| **node != self.me);
        self.members = others.map(|(node, member)| (*node, member.address.clone())).collect();
        // Who takes part no more and is not connected is nobody to talk to. (Not so the one to join through: this node may be
        // taking in old memberships, which do not know that one yet.)
        let members = &self.members;
        self.told.retain(|node, (number, _)| *number != ENDED || members.contains_key(node));
        let known: Vec<NodeId> = self.links.keys().chain(self.members.keys()).copied().collect();
        for node in known {
            self.relink(node);
        }
    }

    /// A node is connected to us and says where it listens.
    pub(crate) fn on_here(&mut self, node: NodeId, address: String, connection: u64) {
        let strangers = self.told.keys().filter(|node| !self.members.contains_key(node)).count();
        if self.members.contains_key(&node) || strangers < STRANGERS_MAX {
            self.told.insert(node, (connection, address));
            self.relink(node);
        }
    }

    /// A connection to us has ended.
    pub(crate) fn on_gone(&mut self, node: NodeId, connection: u64) {
        let Some(told) = self.told.get_mut(&node).filter(|(number, _)| *number == connection)
        else {
            return;
        };
        if self.members.contains_key(&node) {
            told.0 = ENDED;
        } else {
            self.told.remove(&node);
            self.relink(node);
        }
    }

    /// A member of the group to join was reached.
    pub(crate) fn on_seed(&mut self, node: NodeId, address: String) {
        self.told.entry(node).or_insert((ASKED, address));
        self.relink(node);
    }

    /// Makes the link of `node` what it must be by what is known now.
    fn relink(&mut self, node: NodeId) {
        let told = self.told.get(&node).map(|(_, address)| address);
        let Some(address) = told.or_else(|| self.members.get(&node)) else {
            self.links.remove(&node);
            return;
        };
        if node == self.me || self.links.get(&node).is_some_and(|link| link.address == *address) {
            return;
        }
        let hello = Hello {
            cluster: Some(self.cluster),
            node: self.me,
            expected: Some(node),
            address: self.address.clone(),
        };
        let address = address.clone();
        let outbox = Arc::new(Outbox::default());
        let task = tokio::spawn(keep(address.clone(), hello, Arc::clone(&outbox))).abort_handle();
        self.links.insert(node, Link { address, outbox, task });
    }
}

/// Whether the message only says what is decided, so that it may go along with the next one.
fn is_news(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::Paxos(Message::Accept { entries, .. }) if entries.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos::{Member, Policy, Standing};

    const ME: NodeId = NodeId(1);

    fn peers() -> Peers {
        Peers::new(ME, ClusterId([7; 16]), "localhost:1".into(), Arc::new(Faults::new(false)))
    }

    fn of(nodes: &[u64]) -> Membership {
        let member = |n: &u64| (NodeId(*n), Member::new("localhost:1", Standing::Voter));
        Membership::of(Policy::Paxos, nodes.iter().map(member))
    }

    fn linked(peers: &Peers) -> Vec<u64> {
        peers.links.keys().map(|node| node.0).collect()
    }

    /// A member that was replaced after its connection had ended is not called for ever.
    #[tokio::test]
    async fn nobody_is_called_who_takes_part_no_more_and_is_not_connected() {
        let mut peers = peers();
        peers.set_membership(&of(&[1, 2, 3]));
        peers.on_here(NodeId(2), "localhost:2".into(), 5);
        peers.on_here(NodeId(3), "localhost:3".into(), 6);
        peers.on_gone(NodeId(2), 5);
        assert_eq!(linked(&peers), [2, 3], "a member is called, gone or not");
        assert_eq!(peers.links[&NodeId(2)].address, "localhost:2", "where it was last");
        peers.set_membership(&of(&[1, 4]));
        assert_eq!(linked(&peers), [3, 4], "3 is connected");
        peers.on_gone(NodeId(3), 6);
        assert_eq!(linked(&peers), [4]);
    }
}
