//! What a node tells of itself: `["status"]` and `["members"]` (spec X3).

use crate::node::Replica;
use api::{Document, Value};
use bson::doc;
use paxos::{LEVEL_MAX, NodeId, Role, Standing};

impl Replica {
    /// The answer to `["status"]`.
    pub fn status_document(&self) -> Document {
        let status = self.paxos.status();
        let role = match status.role {
            Role::Leader => "leader",
            Role::Candidate => "candidate",
            Role::Follower => "follower",
            Role::Learner => "learner",
        };
        let mut document = doc! {
            "node": self.paxos.node().to_string(),
            "address": self.config.address.as_str(),
            "cluster": self.config.cluster.as_str(),
            "policy": self.policy().to_string(),
            "feature_level": i64::from(self.paxos.membership().1.level),
            "feature_level_max": i64::from(LEVEL_MAX),
            "role": role,
            "leader": status.leader.map(|id| id.to_string()),
            "leader_address": status.leader.and_then(|id| self.address_of(id)),
            "ballot": status.ballot.to_string(),
            "accepted": number(status.accepted.0),
            "decided": number(status.decided.0),
            "applied": number(self.applied().0),
            "disk_full": self.is_disk_full,
            "pending_writes": number(self.pending_writes() as u64),
            "pending_reads": number(self.pending_reads() as u64),
            "away": self.away_list(),
            "members": self.members_list(),
        };
        if let Some(advice) = self.advice() {
            document.insert("advice", advice);
        }
        document
    }

    /// What an operator can do where the group does not help itself: one of two voters waits for the other
    /// (`docs/design/damage.md`), a disk is full, or all run a version that knows a higher feature level.
    fn advice(&self) -> Option<String> {
        let me = self.paxos.node();
        let (_, membership) = self.paxos.membership();
        let own = &self.config.address;
        if self.is_disk_full {
            return Some(
                "the disk of this node is full: until there is room it takes no writes and no entries of the log, \
                 and does not help to decide anything"
                    .to_owned(),
            );
        }
        let level = membership.level;
        if self.paxos.leader() == Some(me) && level < LEVEL_MAX {
            return Some(format!(
                "the group is at feature level {level}, this version knows {LEVEL_MAX}. Once every node runs it: mondongo member raise {own}"
            ));
        }
        let other = membership.voters().find(|id| *id != me)?;
        if !self.is_down() || !membership.are_all_voters(me, other) {
            return None;
        }
        let address = self.address_of(other)?;
        Some(format!(
            "this node is one of two voters, and needs the other one, {other} at {address}, to decide anything. Start that \
             one. Only if it is gone for good, its data included, let this one go on alone: mondongo member alone {own} \
             {other} --the-other-is-gone-for-good. Never say that to both"
        ))
    }

    /// The answer to `["members"]`: a list of documents. Lags are known at the leader only.
    pub fn members_list(&self) -> Vec<Value> {
        let status = self.paxos.status();
        let (_, membership) = self.paxos.membership();
        let me = self.paxos.node();
        let mut list = Vec::new();
        for (node, member) in &membership.members {
            if member.standing == Standing::Away {
                continue;
            }
            let mut about = doc! {
                "node": node.to_string(),
                "address": member.address.as_str(),
                "voter": member.standing == Standing::Voter,
                "leader": status.leader == Some(*node),
            };
            if *node == me {
                about.insert("reachable", true);
                about.insert("accepted", number(status.accepted.0));
                about.insert("lag", number(0));
            } else if let Some(peer) = status.members.iter().find(|m| m.node == *node) {
                about.insert("reachable", peer.is_heard);
                about.insert("accepted", number(peer.accepted.0));
                about.insert("lag", number(status.accepted.0.saturating_sub(peer.accepted.0)));
            }
            list.push(Value::Document(about));
        }
        list
    }

    /// Members that are no longer waited for.
    fn away_list(&self) -> Vec<Value> {
        let (_, membership) = self.paxos.membership();
        let away = membership.members.iter().filter(|(_, m)| m.standing == Standing::Away);
        let about = |(node, member): (&NodeId, &paxos::Member)| {
            Value::Document(doc! { "node": node.to_string(), "address": member.address.as_str() })
        };
        away.map(about).collect()
    }

    pub(crate) fn address_of(&self, node: NodeId) -> Option<String> {
        self.paxos.membership().1.members.get(&node).map(|member| member.address.clone())
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
