//! Logs that are cut, and snapshots in the place of what was cut.

mod group;

use group::{Group, command, id};
use paxos::{
    Ballot, Change, Entry, Input, Member, Membership, Message, Payload, PlantedBug, Policy, Record,
    Slot, Standing,
};

/// Three nodes of which node 3 lacks what the others have cut from their logs.
fn behind() -> Group {
    let mut group = Group::with(3, |config| config.window_bytes_max = 0);
    group.elect(1);
    for number in 0..10 {
        group.propose(1, number, &format!("{number}"));
        group.run(4, |from, to, _| from != id(3) && to != id(3));
    }
    let slot = group.node(1).applied;
    group.compact(1, slot);
    group.compact(2, slot);
    group
}

#[test]
fn a_node_that_lacks_what_was_cut_asks_for_a_snapshot_until_it_has_it() {
    let mut group = behind();
    group.run_all(20);
    assert_eq!(group.node(3).snapshot_needed, Some(id(1)));
    // It is lost on the way; the need shows again.
    group.node_mut(3).snapshot_needed = None;
    group.run_all(40);
    assert_eq!(group.node(3).snapshot_needed, Some(id(1)));
    group.give_snapshot(1, 3);
    assert_eq!(group.node(3).installed, [group.node(1).applied]);
    group.propose(1, 99, "after");
    group.run_all(20);
    assert_eq!(group.commands(3), ["after"]);
    group.restart(3);
    assert!(group.decided(3) >= group.node(3).installed[0]);
    assert!(group.agrees());
}

#[test]
fn a_node_restarts_after_its_log_was_cut() {
    let mut group = behind();
    for n in [1, 2] {
        group.restart(n);
    }
    group.run_all(100);
    let leader = group.leaders()[0];
    group.give_snapshot(1, 3);
    group.propose(leader, 99, "after");
    group.run_all(30);
    for n in 1..=3 {
        assert_eq!(group.commands(n).last().map(String::as_str), Some("after"));
    }
}

/// What is in memory yet is sent from there, though it is no longer on disk.
#[test]
fn a_short_absence_is_made_good_from_memory() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.propose(1, 1, "a");
    group.run(5, |from, to, _| from != id(3) && to != id(3));
    let slot = group.node(1).applied;
    group.compact(1, slot);
    group.run_all(30);
    assert_eq!(group.commands(3), ["a"]);
    assert_eq!(group.node(3).snapshot_needed, None);
}

/// openraft #1808.
#[test]
fn a_snapshot_carries_no_undecided_membership() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.run_all(5);
    let (governs, _) = group.node(2).core.membership();
    group.change(1, Change::Remove { node: id(3) });
    group.deliver(|_, to, m| to == id(2) && matches!(m, Message::Accept { .. }));
    let accepted = group.node(2).core.status().accepted;
    assert!(group.decided(2) < accepted, "node 2 has it accepted and no more");
    group.compact(2, accepted);
    let Some(Record::Base(base)) = group.node(2).disk.records.first().cloned() else {
        panic!("the log begins with a base")
    };
    assert_eq!(base.membership.0, governs);
    assert!(base.slot < accepted);
    // It is not lost either: whoever leads next finds and decides it.
    group.crash(1, 0);
    group.restart(2);
    group.elect(2);
    group.run_all(30);
    assert_eq!(group.node(2).core.membership().1.standing(id(3)), None);
}

fn membership() -> Membership {
    let member = |n| (id(n), Member::new(format!("node{n}:1"), Standing::Voter));
    Membership::of(Policy::Paxos, (1..=3).map(member))
}

/// Node 2 has accepted slots 2 to 6 of node 1 and knows only the first to be decided.
fn accepted_to_six(planted: Option<PlantedBug>) -> (Group, Ballot) {
    let mut group = Group::new(3, planted);
    let ballot = Ballot { round: 9, node: id(1) };
    let prepare = Message::Prepare { ballot, from: Slot(2) };
    group.step(2, Input::Message { from: id(1), message: prepare });
    let entries = (2..=6).map(|n| Entry { ballot, payload: command(&format!("{n}")) }).collect();
    let accept = Message::Accept { ballot, first: Slot(2), entries, decided: Slot(1) };
    group.step(2, Input::Message { from: id(1), message: accept });
    group.wire.clear();
    (group, ballot)
}

#[test]
fn a_snapshot_keeps_what_was_accepted_beyond_it() {
    let holds = |planted| {
        let (mut group, ballot) = accepted_to_six(planted);
        let founded = (Slot(1), membership());
        group.step(2, Input::Installed { slot: Slot(4), membership: founded });
        assert_eq!(group.node(2).installed, [Slot(4)]);
        let next = Ballot { round: ballot.round + 1, node: id(3) };
        let prepare = Message::Prepare { ballot: next, from: Slot(2) };
        group.step(2, Input::Message { from: id(3), message: prepare });
        let told = group.wire.iter().find_map(|(_, _, m)| match m {
            Message::Promise { decided, entries, .. } => Some((*decided, entries.len())),
            _ => None,
        });
        group.restart(2);
        told == Some((Slot(4), 2)) && group.node(2).core.entry(Slot(6)).is_some()
    };
    assert!(holds(None));
    assert!(!holds(Some(PlantedBug::InstallForgetsAccepted)));
}

#[test]
fn nothing_is_reported_before_the_base_is_durable_and_a_crash_forgets_it() {
    let (mut group, ballot) = accepted_to_six(None);
    group.instant_disks = false;
    group.step(2, Input::Installed { slot: Slot(20), membership: (Slot(1), membership()) });
    let beat = Message::Heartbeat { ballot, decided: Slot(20), window: Slot(1), probe: 1 };
    group.step(2, Input::Message { from: id(1), message: beat.clone() });
    let reported = |group: &Group| {
        group.wire.iter().rev().find_map(|(_, _, m)| match m {
            Message::HeartbeatReply { upto, .. } => Some(*upto),
            _ => None,
        })
    };
    assert!(reported(&group) < Some(Slot(7)), "only what is on disk");
    assert!(group.node(2).installed.is_empty());
    let mut lost = group.node(2).disk.clone();
    lost.crash(0);
    assert_eq!(lost.durable().decided, Slot(1));
    group.persist(2);
    assert_eq!(group.node(2).installed, [Slot(20)]);
    group.step(2, Input::Message { from: id(1), message: beat });
    assert_eq!(reported(&group), Some(Slot(20)));
    group.restart(2);
    assert_eq!(group.decided(2), Slot(20));
}

#[test]
fn a_snapshot_is_taken_in_while_a_newer_ballot_comes() {
    let (mut group, _) = accepted_to_six(None);
    group.instant_disks = false;
    group.step(2, Input::Installed { slot: Slot(20), membership: (Slot(1), membership()) });
    let ballot = Ballot { round: 50, node: id(3) };
    let prepare = Message::Prepare { ballot, from: Slot(2) };
    group.step(2, Input::Message { from: id(3), message: prepare });
    group.persist(2);
    let told = group.wire.iter().find_map(|(_, _, m)| match m {
        Message::Promise { ballot, decided, .. } => Some((*ballot, *decided)),
        _ => None,
    });
    assert_eq!(told, Some((ballot, Slot(20))));
    let entries = vec![Entry { ballot, payload: command("next") }];
    let accept = Message::Accept { ballot, first: Slot(21), entries, decided: Slot(21) };
    group.step(2, Input::Message { from: id(3), message: accept });
    group.persist(2);
    assert_eq!(group.commands(2), ["next"]);
}

#[test]
fn an_outdated_snapshot_changes_nothing() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.propose(1, 1, "a");
    group.run_all(10);
    let before = group.node(2).core.status();
    group.step(2, Input::Installed { slot: Slot(1), membership: (Slot(1), membership()) });
    assert_eq!(group.node(2).core.status(), before);
    assert!(group.node(2).installed.is_empty());
}

#[test]
fn an_unknown_feature_level_stops_delivery_there_and_then() {
    let (mut group, ballot) = accepted_to_six(None);
    let next = Membership { base: Slot(1), level: paxos::LEVEL_MAX + 1, ..membership() };
    let entries = vec![
        Entry { ballot, payload: Payload::Membership(next) },
        Entry { ballot, payload: command("of another level") },
    ];
    let accept = Message::Accept { ballot, first: Slot(7), entries, decided: Slot(8) };
    group.step(2, Input::Message { from: id(1), message: accept });
    assert_eq!(group.commands(2), ["2", "3", "4", "5", "6"], "what stands before it is handed out");
    assert_eq!(group.node(2).unsupported, Some(paxos::LEVEL_MAX + 1));
    // It says so again after a restart, and does not lead.
    group.node_mut(2).disk.records.push(Record::Decided(Slot(8)));
    group.node_mut(2).unsupported = None;
    group.restart(2);
    group.run(100, |_, to, _| to != id(2));
    assert_eq!(group.node(2).unsupported, Some(paxos::LEVEL_MAX + 1));
    assert_eq!(group.commands(2).len(), 5);
}
