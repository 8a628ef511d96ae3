//! What clients and operators are answered: changes of membership, a full disk, the passive policy.

mod group;

use api::{Call, ErrorCode, MemberChange, Options, Reference, Request, Value};
use bytes::Bytes;
use group::{Group, Sent, all, id, without, write};
use paxos::{LEVEL_MAX, Member, Membership, NodeId, Policy, Slot, Standing};
use replica::{Input, Output, PeerMessage, Replica, RequestId};

fn other_than(leader: usize) -> usize {
    (leader + 1) % 3
}

fn code(group: &Group, node: usize, request: RequestId) -> Option<ErrorCode> {
    group.nodes[node].answers.get(&request)?.as_ref().err().map(|error| error.code)
}

fn change(group: &mut Group, node: usize, change: MemberChange) -> RequestId {
    group.ask(node, Request::Member(change), 2_000)
}

#[test]
fn a_wish_is_answered_once_the_membership_shows_it() {
    let mut group = Group::new(Policy::Paxos, 3, |_| {});
    let leader = group.elect();
    let follower = other_than(leader);
    let leaving = other_than(follower);
    // Also at a node that does not lead, by identity or by address.
    let name = format!("node{leaving}:1");
    let request = change(&mut group, follower, MemberChange::Remove { node: name });
    assert!(!group.nodes[follower].answers.contains_key(&request), "nothing has changed yet");
    group.until("an answer", all, |group| group.nodes[follower].answers.contains_key(&request));
    let answer = group.nodes[follower].answers[&request].clone();
    assert_eq!(answer.expect("it is granted").as_array().map(Vec::len), Some(2));
    let (_, membership) = group.nodes[leader].replica.core().membership();
    assert!(!membership.members.contains_key(&id(leaving)));

    let node = id(leaving).to_string();
    let request = change(&mut group, follower, MemberChange::Add { node });
    group.until("an answer", all, |group| group.nodes[follower].answers.contains_key(&request));
    assert!(group.nodes[follower].answers[&request].is_ok(), "it may come back");
}

#[test]
fn a_lead_that_was_asked_for_is_handed_over() {
    let mut group = Group::new(Policy::Paxos, 3, |_| {});
    let leader = group.elect();
    let next = other_than(leader);
    let node = Some(id(next).to_string());
    let request = change(&mut group, leader, MemberChange::Lead { node });
    group.until("an answer", all, |group| group.nodes[leader].answers.contains_key(&request));
    assert!(group.nodes[leader].answers[&request].is_ok());
    assert_eq!(group.nodes[leader].replica.core().leader(), Some(id(next)));
}

#[test]
fn a_wish_that_cannot_be_granted_is_refused() {
    let mut group = Group::new(Policy::Paxos, 3, |_| {});
    let leader = group.elect();
    let unknown = || "elsewhere:1".to_owned();
    for wish in [
        MemberChange::Remove { node: unknown() },
        MemberChange::Promote { node: unknown() },
        MemberChange::Add { node: unknown() },
        MemberChange::Lead { node: Some(unknown()) },
    ] {
        let request = change(&mut group, leader, wish.clone());
        assert_eq!(code(&group, leader, request), Some(ErrorCode::Refused), "{wish:?}");
    }
    // A refusal that only the leader can give comes back to who asked.
    let mut alone = Group::new(Policy::Paxos, 1, |_| {});
    alone.elect();
    let request = change(&mut alone, 0, MemberChange::Remove { node: id(0).to_string() });
    alone.until("an answer", all, |group| group.nodes[0].answers.contains_key(&request));
    assert_eq!(code(&alone, 0, request), Some(ErrorCode::Refused), "the last voter stays");
}

/// X8: at any node; the answer comes when the group is at the level.
#[test]
fn a_feature_level_is_raised_once_and_no_further_than_it_is_known() {
    let member = |n| (id(n), Member::new(format!("node{n}:1"), Standing::Voter));
    let early = Membership { level: 1, ..Membership::of(Policy::Paxos, (0..3).map(member)) };
    let mut group = Group::of(&early, |_| {});
    let leader = group.elect();
    let status = group.nodes[leader].replica.status_document();
    assert_eq!(status.get("feature_level"), Some(&Value::Int64(1)));
    let advice = status.get_str("advice").expect("there is something to do");
    assert!(advice.contains(&format!("mondongo member raise node{leader}:1")), "{advice}");
    let follower = other_than(leader);
    let above = MemberChange::Raise { level: LEVEL_MAX + 1 };
    let request = change(&mut group, follower, above);
    assert_eq!(code(&group, follower, request), Some(ErrorCode::Refused));
    for _ in 0..2 {
        let request = change(&mut group, follower, MemberChange::Raise { level: LEVEL_MAX });
        let is_done = |group: &Group| group.nodes[follower].answers.contains_key(&request);
        group.until("an answer", all, is_done);
        assert_eq!(code(&group, follower, request), None, "also when it is so already");
    }
    for node in &group.nodes {
        let status = node.replica.status_document();
        assert_eq!(status.get("feature_level"), Some(&Value::Int64(i64::from(LEVEL_MAX))));
        assert_eq!(status.get("advice"), None);
    }
}

/// X3: what each node tells of the group: who leads, who is there, who lags, who is no longer waited for.
#[test]
fn a_status_tells_who_is_there_and_who_is_away() {
    let mut group = Group::new(Policy::Paxos, 3, |config| {
        config.paxos.evict_ticks = Some(100);
    });
    let leader = group.elect();
    let lost = other_than(leader);
    group.write(leader, 1, without(lost));
    let about = |group: &Group, of: usize| {
        let members = group.nodes[leader].replica.members_list();
        let mut members = members.into_iter().filter_map(|m| m.as_document().cloned());
        let id = Value::String(id(of).to_string());
        members.find(|m| m.get("node") == Some(&id))
    };
    let own = about(&group, leader).expect("it takes part");
    let yes = Some(&Value::Boolean(true));
    assert_eq!((own.get("leader"), own.get("reachable")), (yes, yes));
    group.until("it to be missed", without(lost), |group| {
        about(group, lost).is_some_and(|m| m.get("reachable") == Some(&Value::Boolean(false)))
    });
    let missed = about(&group, lost).expect("it is waited for");
    assert!(missed.get_i64("lag").is_ok_and(|lag| lag > 0), "{missed}");
    let away = |group: &Group| -> Vec<String> {
        let status = group.nodes[leader].replica.status_document();
        let away = status.get_array("away").expect("a list").iter();
        away.filter_map(|m| m.as_document()?.get_str("node").ok().map(str::to_owned)).collect()
    };
    group.until("it to be left out", without(lost), |group| away(group) == [id(lost).to_string()]);
    assert!(about(&group, lost).is_none(), "it is no longer listed");
    let status = group.nodes[lost].replica.status_document();
    assert_ne!(status.get("role"), Some(&Value::String("leader".into())));
    group.until("it to be back", all, |group| away(group).is_empty());
}

#[test]
fn a_wish_that_takes_too_long_is_answered_so() {
    let mut group = Group::new(Policy::Paxos, 3, |_| {});
    let leader = group.elect();
    let node = id(other_than(leader)).to_string();
    let request = change(&mut group, leader, MemberChange::Remove { node });
    // Nobody hears the leader, and no one is there to decide.
    let passes = without(leader);
    group.until("an answer", passes, |group| group.nodes[leader].answers.contains_key(&request));
    assert_eq!(code(&group, leader, request), Some(ErrorCode::Timeout));
}

#[test]
fn a_full_disk_refuses_writes_and_takes_no_entries() {
    let mut group = Group::new(Policy::Paxos, 3, |_| {});
    let leader = group.elect();
    group.write(leader, 1, all);
    let full = other_than(leader);
    group.step(full, Input::DiskFull(true));
    let refused = group.ask(full, write(2), 2_000);
    assert_eq!(code(&group, full, refused), Some(ErrorCode::DiskFull));

    let before = group.nodes[full].replica.core().status().accepted;
    group.write(leader, 3, all);
    assert!(group.count(full, "accept") > 0, "it was sent the entry");
    assert_eq!(group.nodes[full].replica.core().status().accepted, before, "and dropped it");
    // It lags behind now, and does not let a client wait for room.
    let lagging = Request::Read { key: "key-3".to_owned(), empty_if_absent: false };
    let lagging = group.ask(full, lagging, 60_000);
    group.until("an answer", all, |group| group.nodes[full].answers.contains_key(&lagging));
    assert_eq!(code(&group, full, lagging), Some(ErrorCode::DiskFull));
    // It goes on counting for what takes no room.
    assert_eq!(group.nodes[full].replica.core().leader(), Some(id(leader)));

    group.step(full, Input::DiskFull(false));
    group.until("it has caught up", all, |group| {
        group.nodes[full].replica.applied() == group.nodes[leader].replica.applied()
    });
    group.write(full, 4, all);
}

/// P8: it may hear the leader and yet lack what the read must show, for whatever reason.
#[test]
fn a_read_at_a_node_that_lags_is_answered_in_its_time() {
    let mut group = Group::new(Policy::Paxos, 3, |_| {});
    let leader = group.elect();
    group.write(leader, 1, all);
    let lagging = other_than(leader);
    let passes = move |(_, to, message): &Sent| {
        *to != id(lagging) || matches!(message.kind(), "heartbeat" | "read_index_reply")
    };
    group.write(leader, 2, passes);
    let read = Request::Read { key: "key-2".to_owned(), empty_if_absent: false };
    let read = group.ask(lagging, read, 2_000);
    group.until("an answer", passes, |group| group.nodes[lagging].answers.contains_key(&read));
    assert_eq!(code(&group, lagging, read), Some(ErrorCode::Timeout));
    group.until("it has caught up", all, |group| {
        group.nodes[lagging].replica.applied() == group.nodes[leader].replica.applied()
    });
}

#[test]
fn a_leader_with_a_full_disk_lets_another_lead() {
    let mut group = Group::new(Policy::Paxos, 3, |_| {});
    let leader = group.elect();
    group.step(leader, Input::DiskFull(true));
    let before = group.nodes[leader].replica.core().status().accepted;
    let command = bytes::Bytes::from_static(b"whatever");
    let forward = PeerMessage::Forward { command };
    group.step(leader, Input::Peer { from: id(other_than(leader)), message: forward });
    assert_eq!(group.nodes[leader].replica.core().status().accepted, before, "it proposes nothing");
    group.until("another leader", all, |group| {
        group.nodes.iter().enumerate().any(|(index, node)| {
            index != leader && node.replica.core().role() == paxos::Role::Leader
        })
    });
    group.write(other_than(leader), 1, all);
}

#[test]
fn under_the_passive_policy_followers_point_to_the_leader_and_read_what_they_have() {
    let mut group = Group::new(Policy::Passive, 3, |config| config.paxos.evict_ticks = Some(100));
    let leader = group.elect();
    group.write(leader, 1, all);
    group.until("everybody has it", all, |group| {
        let slots: Vec<_> = group.nodes.iter().map(|node| node.replica.applied()).collect();
        slots.iter().all(|slot| *slot == slots[leader])
    });
    let follower = other_than(leader);
    let refused = group.ask(follower, write(2), 2_000);
    let answer = &group.nodes[follower].answers[&refused];
    let error = answer.as_ref().expect_err("writes go to the leader");
    assert_eq!(error.code, ErrorCode::NotLeader);
    assert_eq!(error.leader_address(), Some(format!("node{leader}:1").as_str()));

    // A read is answered at once, also by who is cut off: it tells of an earlier state then.
    let read = |key: &str| Request::Read { key: key.to_owned(), empty_if_absent: false };
    let request = group.ask(follower, read("key-1"), 2_000);
    assert!(group.nodes[follower].answers[&request].is_ok());
    for _ in 0..20 {
        group.tick(without(follower));
    }
    let request = group.ask(follower, read("key-3"), 2_000);
    assert_eq!(group.nodes[follower].answers[&request], Ok(Value::Null));
}

#[test]
fn a_stranger_changes_nothing() {
    let mut group = Group::new(Policy::Paxos, 3, |_| {});
    let leader = group.elect();
    let from = NodeId(99);
    for message in [
        PeerMessage::Forward { command: bytes::Bytes::from_static(b"nonsense") },
        PeerMessage::SnapshotChunk { chunk: bytes::Bytes::from_static(b"nonsense") },
        PeerMessage::ChangeRefused { token: 7, reason: paxos::Refusal::LastVoter },
    ] {
        let before = group.nodes[leader].replica.core().status().accepted;
        group.step(leader, Input::Peer { from, message });
        assert_eq!(group.nodes[leader].replica.core().status().accepted, before);
    }
    group.write(leader, 1, all);
}

#[test]
fn a_passive_node_that_is_left_alone_leads_once_an_operator_vouches_for_it() {
    let mut group = Group::new(Policy::Passive, 2, |config| config.paxos.evict_ticks = Some(100));
    for _ in 0..2_000 {
        group.tick(|_| false);
    }
    assert_eq!(group.nodes[0].replica.core().leader(), None, "it may have been dropped");
    let lead = Request::Member(MemberChange::Lead { node: Some(id(0).to_string()) });
    let asked = group.ask(0, lead, 60_000);
    group.until("it leads", |_| false, |group| group.nodes[0].answers.contains_key(&asked));
    assert!(group.nodes[0].answers[&asked].is_ok(), "{:?}", group.nodes[0].answers[&asked]);
    assert_eq!(group.nodes[0].replica.core().leader(), Some(id(0)));
}

/// As in a world where all others of a part had started over: what this node had joined through was there no more.
#[test]
fn a_node_that_is_out_turns_to_everybody_it_knows_in_turn() {
    let mut group = Group::new(Policy::Passive, 3, |config| config.paxos.evict_ticks = Some(100));
    let gone = NodeId(99);
    group.step(2, Input::Seed(gone));
    let slot = paxos::Slot(50);
    let out = PeerMessage::Paxos(paxos::Message::NotMember { slot, removed: false });
    group.step(2, Input::Peer { from: id(0), message: out });
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..500 {
        group.tick(|(from, to, message)| {
            if *from == id(2) && message.kind() == "join" {
                asked.insert(*to);
            }
            false
        });
    }
    assert_eq!(asked, [id(0), id(1)].into(), "and not only the one that is gone");
}

/// Takes `input` in and says what is written durable; answers up to where entries are handed out then.
fn handed_out(replica: &mut Replica, input: Input) -> Slot {
    let mut outputs = Vec::new();
    replica.step(input);
    replica.flush(&mut outputs);
    assert!(!replica.awaits_applied(), "nothing is handed out before it is durable");
    let persisted = outputs.iter().find_map(|output| match output {
        Output::Persist { id, .. } => Some(*id),
        _ => None,
    });
    replica.step(Input::Persisted(persisted.expect("it is written")));
    replica.flush(&mut outputs);
    let applied = outputs.iter().find_map(|output| match output {
        Output::Apply { entries } => entries.last().map(|(slot, _)| *slot),
        _ => None,
    });
    applied.expect("it is decided")
}

#[test]
fn what_is_applied_is_awaited_while_a_client_waits_and_only_then() {
    let mut group = Group::new(Policy::Paxos, 1, |_| {});
    group.elect();
    let replica = &mut group.nodes[0].replica;
    assert!(!replica.awaits_applied());
    let call = Call { request: write(1), options: Options::default() };
    let request = Input::Request { id: RequestId(1_000), call, now_ms: 0 };
    let through = handed_out(replica, request);
    assert!(replica.awaits_applied());
    let outcome = store::Outcome {
        reference: Some(Reference::new("session-0", 1)),
        answer: Some(Ok(Value::Null)),
        slot: through.0,
        repeated: false,
        is_building: false,
    };
    replica.step(Input::Applied { through, outcomes: vec![outcome] });
    assert!(!replica.awaits_applied());
    // One of another node's clients.
    let reference = Reference::new("elsewhere", 1);
    let command = store::Command { reference, acked: 1, time_ms: 0, request: write(2) };
    let message = PeerMessage::Forward { command: Bytes::from(command.encode()) };
    let _ = handed_out(replica, Input::Peer { from: id(1), message });
    assert!(!replica.awaits_applied());
}
