//! Handing over, stalled disks, acknowledgements out of order, and followers that are dead.

mod group;

use group::{Group, command, id};
use paxos::{
    Ballot, Change, Entry, Input, Message, NodeId, PersistId, Policy, Refusal, Slot, Standing,
};

fn lead(node: Option<u64>) -> Change {
    Change::Lead { node: node.map(id) }
}

#[test]
fn handing_over_loses_no_command_and_moves_to_the_node_named() {
    let mut group = Group::new(5, None);
    group.elect(1);
    for number in 0..50 {
        group.propose(1, number, &format!("{number}"));
    }
    group.change(1, lead(Some(4)));
    assert!(group.node(1).core.is_handing_over());
    group.propose(1, 50, "meanwhile");
    group.run_all(10);
    assert_eq!(group.leaders(), [4]);
    assert_eq!(group.node(1).refused, [paxos::ProposalId(50)], "it is told to try elsewhere");
    group.run_all(10);
    assert_eq!(group.commands(2).len(), 50);
    assert!(group.agrees());
}

#[test]
fn handing_over_to_nobody_in_particular_takes_the_one_that_holds_most() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.propose(1, 1, "a");
    group.deliver(|_, to, m| to != id(2) || !matches!(m, Message::Accept { .. }));
    group.change(1, lead(None));
    group.run_all(10);
    assert_eq!(group.leaders(), [3]);
}

#[test]
fn a_handover_is_given_up_when_its_target_dies() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.run_all(5);
    group.change(1, lead(Some(2)));
    group.crash(2, 0);
    group.propose(1, 1, "waits");
    group.run_all(10);
    assert!(group.commands(1).is_empty());
    group.run_all(40);
    assert_eq!(group.leaders(), [1]);
    assert_eq!(group.commands(3), ["waits"]);
}

#[test]
fn handing_over_to_learners_and_the_unheard_is_refused() {
    let mut group = Group::with(3, |config| config.promote_lag_slots = 0);
    group.elect(1);
    group.add(4, |_| {}, false);
    group.join(1, 4);
    group.run(40, |from, to, _| ![from, to].iter().any(|n| *n == id(3) || *n == id(4)));
    group.change(1, lead(Some(4)));
    group.change(1, lead(Some(3)));
    assert_eq!(group.node(1).changes_refused, [Refusal::NotAVoter, Refusal::NotFollowing]);
}

/// CockroachDB #41691: a stalled disk keeps the lease.
#[test]
fn a_leader_with_a_stalled_disk_hands_over_and_does_not_ask_again() {
    for policy in [Policy::Paxos, Policy::Passive] {
        let mut group = Group::under(policy, 3, |config| {
            config.evict_ticks = Some(60);
            config.takeover_ticks = 80;
        });
        group.run_all(100);
        let old = group.leaders()[0];
        group.instant_disks = false;
        group.propose(old, 1, "a");
        for _ in 0..500 {
            for n in 1..=3 {
                group.tick(n);
            }
            group.deliver_all();
            for n in (1..=3).filter(|n| *n != old) {
                group.persist(n);
            }
        }
        let leaders = group.leaders();
        assert!(!leaders.is_empty() && leaders[0] != old, "{policy}: {leaders:?}");
        for n in (1..=3).filter(|n| *n != old) {
            assert_eq!(group.commands(n), ["a"], "{policy}");
        }
    }
}

/// Batch 2 is reported before batch 1, and batch 1 again after it.
#[test]
fn completions_out_of_order_cover_what_came_before() {
    let mut group = Group::new(3, None);
    let ballot = Ballot { round: 9, node: id(1) };
    group.instant_disks = false;
    let prepare = Message::Prepare { ballot, from: Slot(2) };
    group.step(2, Input::Message { from: id(1), message: prepare });
    accept(&mut group, ballot, 2, "a");
    let newest = group.node(2).disk.writing.last().expect("it writes").0;
    assert!(newest > PersistId(1));
    group.node_mut(2).disk.sync(usize::MAX);
    group.step(2, Input::Persisted(newest));
    group.step(2, Input::Persisted(PersistId(1)));
    assert_eq!(reported(&group, ballot), Some(Slot(2)));
}

/// An acknowledgement for a slot that was overwritten meanwhile says nothing of what stands there now.
#[test]
fn a_stale_completion_does_not_report_what_took_the_place() {
    let mut group = Group::new(3, None);
    let (old, new) = (Ballot { round: 9, node: id(1) }, Ballot { round: 10, node: id(3) });
    group.instant_disks = false;
    let prepare = |ballot| Message::Prepare { ballot, from: Slot(2) };
    group.step(2, Input::Message { from: id(1), message: prepare(old) });
    accept(&mut group, old, 2, "old");
    let first = group.node(2).disk.writing.last().expect("it writes").0;
    group.step(2, Input::Message { from: id(3), message: prepare(new) });
    accept(&mut group, new, 2, "new");
    let count = group.node(2).disk.writing.iter().filter(|(id, _)| *id <= first).count();
    group.persist_some(2, count);
    assert_eq!(reported(&group, new), None);
    group.persist(2);
    assert_eq!(reported(&group, new), Some(Slot(2)));
}

fn accept(group: &mut Group, ballot: Ballot, slot: u64, text: &str) {
    let entries = vec![Entry { ballot, payload: command(text) }];
    let message = Message::Accept { ballot, first: Slot(slot), entries, decided: Slot(1) };
    group.step(2, Input::Message { from: ballot.node, message });
}

fn reported(group: &Group, of: Ballot) -> Option<Slot> {
    let upto = |(_, _, m): &(NodeId, NodeId, Message)| match m {
        Message::Accepted { ballot, upto, .. } if *ballot == of && *upto > Slot(1) => Some(*upto),
        _ => None,
    };
    group.wire.iter().find_map(upto)
}

#[test]
fn a_dead_follower_costs_bounded_memory_and_one_message_at_a_time() {
    const COMMAND_BYTES: usize = 1_000;
    let mut group = Group::with(3, |config| {
        config.window_bytes_max = 10_000;
        config.chunk_bytes_max = 2_000;
        config.inflight_bytes_max = 6_000;
    });
    group.elect(1);
    let text = "x".repeat(COMMAND_BYTES);
    let (mut sent, mut rounds) = (0, 0);
    for number in 0..500 {
        group.propose(1, number, &text);
        for _ in 0..3 {
            for n in 1..=3 {
                group.tick(n);
            }
            let to_dead = group.wire.iter().filter(|(_, to, _)| *to == id(3));
            let with_entries = to_dead.filter(
                |(_, _, m)| matches!(m, Message::Accept { entries, .. } if !entries.is_empty()),
            );
            sent += with_entries.count();
            rounds += 1;
            group.deliver(|from, to, _| from != id(3) && to != id(3));
        }
    }
    // At first as much as may be under way, then one message for each time of waiting.
    assert!(sent <= 10 + rounds / 15, "{sent} messages");
    let leader = &group.node(1).core;
    let in_memory = (1..=leader.status().decided.0).filter(|s| leader.entry(Slot(*s)).is_some());
    assert!(in_memory.count() * COMMAND_BYTES <= 12_000);
    group.run_all(800);
    assert_eq!(group.commands(3).len(), 500, "it catches up from the disk");
}

#[test]
fn a_leader_out_of_reach_of_a_quorum_steps_down_and_refuses() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.run(60, |from, to, _| from != id(1) && to != id(1));
    assert!(!group.is_leader(1));
    group.propose(1, 7, "a");
    assert_eq!(group.node(1).refused.len(), 1);
    assert_eq!(group.node(1).core.membership().1.standing(id(1)), Some(Standing::Voter));
}

/// What is handed to a node that does not lead yet is lost, and comes again only after a long wait.
#[test]
fn a_candidate_is_nobodys_leader_before_it_leads() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.run_all(5);
    group.crash(1, usize::MAX);
    for _ in 0..300 {
        group.run(1, |_, _, message| !matches!(message, Message::Promise { .. }));
        for (n, other) in [(2, 3), (3, 2)] {
            let believed = group.node(n).core.leader();
            assert!(
                believed != Some(id(other)) || group.is_leader(other),
                "node {n} takes {other} for its leader, which does not lead"
            );
        }
    }
    assert!(group.leaders().is_empty(), "without a promise nobody leads");
    group.run_all(60);
    assert_eq!(group.leaders().len(), 1);
}
