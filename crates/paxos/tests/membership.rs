//! Who takes part: joining, leaving, falling silent, coming back, lost disks.

mod group;

use group::{Group, id};
use paxos::{
    Ballot, Change, Config, Input, Membership, Message, PlantedBug, Policy, Refusal, Slot, Standing,
};

/// Members out of reach for 60 ticks are no longer waited for.
fn evicting(config: &mut Config) {
    config.evict_ticks = Some(60);
    config.change_pause_ticks = 10;
}

fn standing(group: &Group, at: u64, of: u64) -> Option<Standing> {
    group.node(at).core.membership().1.standing(id(of))
}

/// Proposes `text` at the leader and demands that all of `members` hand it out.
fn decides(group: &mut Group, text: &str, members: &[u64]) {
    let leader = *group.leaders().first().expect("somebody leads");
    group.propose(leader, 9, text);
    group.run_all(40);
    for n in members {
        assert_eq!(group.commands(*n).last().map(String::as_str), Some(text), "node {n}");
    }
}

#[test]
fn groups_of_one_to_seven_decide() {
    for count in [1, 2, 3, 4, 5, 7] {
        let mut group = Group::new(count, None);
        group.run_all(80);
        decides(&mut group, "a", &(1..=count).collect::<Vec<_>>());
        // All but a minority are enough.
        let gone = (count - 1) / 2;
        let leader = group.leaders()[0];
        let dead: Vec<u64> = (1..=count).filter(|n| *n != leader).take(gone as usize).collect();
        group.propose(leader, 1, "b");
        group.run(60, |from, to, _| !dead.contains(&from.0) && !dead.contains(&to.0));
        assert_eq!(group.commands(leader).last().map(String::as_str), Some("b"), "of {count}");
        assert!(group.agrees());
    }
}

#[test]
fn one_three_five_three_one() {
    let mut group = Group::new(1, None);
    group.run_all(3);
    for n in 2..=5 {
        group.add(n, |_| {}, false);
        group.join(group.leaders()[0], n);
        group.run_all(60);
        assert_eq!(standing(&group, 1, n), Some(Standing::Voter), "node {n}");
        decides(&mut group, &format!("with {n}"), &(1..=n).collect::<Vec<_>>());
    }
    for n in [5, 4, 3, 2] {
        group.change(group.leaders()[0], Change::Remove { node: id(n) });
        group.run_all(60);
        assert_eq!(standing(&group, 1, n), None, "node {n}");
        decides(&mut group, &format!("without {n}"), &[1]);
    }
    assert_eq!(group.node(1).core.membership().1.quorum(), 1);
    assert!(group.agrees());
}

/// RethinkDB 2.2.3, LogCabin #56: removed nodes that disturb; design §2: removal 2→1 and rejoin.
#[test]
fn a_node_removed_from_two_is_refused_until_it_is_allowed() {
    let mut group = Group::new(2, None);
    group.elect(1);
    group.change(1, Change::Remove { node: id(2) });
    group.run_all(80);
    assert_eq!(group.node(2).not_member, Some(true));
    decides(&mut group, "alone", &[1]);
    group.join(1, 2);
    assert_eq!(group.node(1).changes_refused, [Refusal::Removed]);
    let ballot = group.node(1).core.status().ballot;
    group.run_all(200);
    assert_eq!(group.node(1).core.status().ballot, ballot, "it disturbs nobody");
    group.change(1, Change::Allow { node: id(2) });
    group.run_all(10);
    group.join(1, 2);
    group.run_all(60);
    decides(&mut group, "both", &[1, 2]);
    assert_eq!(standing(&group, 1, 2), Some(Standing::Voter));
}

#[test]
fn a_node_removed_while_it_was_away_is_told() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.run(5, |_, to, _| to != id(3));
    group.change(1, Change::Remove { node: id(3) });
    group.run(60, |from, to, _| from != id(3) && to != id(3));
    assert_eq!(group.node(3).not_member, None);
    let ballot = group.node(1).core.status().ballot;
    group.run_all(60);
    assert_eq!(group.node(3).not_member, Some(true));
    assert_eq!(group.node(1).core.status().ballot, ballot);
}

/// It does not ask to lead, so nobody would tell it unless it asked something.
#[test]
fn a_learner_removed_while_it_was_away_is_told() {
    let mut group = Group::with(3, |config| config.promote_lag_slots = 0);
    group.elect(1);
    group.add(4, |_| {}, false);
    group.join(1, 4);
    // It hears of its membership, nobody hears that it has it, and then it is cut off.
    let mute = |m: &Message| matches!(m, Message::Accepted { .. } | Message::HeartbeatReply { .. });
    group.run(30, |from, _, m| from != id(4) || !mute(m));
    assert_eq!(standing(&group, 4, 4), Some(Standing::Learner));
    group.change(1, Change::Remove { node: id(4) });
    group.run(60, |from, to, _| from != id(4) && to != id(4));
    group.run_all(60);
    assert_eq!(group.node(4).not_member, Some(true));
}

#[test]
fn a_leader_that_is_to_be_removed_hands_over_first() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.change(1, Change::Remove { node: id(1) });
    group.run_all(20);
    let leader = group.leaders()[0];
    assert_ne!(leader, 1);
    group.change(leader, Change::Remove { node: id(1) });
    group.run_all(60);
    assert_eq!(group.node(1).not_member, Some(true));
    decides(&mut group, "a", &[2, 3]);
}

/// A leader that finds its own removal half decided by its predecessor finishes it, and goes.
#[test]
fn a_leader_that_decides_its_own_removal_hands_over() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.change(1, Change::Remove { node: id(3) });
    // Node 3 has it in its log, nobody else; then node 1 is gone.
    group.deliver(|_, to, m| to == id(3) && matches!(m, Message::Accept { .. }));
    group.crash(1, 0);
    group.elect(3);
    // What is left is nodes 1 and 2, so nothing goes on without node 1.
    group.restart(1);
    group.run_all(100);
    // It finds that it is out; whether that is for good it is told when it asks.
    assert_eq!(group.node(3).not_member, Some(false));
    group.join(group.leaders()[0], 3);
    group.run_all(10);
    assert_eq!(group.node(3).not_member, Some(true));
    assert!(!group.is_leader(3));
    assert_eq!(standing(&group, 2, 3), None);
    decides(&mut group, "a", &[1, 2]);
}

#[test]
fn removals_that_make_no_sense_are_refused() {
    let mut group = Group::new(1, None);
    group.run_all(3);
    group.change(1, Change::Remove { node: id(1) });
    group.change(1, Change::Remove { node: id(7) });
    assert_eq!(group.node(1).changes_refused, [Refusal::LastVoter, Refusal::Unknown]);
    // Of four, two that are left could not decide without the one out of reach.
    let mut group = Group::new(4, None);
    group.elect(1);
    let away = |from: paxos::NodeId, to: paxos::NodeId, _: &Message| from != id(4) && to != id(4);
    group.run(32, away);
    group.change(1, Change::Remove { node: id(3) });
    group.run(10, away);
    assert_eq!(standing(&group, 1, 3), None);
    group.run(40, away);
    group.change(1, Change::Remove { node: id(2) });
    assert_eq!(group.node(1).changes_refused, [Refusal::UnsafeQuorum]);
}

/// KAFKA-14077, KIP-853: a node with a new disk is somebody else.
#[test]
fn a_lost_disk_comes_back_as_somebody_else_and_takes_the_old_place() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.crash(3, 0);
    group.add(9, |_| {}, false);
    let change = Change::Join { node: id(9), address: "node3:1".into() };
    group.change(1, change.clone());
    assert_eq!(group.node(1).changes_refused, [Refusal::AddressInUse], "it may be alive yet");
    group.run_all(40);
    group.change(1, change);
    group.run_all(60);
    assert_eq!(standing(&group, 1, 9), Some(Standing::Voter));
    assert_eq!(standing(&group, 1, 3), None);
    assert!(group.node(1).core.membership().1.removed.contains(&id(3)));
    decides(&mut group, "a", &[1, 2, 9]);
}

/// The old node had only moved.
#[test]
fn a_newcomer_does_not_take_the_place_of_a_member_that_is_heard_again() {
    let founding = Membership::of(
        Policy::Paxos,
        (1..=3).map(|n| (id(n), paxos::Member::new(format!("node{n}:1"), Standing::Voter))),
    );
    let view = |is_heard| move |_| paxos::View { is_heard, is_following: is_heard };
    let join = Change::Join { node: id(9), address: "node3:1".into() };
    let mut next = founding.with(&join, |node| view(node != id(3))(node)).expect("it is dead");
    next = next.with(&Change::Promote { node: id(9) }, view(true)).expect("it follows");
    assert_eq!(next.active().count(), 4);
}

/// Nothing is written after the change, and then the power fails for all: those who start again still know that the fourth
/// is left out, and two of three are enough.
#[test]
fn an_eviction_is_not_forgotten_in_a_power_loss() {
    let mut group = Group::with(4, evicting);
    group.elect(1);
    group.crash(4, 0);
    group.run_all(200);
    for n in 1..=3 {
        assert_eq!(standing(&group, n, 4), Some(Standing::Away));
    }
    for n in 1..=3 {
        group.crash(n, 0);
    }
    group.wire.clear();
    for n in 2..=3 {
        group.restart(n);
        assert_eq!(standing(&group, n, 4), Some(Standing::Away), "{n} has forgotten");
    }
    group.run_all(200);
    decides(&mut group, "by two of three", &[2, 3]);
    assert!(group.agrees());
}

/// While the record of the decision is under way the earlier membership may still come back, so nobody is told of the new one.
#[test]
fn a_membership_is_handed_out_once_its_decision_is_durable() {
    let mut group = Group::with(3, evicting);
    group.elect(1);
    group.run_all(20);
    let before = group.node(1).applied_membership.clone();
    group.instant_disks = false;
    group.change(1, Change::Remove { node: id(3) });
    let knows = |group: &Group| group.node(1).core.membership().0 > before.0;
    for _ in 0..20 {
        for n in 1..=3 {
            if !knows(&group) {
                group.persist(n);
            }
        }
        group.deliver_all();
    }
    assert!(knows(&group), "a quorum holds it");
    assert_eq!(group.node(1).applied_membership, before, "its decision is not durable yet");
    group.persist(1);
    assert!(group.node(1).applied_membership.0 > before.0);
}

#[test]
fn a_node_left_out_of_three_still_votes_in_reserve() {
    let mut group = Group::with(3, evicting);
    group.elect(1);
    let without_3 =
        |from: paxos::NodeId, to: paxos::NodeId, _: &Message| from != id(3) && to != id(3);
    group.run(120, without_3);
    assert_eq!(standing(&group, 1, 3), Some(Standing::Away));
    group.propose(1, 1, "two are enough");
    group.run(10, without_3);
    assert_eq!(group.commands(1), ["two are enough"]);
    // It is back, and before it is let in again the leader dies.
    group.crash(1, 0);
    group.run_all(150);
    decides(&mut group, "again", &[2, 3]);
    assert!(group.agrees());
}

/// Of four, 2 is left out, then 4, whose vote is in reserve. Then 1 loses its disk: 3 and 4 are two of the three who vote.
#[test]
fn the_vote_in_reserve_is_that_of_who_was_left_out_last() {
    let goes_on = |planted| {
        let mut group = Group::with(4, |config| {
            evicting(config);
            config.planted = planted;
        });
        group.elect(1);
        for n in [2, 4] {
            group.crash(n, 0);
            group.run_all(150);
            assert_eq!(standing(&group, 1, n), Some(Standing::Away));
        }
        let voters: Vec<_> = group.node(1).core.membership().1.voters().collect();
        assert_eq!(voters.len(), 3);
        group.crash(1, 0);
        group.restart(4);
        group.run_all(300);
        assert!(group.agrees());
        !group.leaders().is_empty()
    };
    assert!(goes_on(None));
    assert!(!goes_on(Some(PlantedBug::AnyVoteInReserve)));
}

#[test]
fn of_five_two_are_evicted_one_by_one_and_return_by_themselves() {
    let mut group = Group::with(5, evicting);
    group.elect(1);
    let gone = [id(4), id(5)];
    group.run(250, |from, to, _| !gone.contains(&from) && !gone.contains(&to));
    let (_, membership) = group.node(1).core.membership();
    assert_eq!((membership.active().count(), membership.quorum()), (3, 2));
    decides_without(&mut group, "three", &[1, 2, 3], &gone);
    group.run_all(100);
    let (_, membership) = group.node(1).core.membership();
    assert_eq!((membership.active().count(), membership.quorum()), (5, 3));
    decides(&mut group, "five", &[1, 2, 3, 4, 5]);
}

fn decides_without(group: &mut Group, text: &str, members: &[u64], gone: &[paxos::NodeId]) {
    let leader = group.leaders()[0];
    group.propose(leader, 9, text);
    group.run(30, |from, to, _| !gone.contains(&from) && !gone.contains(&to));
    for n in members {
        assert_eq!(group.commands(*n).last().map(String::as_str), Some(text), "node {n}");
    }
}

#[test]
fn eviction_is_decided_and_never_an_opinion() {
    let holds = |planted| {
        let mut group = Group::with(5, |config| {
            evicting(config);
            config.planted = planted;
        });
        group.elect(1);
        // Nodes 4 and 5 are silent; node 3 answers heartbeats and nothing else reaches it.
        group.propose(1, 1, "a");
        group.wire.clear();
        let before = group.decided(1);
        let beat =
            |m: &Message| matches!(m, Message::Heartbeat { .. } | Message::HeartbeatReply { .. });
        for _ in 0..50 {
            group.tick(1);
            group.deliver(|from, to, m| {
                let last = from.0.max(to.0);
                last <= 2 || (last == 3 && beat(m))
            });
        }
        group.decided(1) == before
    };
    assert!(holds(None));
    assert!(!holds(Some(PlantedBug::EvictByOpinion)));
}

#[test]
fn evicting_and_joining_in_a_loop_keeps_agreement() {
    let mut group = Group::with(3, evicting);
    group.elect(1);
    for round in 0..30 {
        let node = id(2 + round % 2);
        group.change(1, Change::Evict { node });
        group.propose(1, round, &format!("{round}"));
        group.run_all(7);
        group.change(1, Change::Promote { node });
        group.run_all(7);
    }
    group.run_all(60);
    assert_eq!(group.commands(1).len(), 30);
    assert_eq!(group.commands(2), group.commands(1));
    assert!(group.agrees());
}

#[test]
fn a_learner_that_vanishes_is_dropped() {
    let mut group = Group::with(3, evicting);
    group.elect(1);
    group.add(4, |_| {}, false);
    group.join(1, 4);
    group.run(150, |from, to, _| from != id(4) && to != id(4));
    assert_eq!(standing(&group, 1, 4), None);
    assert!(!group.node(1).core.membership().1.removed.contains(&id(4)), "it may come again");
}

#[test]
fn a_member_notes_a_new_address() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.change(1, Change::Join { node: id(2), address: "elsewhere:7".into() });
    group.run_all(10);
    let (_, membership) = group.node(3).core.membership();
    assert_eq!(membership.members[&id(2)].address, "elsewhere:7");
    assert_eq!(membership.standing(id(2)), Some(Standing::Voter));
}

/// RethinkDB 2.2.3: reconfiguring while partitioned.
#[test]
fn a_leader_in_a_minority_changes_nothing() {
    let mut group = Group::new(5, None);
    group.elect(1);
    group.change(1, Change::Remove { node: id(5) });
    let slot = group.node(1).core.membership().0;
    group.run(200, |from, to, _| (from.0 <= 2) == (to.0 <= 2));
    assert_eq!(group.node(1).core.membership().0, slot);
    group.change(1, Change::Remove { node: id(4) });
    let leader = *group.leaders().iter().find(|n| **n > 2).expect("the majority has one");
    group.change(leader, Change::Remove { node: id(2) });
    group.run(50, |from, to, _| (from.0 <= 2) == (to.0 <= 2));
    group.run_all(200);
    assert_eq!(group.node(2).not_member, Some(true));
    let (_, membership) = group.node(1).core.membership();
    assert_eq!(membership.members.len(), 4);
    decides(&mut group, "a", &[1, 3, 4, 5]);
    assert!(group.agrees());
}

/// Raft list 2015: a change begun before the leader has decided anything in its own ballot.
#[test]
fn no_change_begins_before_the_leader_has_decided_in_its_ballot() {
    let mut group = Group::new(3, None);
    let quiet =
        |_, _, m: &Message| !matches!(m, Message::Accepted { .. } | Message::HeartbeatReply { .. });
    for _ in 0..40 {
        group.tick(2);
        group.tick(3);
    }
    group.wire.clear();
    group.tick_until_canvass(1);
    group.deliver(quiet);
    assert!(group.is_leader(1) && !group.node(1).core.status().is_settled);
    let accepted = group.node(1).core.status().accepted;
    group.change(1, Change::Remove { node: id(3) });
    assert_eq!(group.node(1).core.status().accepted, accepted);
    assert!(group.node(1).changes_refused.is_empty(), "it may be asked again");
}

#[test]
fn a_new_quorum_promises_before_anything_is_proposed() {
    let holds = |planted| {
        let mut group = Group::with(1, |config| {
            config.planted = planted;
            config.promote_lag_slots = 100;
        });
        group.run_all(3);
        group.add(2, |_| {}, false);
        group.join(1, 2);
        // It follows, and asks for its promise again the moment it becomes a voter.
        for _ in 0..10 {
            group.tick(1);
            group.deliver_all();
            if standing(&group, 1, 2) == Some(Standing::Voter) {
                break;
            }
        }
        assert_eq!(standing(&group, 1, 2), Some(Standing::Voter));
        group.step(
            1,
            Input::Message { from: id(2), message: Message::Refuse { promised: Ballot::ZERO } },
        );
        let accepted = group.node(1).core.status().accepted;
        group.propose(1, 1, "a");
        let waits = group.node(1).core.status().accepted == accepted;
        group.run_all(20);
        assert_eq!(group.commands(1), ["a"]);
        waits
    };
    assert!(holds(None));
    assert!(!holds(Some(PlantedBug::NewQuorumUnasked)));
}

/// A node whose disk forgot a promise refuses what it has not promised; it is asked again.
#[test]
fn a_node_whose_promise_was_lost_is_asked_again() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.run_all(5);
    let founding = group.node(2).disk.records[..3].to_vec();
    group.node_mut(2).disk.records = founding;
    group.restart(2);
    assert_eq!(group.decided(2), Slot(1));
    group.crash(3, 0);
    group.propose(1, 1, "a");
    group.run_all(30);
    assert_eq!(group.commands(2), ["a"]);
}

/// Answers of an earlier membership's voters are no quorum of the present one.
#[test]
fn a_read_that_waits_while_the_membership_changes_asks_again() {
    let mut group = Group::with(3, evicting);
    group.elect(1);
    group.change(1, Change::Evict { node: id(3) });
    let is_accepted = |m: &Message| matches!(m, Message::Accepted { .. });
    let mut held = Vec::new();
    while let Some((from, to, message)) = group.wire.pop_front() {
        if is_accepted(&message) {
            held.push((from, to, message));
        } else {
            group.step(to.0, Input::Message { from, message });
        }
    }
    group.read(1, 7);
    let probe = group.wire.iter().find_map(|(_, _, m)| match m {
        Message::Heartbeat { probe, .. } => Some(*probe),
        _ => None,
    });
    group.wire.clear();
    // The membership is decided before anybody answers the probe.
    for (from, to, message) in held {
        group.step(to.0, Input::Message { from, message });
    }
    group.wire.clear();
    let ballot = group.node(1).core.status().ballot;
    let message = Message::HeartbeatReply { ballot, probe: probe.expect("it asks"), upto: Slot(1) };
    group.step(1, Input::Message { from: id(2), message });
    assert!(group.node(1).ready.is_empty(), "that was the old membership's question");
    group.run_all(10);
    assert_eq!(group.node(1).ready.len(), 1);
}

/// A level that only tests know: raised by a decided entry, from which on a node of the version before applies nothing.
#[test]
fn a_raised_feature_level_stops_who_does_not_know_it() {
    let newer = paxos::LEVEL_MAX + 1;
    let mut group = Group::with(3, |config| {
        if config.node != id(3) {
            config.level_max = newer;
        }
    });
    group.elect(1);
    group.propose(1, 1, "before");
    group.run_all(5);
    group.change(1, Change::Raise { level: newer + 1 });
    group.change(1, Change::Raise { level: paxos::LEVEL_MAX });
    assert_eq!(group.node(1).changes_refused, [Refusal::NoSuchLevel, Refusal::NoSuchLevel]);
    group.change(1, Change::Raise { level: newer });
    group.run_all(5);
    group.propose(1, 2, "of the new level");
    group.run_all(5);
    for n in 1..=2 {
        assert_eq!(group.node(n).core.membership().1.level, newer);
        assert_eq!(group.commands(n), ["before", "of the new level"]);
        assert_eq!(group.node(n).unsupported, None);
    }
    assert_eq!(group.commands(3), ["before"]);
    assert_eq!(group.node(3).unsupported, Some(newer));
    // Of the two that know it one leads, never the third.
    group.crash(1, 0);
    group.run_all(200);
    assert!(!group.leaders().contains(&3));
    // Once it is of a version that knows the level it goes on where it stopped.
    group.node_mut(3).config.level_max = newer;
    group.restart(3);
    group.run_all(200);
    assert_eq!(group.leaders().len(), 1);
    assert!(group.agrees());
}

/// A link holds what node 5 answered before it was left out, and brings it when its disk is lost: that it was there once says nothing.
/// Nor does it for the next leader.
#[test]
fn who_is_away_comes_back_only_with_an_answer_to_a_question_asked_since() {
    let returns = |planted, has_new_leader: bool| {
        let mut group = Group::with(5, |config| {
            evicting(config);
            config.planted = planted;
        });
        group.elect(1);
        group.tick(1);
        group.run_all(10);
        let ballot = group.node(1).core.ballot();
        let probe = 1;
        group.crash(5, 0);
        group.run_all(150);
        assert_eq!(standing(&group, 1, 5), Some(Standing::Away));
        let leader = if has_new_leader { 2 } else { 1 };
        if has_new_leader {
            group.elect(2);
        }
        let upto = group.decided(leader);
        let message = Message::HeartbeatReply { ballot, probe, upto };
        group.step(leader, Input::Message { from: id(5), message });
        group.run_all(10);
        standing(&group, leader, 5) == Some(Standing::Voter)
    };
    assert!(!returns(None, false));
    assert!(!returns(None, true));
    assert!(returns(Some(PlantedBug::StaleAnswersReturn), false));
}

/// A leader that is new, or has made a change, asks who is there before it counts on anybody: a wish that comes first waits.
#[test]
fn a_wish_is_judged_by_who_has_answered_since_the_last_change() {
    let mut group = Group::new(5, None);
    group.elect(1);
    let (promote, lose) = (Change::Remove { node: id(5) }, Change::Remove { node: id(4) });
    group.change(1, promote);
    let mute = |m: &Message| matches!(m, Message::HeartbeatReply { .. });
    group.deliver(|_, _, m| !mute(m));
    assert_eq!(standing(&group, 1, 5), None, "accepted entries alone decide it");
    group.change(1, lose.clone());
    group.deliver_all();
    assert_eq!(standing(&group, 1, 4), Some(Standing::Voter), "it cannot be judged yet");
    assert!(group.node(1).changes_refused.is_empty());
    group.run_all(10);
    group.change(1, lose);
    group.run_all(10);
    assert_eq!(standing(&group, 1, 4), None);
}
