//! Changes of membership that clients ask for, and this node's own wish to take part.

use crate::message::PeerMessage;
use crate::node::{Output, Replica, RequestId};
use api::{Error, ErrorCode, MemberChange, Value};
use paxos::{Change, ChangeId, LEVEL_MAX, NodeId, Refusal, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// Ticks before a wish that has not come true is told to the leader again.
const RETRY_TICKS: u64 = 25;
/// Most wishes of others whose refusal this leader can pass on.
const ORIGINS_MAX: usize = 1_024;

/// A client's wish.
#[derive(Debug)]
struct Wish {
    request: RequestId,
    change: Change,
    /// Who led when it was made.
    leader: Option<NodeId>,
    deadline: u64,
    retry_tick: u64,
}

/// Wishes under way.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    wishes: BTreeMap<u64, Wish>,
    token: u64,
    /// At a leader: whose wish a [`ChangeId`] is, and under which name.
    origins: BTreeMap<ChangeId, (NodeId, u64)>,
    change_id: u64,
    /// The group has gone on without this node, somebody said.
    pub(crate) is_out: bool,
}

impl Changes {
    /// Nothing under way, at a node that is out of the group or not.
    pub(crate) fn new(is_out: bool) -> Changes {
        Changes { is_out, ..Changes::default() }
    }
}

impl Replica {
    /// Takes a client's wish in. It is answered once the membership shows that it came true.
    pub(crate) fn begin_change(
        &mut self,
        request: RequestId,
        change: &MemberChange,
        deadline: u64,
    ) {
        let change = match self.resolve(change) {
            Ok(change) => change,
            Err(error) => return self.reply(request, Err(error)),
        };
        self.changes.token += 1;
        let token = self.changes.token;
        let leader = self.paxos.leader();
        let wish = Wish { request, change, leader, deadline, retry_tick: 0 };
        self.changes.wishes.insert(token, wish);
        self.tick_changes();
    }

    fn resolve(&self, change: &MemberChange) -> Result<Change, Error> {
        Ok(match change {
            MemberChange::Add { node } => Change::Allow { node: self.removed_node(node)? },
            MemberChange::Remove { node } => Change::Remove { node: self.member_named(node)? },
            MemberChange::Promote { node } => Change::Promote { node: self.member_named(node)? },
            MemberChange::Alone { without } => {
                Change::GoOnAlone { without: self.member_named(without)? }
            }
            MemberChange::Raise { level } if *level > LEVEL_MAX => {
                let message = format!(
                    "this node knows feature levels up to {LEVEL_MAX}; run a version that knows {level} on every node first"
                );
                return Err(Error::new(ErrorCode::Refused, message));
            }
            MemberChange::Raise { level } => Change::Raise { level: *level },
            MemberChange::Lead { node: None } => Change::Lead { node: None },
            MemberChange::Lead { node: Some(node) } => {
                Change::Lead { node: Some(self.member_named(node)?) }
            }
        })
    }

    /// The member with this identity or address.
    fn member_named(&self, name: &str) -> Result<NodeId, Error> {
        let (_, membership) = self.paxos.membership();
        let id = parse_node(name);
        let named = |(node, member): &(&NodeId, &paxos::Member)| {
            Some(**node) == id || member.address == name
        };
        let found = membership.members.iter().find(named).map(|(node, _)| *node);
        found.ok_or_else(|| {
            let message = format!(
                "no member has the id or address {name:?}; \"mondongo member list\" shows them"
            );
            Error::new(ErrorCode::Refused, message)
        })
    }

    fn removed_node(&self, name: &str) -> Result<NodeId, Error> {
        let (_, membership) = self.paxos.membership();
        let id = parse_node(name);
        let found = membership.removed.iter().find(|node| Some(**node) == id);
        found.copied().ok_or_else(|| {
            let message = format!(
                "{name:?} is not the id of a node that was removed; a new node joins by itself: \
                 mondongo serve FOLDER ITS_ADDRESS {}",
                self.config.address
            );
            Error::new(ErrorCode::Refused, message)
        })
    }

    /// Answers wishes that came true or took too long, and tells the leader of the others.
    pub(crate) fn tick_changes(&mut self) {
        let now = self.now;
        let (_, membership) = self.paxos.membership();
        let leader = self.paxos.leader();
        let mut done = Vec::new();
        let mut due = Vec::new();
        for (token, wish) in &mut self.changes.wishes {
            let is_true = match &wish.change {
                Change::Remove { node } | Change::GoOnAlone { without: node } => {
                    !membership.members.contains_key(node)
                }
                Change::Promote { node } => membership.standing(*node) == Some(Standing::Voter),
                Change::Allow { node } => !membership.removed.contains(node),
                Change::Lead { node: Some(node) } => leader == Some(*node),
                Change::Lead { node: None } => leader.is_some() && leader != wish.leader,
                Change::Raise { level } => membership.level >= *level,
                Change::Join { .. } | Change::Evict { .. } => true,
            };
            if is_true {
                done.push((*token, true));
            } else if now >= wish.deadline {
                done.push((*token, false));
            } else if now >= wish.retry_tick {
                wish.retry_tick = now + RETRY_TICKS;
                due.push((*token, wish.change.clone()));
            }
        }
        for (token, is_true) in done {
            let answer = if is_true {
                Ok(Value::Array(self.members_list()))
            } else {
                let message = "the membership did not change in time; it may still do so";
                Err(Error::new(ErrorCode::Timeout, message))
            };
            self.finish_change(token, answer);
        }
        for (token, change) in due {
            self.tell_change(token, change);
        }
    }

    fn tell_change(&mut self, token: u64, change: Change) {
        if matches!(change, Change::GoOnAlone { .. }) {
            // It is this node that was vouched for (`docs/design/damage.md`).
            return self.on_change(self.paxos.node(), token, change);
        }
        match self.paxos.leader() {
            Some(leader) if leader == self.paxos.node() => {
                self.on_change(leader, token, change);
            }
            Some(to) => {
                let message = PeerMessage::Change { token, change };
                self.outputs.push(Output::Send { to, message });
            }
            // Nobody can be asked: an operator vouches for this node (`docs/design/passive.md`).
            None if change == (Change::Lead { node: Some(self.paxos.node()) }) => {
                self.on_change(self.paxos.node(), token, change);
            }
            None => {}
        }
    }

    /// A wish of `from`, perhaps this node.
    pub(crate) fn on_change(&mut self, from: NodeId, token: u64, change: Change) {
        self.changes.change_id += 1;
        let id = ChangeId(self.changes.change_id);
        self.changes.origins.insert(id, (from, token));
        if self.changes.origins.len() > ORIGINS_MAX {
            self.changes.origins.pop_first();
        }
        self.paxos.step(paxos::Input::Change { id, change });
    }

    pub(crate) fn on_core_refused(&mut self, id: ChangeId, reason: Refusal) {
        match self.changes.origins.remove(&id) {
            Some((from, token)) if from == self.paxos.node() => {
                self.on_change_refused(token, reason);
            }
            Some((to, token)) => {
                let message = PeerMessage::ChangeRefused { token, reason };
                self.outputs.push(Output::Send { to, message });
            }
            None => {}
        }
    }

    pub(crate) fn on_change_refused(&mut self, token: u64, reason: Refusal) {
        let error = Error::new(ErrorCode::Refused, format!("not changed: {reason}"));
        self.finish_change(token, Err(error));
    }

    fn finish_change(&mut self, token: u64, answer: Result<Value, Error>) {
        if let Some(wish) = self.changes.wishes.remove(&token) {
            self.reply(wish.request, answer);
        }
    }

    /// Asks to take part, or tells a new address, until the membership says so.
    pub(crate) fn wish_to_join(&mut self) {
        let me = self.paxos.node();
        let (_, membership) = self.paxos.membership();
        let is_in = membership.members.get(&me).is_some_and(|m| m.address == self.config.address);
        // A learner that nobody leads may have been dropped unawares; a voter is told when it canvasses.
        let is_lost = self.paxos.leader().is_none() && !membership.is_voter(me);
        if is_in && !is_lost && !self.changes.is_out {
            return;
        }
        let address = self.config.address.clone();
        // In turn: any of them, the seed too, may be gone for good, or have come back as another node.
        let others = membership.members.keys().copied().filter(|node| *node != me);
        let others: BTreeSet<NodeId> = others.chain(self.seed).collect();
        let any = || {
            let turn = usize::try_from(self.now / JOIN_TICKS).unwrap_or_default();
            others.iter().nth(turn.checked_rem(others.len())?).copied()
        };
        match self.paxos.leader().or_else(any) {
            Some(leader) if leader == me => self.propose_join(me, address),
            Some(to) => {
                let message = PeerMessage::Join { node: me, address };
                self.outputs.push(Output::Send { to, message });
            }
            None => {}
        }
    }

    /// `node` asks to take part.
    pub(crate) fn on_join(&mut self, node: NodeId, address: String) {
        match self.paxos.leader() {
            Some(leader) if leader == self.paxos.node() => self.propose_join(node, address),
            Some(leader) if leader != node => {
                let message = PeerMessage::Join { node, address };
                self.outputs.push(Output::Send { to: leader, message });
            }
            _ => {}
        }
    }

    fn propose_join(&mut self, node: NodeId, address: String) {
        let change = Change::Join { node, address };
        self.paxos.step(paxos::Input::Change { id: ChangeId(0), change });
    }

    /// The group has gone on without this node.
    pub(crate) fn on_not_member(&mut self, removed: bool) {
        if removed {
            self.answer_own_removal();
            self.outputs.push(Output::Removed);
        } else {
            self.changes.is_out = true;
        }
    }
}

impl Replica {
    /// Whoever asked this node to be removed is told before it stops.
    fn answer_own_removal(&mut self) {
        let me = self.paxos.node();
        let removal = Change::Remove { node: me };
        let asked = self.changes.wishes.iter().filter(|(_, wish)| wish.change == removal);
        let asked: Vec<u64> = asked.map(|(token, _)| *token).collect();
        let mut members = self.members_list();
        let own_id = me.to_string();
        members.retain(|member| {
            member.as_document().and_then(|m| m.get_str("node").ok()) != Some(own_id.as_str())
        });
        for token in asked {
            self.finish_change(token, Ok(Value::Array(members.clone())));
        }
    }
}

/// Ticks between two wishes to join.
pub(crate) const JOIN_TICKS: u64 = 50;

/// A node's identity as it is shown.
fn parse_node(text: &str) -> Option<NodeId> {
    u64::from_str_radix(text, 16).ok().filter(|id| *id != 0).map(NodeId)
}
