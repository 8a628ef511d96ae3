//! Going on alone: one of two voters, when the other is gone for good (I27 of `docs/design/paxos.md`).

mod group;

use group::{Group, id};
use paxos::{Change, Config, NodeId, PlantedBug, Policy, Refusal, Standing};

/// Two nodes, of which 2 is dead; both hold what was decided.
fn left_alone(adjust: impl Fn(&mut Config)) -> Group {
    let mut group = Group::with(2, adjust);
    group.elect(2);
    group.propose(2, 1, "decided");
    group.run_all(5);
    assert_eq!(group.commands(1), ["decided"]);
    // The leader alone has this one: nobody was told that it was decided.
    group.propose(2, 2, "half done");
    group.wire.clear();
    group.crash(2, 0);
    group.run_all(100);
    assert!(group.leaders().is_empty(), "one of two decides nothing");
    group
}

fn go_on(group: &mut Group, n: u64, without: u64) {
    group.change(n, Change::GoOnAlone { without: id(without) });
}

fn members(group: &Group, n: u64) -> Vec<NodeId> {
    group.node(n).core.membership().1.members.keys().copied().collect()
}

#[test]
fn one_of_two_goes_on_alone_with_everything_that_was_decided() {
    let mut group = left_alone(|_| {});
    go_on(&mut group, 1, 2);
    group.run_all(100);
    assert_eq!(group.leaders(), [1]);
    assert_eq!(members(&group, 1), [id(1)]);
    assert!(group.node(1).core.membership().1.removed.contains(&id(2)));
    group.propose(1, 3, "alone");
    group.read(1, 1);
    group.run_all(10);
    assert_eq!(group.commands(1), ["decided", "alone"]);
    assert_eq!(group.node(1).ready.len(), 1);
    // It stays so after a restart, without another word of anybody.
    group.restart(1);
    group.run_all(100);
    assert_eq!(group.leaders(), [1]);
    // What comes back at the place of the other one is a newcomer.
    group.add(9, |_| {}, false);
    group.change(1, Change::Join { node: id(9), address: "node2:1".into() });
    group.run_all(100);
    assert_eq!(group.node(1).core.membership().1.standing(id(9)), Some(Standing::Voter));
    assert_eq!(group.commands(9), ["decided", "alone"]);
    assert!(group.agrees());
}

/// What the operator said was wrong: nothing is lost, as the other one can decide nothing without this one.
#[test]
fn the_other_one_that_was_not_gone_finds_itself_removed() {
    let mut group = left_alone(|_| {});
    go_on(&mut group, 1, 2);
    group.run_all(100);
    group.propose(1, 3, "alone");
    group.run_all(10);
    group.restart(2);
    group.run_all(200);
    assert_eq!(group.node(2).not_member, Some(true));
    assert_eq!(group.leaders(), [1]);
    assert_eq!(group.commands(2), ["decided"], "half done never was");
    assert!(group.agrees());
}

#[test]
fn a_sign_of_life_takes_the_word_back() {
    let mut group = left_alone(|_| {});
    go_on(&mut group, 1, 2);
    // Before it has asked to lead.
    group.restart(2);
    group.run_all(100);
    assert_eq!(members(&group, 1), [id(1), id(2)]);
    assert_eq!(group.leaders().len(), 1);
    let leader = group.leaders()[0];
    group.propose(leader, 3, "together");
    group.run_all(10);
    assert_eq!(group.commands(1).last().map(String::as_str), Some("together"));
    assert_eq!(group.commands(2).last().map(String::as_str), Some("together"));
    assert!(group.agrees());
}

#[test]
fn going_on_alone_is_refused_where_it_contradicts() {
    // The other one lives.
    let mut group = Group::new(2, None);
    group.elect(1);
    group.run_all(40);
    go_on(&mut group, 1, 2);
    go_on(&mut group, 2, 1);
    go_on(&mut group, 1, 1);
    assert_eq!(group.node(1).changes_refused, [Refusal::StillHeard, Refusal::NotOneOfTwo]);
    assert_eq!(group.node(2).changes_refused, [Refusal::StillHeard]);
    // More than two: the others may have decided what this one lacks.
    let mut group = Group::new(3, None);
    group.elect(1);
    group.crash(2, 0);
    group.crash(3, 0);
    group.run_all(100);
    go_on(&mut group, 1, 2);
    assert_eq!(group.node(1).changes_refused, [Refusal::NotOneOfTwo]);
    // Another policy, with a way of its own.
    let mut group = Group::under(Policy::Passive, 2, |_| {});
    group.run_all(200);
    go_on(&mut group, 1, 2);
    assert_eq!(group.node(1).changes_refused, [Refusal::NotOneOfTwo]);
}

/// Until the log durably says that this node is alone nothing is handed out that it decided by itself.
#[test]
fn nobody_is_answered_before_the_log_says_that_it_is_alone() {
    let mut group = left_alone(|_| {});
    group.instant_disks = false;
    go_on(&mut group, 1, 2);
    group.propose(1, 3, "alone");
    let mut decided = false;
    for _ in 0..200 {
        group.tick(1);
        if group.leaders() == [1] && !decided {
            group.propose(1, 4, "alone");
        }
        decided |= members(&group, 1) == [id(1)];
        if decided {
            break;
        }
        group.persist_some(1, 1);
    }
    assert!(decided);
    let before = group.commands(1);
    group.crash(1, 0);
    group.restart(1);
    // The membership is in the log, and that it was decided is not: it waits again, and has answered nobody.
    group.instant_disks = true;
    group.run_all(100);
    assert_eq!(before, ["decided"]);
    assert!(group.leaders().is_empty());
    go_on(&mut group, 1, 2);
    group.run_all(100);
    assert_eq!(group.leaders(), [1]);
    assert_eq!(members(&group, 1), [id(1)]);
}

/// Whether two nodes decide different values in a slot when node 1, which lacks what the others decided, is told to
/// go on without one of three.
fn is_split_by_one_of_three(planted: Option<PlantedBug>) -> bool {
    let mut group = Group::new(3, planted);
    group.elect(3);
    group.run_all(5);
    let without_1 = |from: NodeId, to: NodeId, _: &paxos::Message| from != id(1) && to != id(1);
    group.propose(3, 1, "decided without 1");
    group.run(10, without_1);
    assert_eq!(group.commands(2), ["decided without 1"]);
    group.wire.clear();
    group.run(100, without_1);
    for without in [2, 3] {
        go_on(&mut group, 1, without);
        group.run(100, without_1);
    }
    for number in 0..5 {
        group.propose(1, number, "decided alone");
    }
    group.run(20, without_1);
    !group.agrees()
}

#[test]
fn going_on_alone_of_many_is_caught() {
    assert!(!is_split_by_one_of_three(None));
    assert!(is_split_by_one_of_three(Some(PlantedBug::AloneOfMany)));
}
