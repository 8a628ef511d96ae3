//! Whom a leader asks whether it still leads.

mod group;

use group::{Group, id};
use paxos::{Message, NodeId, ReadId};

fn asked(group: &Group) -> Vec<NodeId> {
    let asked = group.wire.iter().filter(|(.., m)| matches!(m, Message::Heartbeat { .. }));
    asked.map(|(_, to, _)| *to).collect()
}

fn is_ready(group: &Group, number: u64) -> bool {
    group.node(1).ready.iter().any(|(id, _)| *id == ReadId(number))
}

/// A group with a leader, 1, that has just sent its heartbeats and has nothing under way.
fn led(voters: u64) -> Group {
    let mut group = Group::new(voters, None);
    group.elect(1);
    group.run_all(10);
    while asked(&group).is_empty() {
        group.tick(1);
    }
    group.deliver_all();
    group
}

#[test]
fn once_all_were_asked_only_a_quorum_is() {
    for (voters, others) in [(3, 1), (5, 2)] {
        let mut group = led(voters);
        group.read(1, 1);
        assert_eq!(asked(&group).len() as u64, voters - 1);
        group.deliver_all();
        assert!(is_ready(&group, 1));
        group.read(1, 2);
        assert_eq!(asked(&group).len(), others);
        group.deliver_all();
        assert!(is_ready(&group, 2));
    }
}

#[test]
fn who_answers_first_is_asked() {
    let mut group = led(3);
    group.read(1, 1);
    group.deliver(|from, to, _| from != id(2) && to != id(2));
    group.read(1, 2);
    assert_eq!(asked(&group), [id(3)]);
}

#[test]
fn all_are_asked_when_the_few_are_silent_and_others_from_then_on() {
    let mut group = led(3);
    group.read(1, 1);
    group.deliver(|from, to, _| from != id(3) && to != id(3));
    let without_2 = |from, to, _: &Message| from != id(2) && to != id(2);
    group.read(1, 2);
    assert_eq!(asked(&group), [id(2)]);
    group.deliver(without_2);
    assert!(!is_ready(&group, 2), "nobody has said that this node leads");
    // Sooner than by the next heartbeat.
    group.run(2, without_2);
    assert!(is_ready(&group, 2));
    group.read(1, 3);
    assert_eq!(asked(&group), [id(3)]);
}

#[test]
fn all_are_asked_again_after_a_while() {
    let mut group = led(3);
    group.read(1, 1);
    group.deliver_all();
    group.run_all(100);
    group.wire.clear();
    group.read(1, 2);
    assert_eq!(asked(&group), [id(2), id(3)]);
}

#[test]
fn another_membership_is_asked_as_a_whole() {
    let mut group = led(5);
    group.read(1, 1);
    group.deliver_all();
    group.change(1, paxos::Change::Remove { node: id(5) });
    group.run_all(10);
    group.wire.clear();
    group.read(1, 2);
    assert_eq!(asked(&group), [id(2), id(3), id(4)]);
}
