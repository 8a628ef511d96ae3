//! The passive policy: a primary and its backups (`docs/design/passive.md`).

mod group;

use group::{Group, id};
use paxos::{
    Ballot, Change, Config, Entry, Input, Message, NodeId, Payload, Policy, Slot, Standing,
};

fn settings(config: &mut Config) {
    config.evict_ticks = Some(60);
    config.takeover_ticks = 80;
}

/// `count` nodes with node 1 leading.
fn passive(count: u64) -> Group {
    let mut group = Group::under(Policy::Passive, count, settings);
    group.run_all(100);
    let leader = group.leaders()[0];
    if leader != 1 {
        group.change(leader, Change::Lead { node: Some(id(1)) });
        group.run_all(20);
    }
    assert_eq!(group.leaders(), [1]);
    group
}

fn apart(alone: u64) -> impl Fn(NodeId, NodeId, &Message) -> bool {
    move |from, to, _| from != id(alone) && to != id(alone)
}

fn standing(group: &Group, at: u64, of: u64) -> Option<Standing> {
    group.node(at).core.membership().1.standing(id(of))
}

#[test]
fn a_leader_whose_follower_dies_goes_on_alone() {
    let mut group = passive(2);
    group.crash(2, 0);
    group.propose(1, 1, "a");
    group.run_all(30);
    assert!(group.commands(1).is_empty(), "all that are active decide");
    group.run_all(60);
    assert_eq!(group.commands(1), ["a"]);
    assert_eq!(standing(&group, 1, 2), Some(Standing::Away));
    group.restart(2);
    group.run_all(40);
    assert_eq!(standing(&group, 1, 2), Some(Standing::Voter));
    assert_eq!(group.commands(2), ["a"]);
}

#[test]
fn a_follower_takes_over_with_everything_and_the_old_leader_follows() {
    let mut group = passive(2);
    group.propose(1, 1, "acknowledged");
    group.run_all(10);
    assert_eq!(group.commands(1), ["acknowledged"]);
    // Accepted by the leader alone: nobody was told that it was decided.
    group.propose(1, 2, "half done");
    group.wire.clear();
    group.crash(1, 0);
    group.run_all(70);
    assert!(group.leaders().is_empty(), "not before its time");
    group.run_all(80);
    assert_eq!(group.leaders(), [2]);
    group.propose(2, 3, "after");
    group.run_all(10);
    assert_eq!(group.commands(2), ["acknowledged", "after"]);
    group.restart(1);
    group.run_all(100);
    assert_eq!(group.leaders(), [2]);
    assert_eq!(group.node(1).overwritten.len(), 1);
    assert_eq!(group.node(1).overwritten[0].1.payload, group::command("half done"));
    assert_eq!(group.node(1).diverged, None);
    assert_eq!(standing(&group, 2, 1), Some(Standing::Voter));
    assert!(group.agrees());
}

#[test]
fn both_sides_of_a_cut_cable_go_on_and_the_lower_ballot_says_where_they_parted() {
    let mut group = passive(2);
    group.propose(1, 1, "common");
    group.run_all(10);
    let common = group.decided(1);
    group.run(100, apart(2));
    group.propose(1, 2, "of the first");
    group.run(100, apart(2));
    assert_eq!(group.leaders(), [1, 2]);
    group.propose(2, 3, "of the second");
    group.run(10, apart(2));
    assert_eq!(group.commands(1), ["common", "of the first"]);
    assert_eq!(group.commands(2), ["common", "of the second"]);
    group.run_all(30);
    assert_eq!(group.leaders(), [2]);
    assert_eq!(group.node(1).diverged, Some(common.next()));
    assert_eq!(group.node(2).diverged, None);
    // It does not come back into power either.
    group.crash(2, 0);
    group.run_all(300);
    assert!(group.leaders().is_empty());
}

#[test]
fn of_three_two_that_fall_silent_one_after_the_other_are_both_dropped() {
    for pause in [0, 2, 5, 30] {
        let mut group = passive(3);
        group.crash(2, 0);
        group.run_all(pause);
        group.crash(3, 0);
        group.propose(1, 1, "alone");
        group.run_all(150);
        assert_eq!(group.commands(1), ["alone"], "{pause} ticks apart");
    }
}

#[test]
fn a_follower_takes_over_when_all_the_others_are_gone() {
    let mut group = passive(3);
    group.propose(1, 1, "a");
    group.run_all(10);
    group.crash(1, 0);
    group.crash(3, 0);
    group.run_all(250);
    assert_eq!(group.leaders(), [2]);
    group.propose(2, 2, "b");
    group.run_all(5);
    assert_eq!(group.commands(2), ["a", "b"]);
}

/// A leader that dies in the middle of a change leaves it to whoever takes over, without waiting for itself.
#[test]
fn a_membership_found_undecided_does_not_stop_whoever_takes_over() {
    let mut group = passive(3);
    group.change(1, Change::Join { node: id(3), address: "elsewhere:1".into() });
    group.deliver(|_, to, m| to == id(2) && matches!(m, Message::Accept { .. }));
    group.crash(1, 0);
    group.run_all(200);
    group.propose(group.leaders()[0], 1, "a");
    group.run_all(10);
    assert_eq!(group.commands(2), ["a"]);
    assert_eq!(group.commands(3), ["a"]);
    assert!(group.agrees());
}

/// What is undecided may wait for the very follower that is to be dropped.
#[test]
fn a_full_window_does_not_keep_a_dead_follower_in() {
    let mut group = Group::under(Policy::Passive, 2, |config| {
        settings(config);
        config.undecided_bytes_max = 500;
    });
    group.run_all(100);
    let leader = group.leaders()[0];
    group.crash(3 - leader, 0);
    for number in 0..20 {
        group.propose(leader, number, &format!("{number:0100}"));
    }
    group.run_all(100);
    assert_eq!(group.commands(leader).len(), 20);
}

#[test]
fn a_dropped_follower_does_not_take_over_while_an_active_one_is_there() {
    let mut group = passive(3);
    // It is paused, and so for it no time passes.
    let without_3 = |group: &mut Group, ticks| {
        for _ in 0..ticks {
            group.tick(1);
            group.tick(2);
            group.deliver(apart(3));
        }
    };
    without_3(&mut group, 90);
    assert_eq!(standing(&group, 1, 3), Some(Standing::Away));
    group.propose(1, 1, "without 3");
    without_3(&mut group, 5);
    group.crash(1, 0);
    // It is first to notice.
    for _ in 0..200 {
        group.tick(3);
        group.deliver_all();
    }
    assert!(group.leaders().is_empty());
    group.run_all(200);
    assert_eq!(group.leaders(), [2]);
    assert_eq!(group.commands(3), ["without 3"]);
    assert_eq!(group.node(3).diverged, None);
}

/// It cannot know whether it was dropped while it was away.
#[test]
fn a_follower_that_restarts_waits_for_a_leader_or_for_everybody() {
    let mut group = passive(2);
    group.crash(2, 0);
    group.run_all(100);
    group.propose(1, 1, "alone");
    group.run_all(5);
    assert_eq!(group.commands(1), ["alone"]);
    group.crash(1, 0);
    group.restart(2);
    group.run_all(400);
    assert!(group.leaders().is_empty());
    group.restart(1);
    group.run_all(100);
    assert_eq!(group.leaders(), [1]);
    assert_eq!(group.commands(2), ["alone"]);
    assert_eq!(group.node(1).diverged, None);
}

/// As in a world whose leader lost its disk 9 ms after it had made the other one a voter, before its next heartbeat.
#[test]
fn a_new_voter_takes_over_though_its_leader_fell_silent_at_once() {
    let mut group = passive(1);
    group.add(2, settings, false);
    group.join(1, 2);
    let is_voter = |group: &Group| standing(group, 2, 2) == Some(Standing::Voter);
    for _ in 0..200 {
        group.tick(1);
        while !is_voter(&group) && !group.wire.is_empty() {
            let (from, to, message) = group.wire.pop_front().expect("it is not empty");
            group.step(to.0, Input::Message { from, message });
        }
        if is_voter(&group) {
            break;
        }
        group.tick(2);
    }
    assert!(is_voter(&group));
    group.crash(1, 0);
    group.wire.clear();
    group.run_all(300);
    assert_eq!(group.leaders(), [2]);
}

#[test]
fn an_operator_may_vouch_for_a_follower_that_waits() {
    let mut group = passive(2);
    group.propose(1, 1, "a");
    group.run_all(10);
    group.crash(1, 0);
    group.restart(2);
    group.run_all(300);
    assert!(group.leaders().is_empty());
    group.change(2, Change::Lead { node: Some(id(2)) });
    group.run_all(100);
    assert_eq!(group.leaders(), [2]);
    group.propose(2, 2, "b");
    group.run_all(5);
    assert_eq!(group.commands(2).last().map(String::as_str), Some("b"));
}

/// World 4013553: the third had parted from a leader that is gone, and started over as another node; nobody who waits for
/// the old one can know that. An operator does, and vouches for the one that has decided most.
#[test]
fn two_that_wait_for_a_third_which_has_started_over_go_on_when_one_is_vouched_for() {
    let mut group = passive(3);
    group.propose(1, 1, "a");
    group.run_all(10);
    for n in 1..=3 {
        group.crash(n, 0);
    }
    group.restart(1);
    group.restart(2);
    group.run_all(1_000);
    assert!(group.leaders().is_empty(), "the third may know more");
    group.change(1, Change::Lead { node: Some(id(1)) });
    group.run_all(150);
    assert_eq!(group.leaders(), [1]);
    assert_eq!(standing(&group, 2, 3), Some(Standing::Away));
    group.propose(1, 2, "b");
    group.run_all(5);
    assert_eq!(group.commands(2).last().map(String::as_str), Some("b"));
}

#[test]
fn all_restart_at_once_and_nothing_is_lost() {
    let mut group = passive(3);
    for number in 0..20 {
        group.propose(1, number, &format!("{number}"));
    }
    group.run_all(10);
    let last = group.decided(1);
    for n in 1..=3 {
        group.crash(n, 0);
    }
    for n in 1..=3 {
        group.restart(n);
    }
    group.run_all(60);
    assert_eq!(group.leaders().len(), 1);
    for n in 1..=3 {
        assert!(group.decided(n) >= last);
        assert_eq!(standing(&group, 1, n), Some(Standing::Voter));
    }
    assert!(group.agrees());
}

#[test]
fn three_without_a_partition_never_have_two_leaders() {
    for order in 0..20 {
        let mut group = passive(3);
        group.crash(1, 0);
        for tick in 0..300 {
            group.tick(2 + (order + tick / 3) % 2);
            group.tick(2 + (order + 1 + tick / 3) % 2);
            group.deliver_all();
            assert!(group.leaders().len() <= 1);
        }
        group.run_all(20);
        assert_eq!(group.leaders().len(), 1);
    }
}

#[test]
fn handing_over_under_the_passive_policy_loses_nothing() {
    let mut group = passive(3);
    for number in 0..20 {
        group.propose(1, number, &format!("{number}"));
    }
    group.change(1, Change::Lead { node: Some(id(3)) });
    group.run_all(30);
    assert_eq!(group.leaders(), [3]);
    group.propose(3, 99, "next");
    group.run_all(10);
    assert_eq!(group.commands(1).len(), 21);
    assert!(group.node(1).overwritten.is_empty());
    assert!(group.agrees());
}

/// What a dropped follower is told afterwards it does not take for decided before it holds the membership too.
#[test]
fn a_lagging_member_learns_what_was_decided_without_the_dropped_only_with_the_reason() {
    let mut group = passive(3);
    // Node 3 is slow: nothing but heartbeats reach it; node 2 is gone.
    group.crash(2, 0);
    group.propose(1, 1, "without 2");
    let is_entry =
        |m: &Message| matches!(m, Message::Accept { entries, .. } if !entries.is_empty());
    let before = group.decided(3);
    group.run(40, |_, to, m| to != id(3) || !is_entry(m));
    assert_eq!(group.decided(3), before);
    group.run_all(100);
    let (slot, _) = group.node(3).core.membership();
    assert!(slot > Slot(1), "it holds the membership that dropped node 2");
    assert_eq!(group.commands(3), ["without 2"]);
}

/// Simulated world 3033060: two parts had each dropped the other in the same slot. A node that knew one of the two
/// memberships to be decided found, at a follower, one that descended from the other, adopted it for the number of its
/// slot, and so dropped itself.
#[test]
fn a_membership_of_another_descent_is_not_adopted() {
    let mut group = passive(3);
    group.crash(3, 0);
    group.run_all(100);
    assert_eq!(standing(&group, 2, 3), Some(Standing::Away));
    let (slot, known) = group.node(2).core.membership();
    let (slot, known) = (slot, known.clone());
    group.crash(1, 0);
    group.wire.clear();
    // What 3 accepted in another part: something else in that slot, and a membership made from it.
    let foreign = Ballot { round: 40, node: id(3) };
    let mut theirs = known.clone();
    theirs.base = slot;
    theirs.origin = foreign;
    theirs.history.push(paxos::Ancestor { slot, ballot: foreign, own_slot: slot });
    theirs.members.get_mut(&id(2)).expect("a member").standing = Standing::Away;
    theirs.members.get_mut(&id(3)).expect("a member").standing = Standing::Voter;
    let entry = Entry { ballot: foreign, payload: Payload::Membership(theirs.clone()) };
    for _ in 0..400 {
        group.tick(2);
        while let Some((_, to, message)) = group.wire.pop_front() {
            if to != id(3) {
                continue;
            }
            let answer = match message {
                Message::Canvass { ballot, .. } => {
                    Message::CanvassReply { ballot, granted: true, promised: foreign }
                }
                Message::Prepare { ballot, from } => Message::Promise {
                    ballot,
                    from,
                    decided: Slot(1),
                    last: slot.next(),
                    lineage: vec![known.history[0]],
                    entries: vec![entry.clone()],
                },
                _ => continue,
            };
            group.step(2, Input::Message { from: id(3), message: answer });
        }
        if group.leaders() == [2] && group.node(2).core.entry(slot.next()).is_some() {
            break;
        }
    }
    assert_eq!(group.leaders(), [2]);
    let proposed = group.node(2).core.entry(slot.next()).map(|entry| entry.payload.clone());
    assert_eq!(proposed, Some(Payload::Blank));
}
