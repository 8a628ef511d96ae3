//! Faults that other stores had, and each safety line of the core with the fault that appears when it is
//! left out (design §2, "named regressions" and "planted bugs").

mod group;

use group::{Group, id};
use paxos::{Ballot, Config, Entry, Input, Message, PlantedBug, Slot};

/// A property that holds, and does not hold once `bug` is planted.
fn shows(bug: PlantedBug, holds: impl Fn(Option<PlantedBug>) -> bool) {
    assert!(holds(None), "the property does not hold");
    assert!(!holds(Some(bug)), "nothing misses the safety line");
}

#[test]
fn a_promise_is_held_until_it_is_durable() {
    shows(PlantedBug::PromiseBeforePersisted, |planted| {
        let mut group = Group::new(3, planted);
        group.instant_disks = false;
        let ballot = Ballot { round: 9, node: id(1) };
        let message = Message::Prepare { ballot, from: Slot(1) };
        group.step(2, Input::Message { from: id(1), message });
        let early = !group.wire.is_empty();
        group.persist(2);
        assert!(group.wire.iter().any(|(_, _, m)| matches!(m, Message::Promise { .. })));
        !early
    });
}

#[test]
fn accepted_is_held_until_the_entry_is_durable() {
    shows(PlantedBug::AcceptedBeforePersisted, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        group.instant_disks = false;
        group.propose(1, 1, "a");
        let slot = group.node(1).core.status().accepted;
        let accept = |to, m: &Message| to == id(2) && matches!(m, Message::Accept { .. });
        let (from, _, message) =
            group.wire.iter().find(|(_, to, m)| accept(*to, m)).cloned().unwrap();
        group.wire.clear();
        group.step(2, Input::Message { from, message });
        let told = |group: &Group| {
            group
                .wire
                .iter()
                .any(|(_, _, m)| matches!(m, Message::Accepted { upto, .. } if *upto >= slot))
        };
        let early = told(&group);
        group.persist(2);
        assert!(early || told(&group), "the answer leaves once the entry is durable");
        !early
    });
}

#[test]
fn a_leader_counts_its_own_vote_only_once_it_is_durable() {
    shows(PlantedBug::OwnVoteBeforePersisted, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        let before = group.decided(1);
        group.instant_disks = false;
        group.propose(1, 1, "a");
        for _ in 0..2 {
            group.deliver(|_, to, _| to != id(3));
            group.persist(2);
        }
        let early = group.decided(1) > before;
        group.persist(1);
        assert!(group.decided(1) > before);
        !early
    });
}

#[test]
fn a_new_leader_adopts_the_value_of_the_highest_ballot() {
    shows(PlantedBug::AdoptAnyBallot, |planted| {
        let mut group = Group::new(5, planted);
        let (ballot, from) = prepare_of(&mut group, 2, &[1, 3]);
        let report = |node, text| Message::Promise {
            ballot,
            from,
            decided: Slot(1),
            last: Slot(2),
            lineage: Vec::new(),
            entries: vec![Entry {
                ballot: Ballot { round: 1, node: id(node) },
                payload: group::command(text),
            }],
        };
        group.step(2, Input::Message { from: id(3), message: report(9, "newer") });
        group.step(2, Input::Message { from: id(4), message: report(8, "older") });
        assert!(group.is_leader(2));
        let adopted = group.node(2).core.entry(Slot(2)).map(|entry| entry.payload.clone());
        adopted == Some(group::command("newer"))
    });
}

/// Lets `n` canvass and be granted by `voters`; the ballot it prepares and the slot it asks from.
fn prepare_of(group: &mut Group, n: u64, voters: &[u64]) -> (Ballot, Slot) {
    group.tick_until_canvass(n);
    let canvass = group.wire.iter().rev().find_map(|(_, _, m)| match m {
        Message::Canvass { ballot, .. } => Some(*ballot),
        _ => None,
    });
    let ballot = canvass.expect("it canvasses");
    group.wire.clear();
    for voter in voters {
        let message = Message::CanvassReply { ballot, granted: true, promised: Ballot::ZERO };
        group.step(n, Input::Message { from: id(*voter), message });
    }
    let prepare = group.wire.iter().find_map(|(_, _, m)| match m {
        Message::Prepare { ballot, from } => Some((*ballot, *from)),
        _ => None,
    });
    prepare.expect("a granted canvass leads to a prepare")
}

#[test]
fn a_new_leader_proposes_again_what_it_finds_accepted() {
    shows(PlantedBug::ForgetAcceptedSuffix, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        group.propose(1, 1, "decided by 1 and 2 alone");
        // Node 2 accepts it and never hears that it is decided.
        group.deliver(|from, to, m| {
            let news = matches!(m, Message::Accept { entries, .. } if entries.is_empty());
            from != id(3) && to != id(3) && !news
        });
        assert_eq!(group.commands(1).len(), 1);
        // The old leader falls silent; node 2 is the only one left that knows.
        for n in [2, 3] {
            for _ in 0..40 {
                group.tick(n);
            }
        }
        group.wire.clear();
        for _ in 0..300 {
            group.tick(2);
            group.tick(3);
            group.deliver(|from, to, _| from != id(1) && to != id(1));
        }
        group.commands(3) == group.commands(1)
    });
}

#[test]
fn entries_of_an_outdated_ballot_are_not_accepted() {
    shows(PlantedBug::AcceptOutdatedBallot, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        let ballot = group.node(1).core.status().ballot;
        let first = group.node(2).core.status().accepted.next();
        let prepare = Message::Prepare { ballot: Ballot { round: 99, node: id(3) }, from: first };
        group.step(2, Input::Message { from: id(3), message: prepare });
        let entries = vec![Entry { ballot, payload: group::command("late") }];
        let accept = Message::Accept { ballot, first, entries, decided: Slot::ZERO };
        group.step(2, Input::Message { from: id(1), message: accept });
        group.node(2).core.entry(first).is_none()
    });
}

/// LogCabin #44 and "stale read on a fresh leader": what earlier leaders decided is known only once an
/// entry of the own ballot is decided.
#[test]
fn a_fresh_leader_serves_no_read_before_it_has_decided_its_own_entry() {
    shows(PlantedBug::ReadBeforeOwnEntry, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        group.propose(1, 1, "a");
        // Node 2 accepts it and never hears that it is decided.
        group.deliver(|from, to, m| {
            let news = matches!(m, Message::Accept { entries, .. } if entries.is_empty());
            to != id(3) && from != id(3) && !news
        });
        assert_eq!(group.commands(1), ["a"]);
        let slot = group.decided(1);
        group.wire.clear();
        // Node 2 leads, with node 3; heartbeats are answered but its entries do not arrive.
        let quiet = |m: &Message| !matches!(m, Message::Accept { .. });
        for _ in 0..40 {
            group.tick(3);
        }
        group.wire.clear();
        for _ in 0..200 {
            group.tick(2);
            group.tick(3);
            group.deliver(|from, to, m| from != id(1) && to != id(1) && quiet(m));
            if group.is_leader(2) {
                break;
            }
        }
        assert!(group.is_leader(2));
        group.read(2, 7);
        for _ in 0..10 {
            group.tick(2);
            group.deliver(|from, to, m| from != id(1) && to != id(1) && quiet(m));
        }
        group.node(2).ready.iter().all(|(_, index)| *index >= slot)
    });
}

#[test]
fn a_read_waits_for_a_quorum_to_confirm_the_leader() {
    shows(PlantedBug::ReadWithoutProbe, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        group.read(1, 7);
        let early = !group.node(1).ready.is_empty();
        group.deliver_all();
        assert_eq!(group.node(1).ready.len(), 1);
        !early
    });
}

#[test]
fn answers_to_an_earlier_ballots_probe_confirm_no_read() {
    shows(PlantedBug::StaleProbeCounts, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        let old = group.node(1).core.status().ballot;
        group.elect(2);
        group.deliver_all();
        group.elect(1);
        group.deliver_all();
        assert!(group.node(1).core.status().ballot > old);
        group.read(1, 7);
        group.wire.clear();
        // A straggler of the first ballot, with a high number.
        let message = Message::HeartbeatReply { ballot: old, probe: 1000, upto: Slot(1) };
        group.step(1, Input::Message { from: id(2), message });
        group.node(1).ready.is_empty()
    });
}

#[test]
fn repeated_votes_of_one_node_count_once() {
    shows(PlantedBug::DuplicateVotesCount, |planted| {
        let mut group = Group::new(5, planted);
        group.elect(1);
        group.deliver_all();
        let before = group.decided(1);
        group.propose(1, 1, "a");
        let (ballot, upto) = {
            let status = group.node(1).core.status();
            (status.ballot, status.accepted)
        };
        group.wire.clear();
        for _ in 0..3 {
            let message = Message::Accepted { ballot, upto, gap: false };
            group.step(1, Input::Message { from: id(2), message });
        }
        group.decided(1) == before
    });
}

#[test]
fn nothing_is_proposed_after_an_undecided_membership() {
    shows(PlantedBug::NoMembershipBarrier, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        group.add(4, |config| config.planted = planted, false);
        group.join(1, 4);
        let membership_slot = group.node(1).core.status().accepted;
        group.propose(1, 1, "a");
        let held = group.node(1).core.status().accepted == membership_slot;
        group.run_all(30);
        assert_eq!(group.commands(4), ["a"]);
        held
    });
}

#[test]
fn a_learner_does_not_count() {
    shows(PlantedBug::LearnersVote, |planted| {
        let mut group = Group::with(3, |config| {
            config.planted = planted;
            config.promote_lag_slots = 0;
        });
        group.elect(1);
        group.deliver_all();
        group.add(4, |config| config.planted = planted, false);
        group.join(1, 4);
        group.deliver(|_, to, _| to != id(4));
        // Only the learner hears the leader from now on; with it alone nothing can be decided.
        let before = group.decided(1);
        group.propose(1, 1, "a");
        for _ in 0..12 {
            group.tick(1);
            group.deliver(|from, to, _| [from, to].iter().all(|n| *n == id(1) || *n == id(4)));
        }
        group.decided(1) == before
    });
}

#[test]
fn entries_are_handed_out_only_once_they_are_durable_here() {
    shows(PlantedBug::DeliverBeforePersisted, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        group.instant_disks = false;
        group.propose(1, 1, "a");
        for _ in 0..3 {
            group.deliver_all();
            group.persist(2);
            group.persist(3);
        }
        // Nodes 2 and 3 are a quorum, but node 1 has not decided without its own disk's word.
        group.deliver_all();
        let early = !group.commands(1).is_empty();
        group.persist(1);
        assert_eq!(group.commands(1), ["a"]);
        !early
    });
}

#[test]
fn a_follower_takes_for_decided_only_what_it_accepted_in_the_leaders_ballot() {
    shows(PlantedBug::DecidedBeyondAccepted, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        group.propose(1, 1, "never decided");
        group.deliver(|_, to, _| to == id(2));
        group.wire.clear();
        // Node 3 leads without node 2 and decides something else in that slot.
        for _ in 0..40 {
            group.tick(1);
        }
        let slot = group.node(2).core.status().accepted;
        let ballot = Ballot { round: 99, node: id(3) };
        let prepare = Message::Prepare { ballot, from: slot };
        group.step(2, Input::Message { from: id(3), message: prepare });
        let message = Message::Heartbeat { ballot, decided: slot, window: Slot(1), probe: 0 };
        group.step(2, Input::Message { from: id(3), message });
        group.commands(2).is_empty()
    });
}

/// omnipaxos #172.
#[test]
fn a_late_promise_does_not_move_the_decided_slot_back() {
    let mut group = Group::new(3, None);
    let (ballot, from) = prepare_of(&mut group, 1, &[2]);
    let promise = |decided| Message::Promise {
        ballot,
        from,
        decided,
        last: decided,
        lineage: Vec::new(),
        entries: Vec::new(),
    };
    group.step(1, Input::Message { from: id(2), message: promise(Slot(1)) });
    assert!(group.is_leader(1));
    let upto = group.node(1).core.status().accepted;
    group.step(
        1,
        Input::Message { from: id(2), message: Message::Accepted { ballot, upto, gap: false } },
    );
    let decided = group.decided(1);
    assert_eq!(decided, upto);
    group.step(1, Input::Message { from: id(3), message: promise(Slot(1)) });
    group.step(1, Input::Message { from: id(3), message: promise(Slot::ZERO) });
    assert_eq!(group.decided(1), decided);
}

/// openraft #1220.
#[test]
fn an_equal_ballot_is_no_grant() {
    let mut group = Group::new(3, None);
    let ballot = Ballot { round: 7, node: id(3) };
    let prepare = Message::Prepare { ballot, from: Slot(2) };
    group.step(2, Input::Message { from: id(3), message: prepare });
    for _ in 0..100 {
        group.tick(2);
    }
    group.wire.clear();
    group.step(
        2,
        Input::Message { from: id(3), message: Message::Canvass { ballot, membership: Slot(1) } },
    );
    let granted =
        group.wire.iter().any(|(_, _, m)| matches!(m, Message::CanvassReply { granted: true, .. }));
    assert!(!granted);
}

/// Losing the first message of any kind, or the first few, delays and never stalls.
#[test]
fn the_loss_of_any_kind_of_message_only_delays() {
    let kinds = [
        "canvass",
        "canvass_reply",
        "prepare",
        "promise",
        "accept",
        "accepted",
        "heartbeat",
        "heartbeat_reply",
        "catch_up",
        "catch_up_reply",
        "read_index",
        "read_index_reply",
    ];
    for kind in kinds {
        for lost in [1, 3] {
            let small = |config: &mut Config| {
                config.window_bytes_max = 1;
                config.chunk_bytes_max = 200;
                config.inflight_bytes_max = 400;
            };
            let mut group = Group::with(3, small);
            let left = std::cell::Cell::new(lost);
            let passes = |_: paxos::NodeId, _: paxos::NodeId, message: &Message| {
                let hit = message.kind() == kind && left.get() > 0;
                left.set(left.get() - i32::from(hit));
                !hit
            };
            group.run(120, passes);
            let leader = *group.leaders().first().unwrap_or_else(|| panic!("{kind}: no leader"));
            for number in 1..=20 {
                group.propose(leader, number, &format!("command {number}"));
            }
            let follower = (1..=3).find(|n| *n != leader).expect("three nodes");
            group.add(4, small, false);
            group.read(follower, 1);
            group.run(30, passes);
            group.join(leader, 4);
            group.run(150, passes);
            for n in 1..=4 {
                assert_eq!(group.commands(n).len(), 20, "{kind}: node {n} lags");
            }
            assert_eq!(group.node(follower).ready.len(), 1, "{kind}: the read waits");
            assert!(group.node(1).core.membership().1.is_voter(id(4)), "{kind}: not promoted");
        }
    }
}

#[test]
fn a_group_of_one_leads_at_once_and_decides_what_is_durable() {
    let mut group = Group::new(1, None);
    group.tick(1);
    assert!(group.is_leader(1));
    group.instant_disks = false;
    group.propose(1, 1, "a");
    assert!(group.commands(1).is_empty());
    group.persist(1);
    assert_eq!(group.commands(1), ["a"]);
    group.restart(1);
    group.instant_disks = true;
    group.run_all(2);
    assert!(group.is_leader(1));
}

#[test]
fn a_node_that_comes_back_does_not_depose_a_healthy_leader() {
    let mut group = Group::new(3, None);
    group.elect(1);
    group.run_all(5);
    let ballot = group.node(1).core.status().ballot;
    // Node 3 hears nobody for long; then it is back.
    group.run(200, |from, to, _| from != id(3) && to != id(3));
    group.run_all(60);
    assert_eq!(group.leaders(), [1]);
    assert_eq!(group.node(1).core.status().ballot, ballot);
}

/// The three partial partitions of Omni-Paxos (EuroSys 2023, §2): one leader and progress in each.
#[test]
fn partial_partitions_keep_one_leader_and_progress() {
    // Quorum loss: everybody reaches only node 2, which does not lead.
    check_partial_partition(5, |a, b| a == 2 || b == 2);
    // Chained: 1 - 2 - 3, the ends do not reach each other.
    check_partial_partition(3, |a, b| a == 2 || b == 2);
    // Constrained election: node 2 reaches a majority, the others only it and nobody else; it is behind.
    check_partial_partition(5, |a, b| (a == 2 || b == 2) && a != 5 && b != 5);
}

fn check_partial_partition(nodes: u64, reaches: impl Fn(u64, u64) -> bool) {
    let mut group = Group::new(nodes, None);
    group.elect(1);
    group.run_all(5);
    group.propose(1, 1, "before");
    // Node 2 misses the last entry.
    group.deliver(|_, to, _| to != id(2));
    let passes = |from: paxos::NodeId, to: paxos::NodeId, _: &Message| reaches(from.0, to.0);
    group.run(400, passes);
    let leaders = group.leaders();
    assert_eq!(leaders.len(), 1, "{leaders:?}");
    let ballot = group.node(leaders[0]).core.status().ballot;
    group.propose(leaders[0], 2, "during");
    group.run(400, passes);
    assert_eq!(group.leaders(), leaders, "the leader stays");
    assert_eq!(group.node(leaders[0]).core.status().ballot, ballot, "in its ballot");
    assert_eq!(group.commands(leaders[0]), ["before", "during"]);
    assert!(group.agrees());
}

/// What a late promise knows to be decided may have been decided in a later ballot than this leader's.
#[test]
fn a_late_promise_decides_nothing_by_itself() {
    shows(PlantedBug::LatePromiseDecides, |planted| {
        let mut group = Group::new(5, planted);
        let (ballot, from) = prepare_of(&mut group, 1, &[2, 3]);
        let promise = |decided| Message::Promise {
            ballot,
            from,
            decided,
            last: decided,
            lineage: Vec::new(),
            entries: Vec::new(),
        };
        for node in [2, 3] {
            group.step(1, Input::Message { from: id(node), message: promise(Slot(1)) });
        }
        assert!(group.is_leader(1));
        group.propose(1, 1, "heard by nobody");
        let accepted = group.node(1).core.status().accepted;
        group.step(1, Input::Message { from: id(4), message: promise(accepted) });
        group.commands(1).is_empty()
    });
}

/// A leader that decides again a membership which its predecessor had decided may be told by those of the new quorum
/// that more has been decided under it. It must not propose there.
#[test]
fn a_leader_told_of_slots_decided_beyond_its_own_steps_down() {
    let mut group = Group::new(5, None);
    let (ballot, from) = prepare_of(&mut group, 1, &[2, 3]);
    let promise = |decided| Message::Promise {
        ballot,
        from,
        decided,
        last: decided,
        lineage: Vec::new(),
        entries: Vec::new(),
    };
    for node in [2, 3] {
        group.step(1, Input::Message { from: id(node), message: promise(Slot(1)) });
    }
    assert!(group.is_leader(1));
    let accepted = group.node(1).core.status().accepted;
    group.step(1, Input::Message { from: id(4), message: promise(Slot(9)) });
    assert!(!group.is_leader(1));
    group.propose(1, 1, "a");
    assert_eq!(group.node(1).core.status().accepted, accepted);
}

/// An outdated leader had something accepted where a later one decided something else.
#[test]
fn a_decided_value_replaces_what_was_accepted_before() {
    shows(PlantedBug::CatchUpKeepsAccepted, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.deliver_all();
        group.propose(1, 1, "outdated");
        group.deliver(|_, to, _| to == id(2));
        group.wire.clear();
        let status = group.node(2).core.status();
        let (ballot, slot) = (status.ballot, status.accepted);
        assert_eq!(status.decided.next(), slot);
        // The leader says that its window begins later, so the node asks, and is answered.
        let window = slot.next().next();
        let message = Message::Heartbeat { ballot, decided: status.decided, window, probe: 0 };
        group.step(2, Input::Message { from: id(1), message });
        let later = Ballot { round: 99, node: id(3) };
        let entries = vec![Entry { ballot: later, payload: group::command("decided") }];
        let reply = Message::CatchUpReply { first: slot, entries };
        group.step(2, Input::Message { from: id(1), message: reply });
        group.restart(2);
        let kept = group.node(2).core.entry(slot).map(|entry| entry.payload.clone());
        group.commands(2) == ["decided"] && kept != Some(group::command("outdated"))
    });
}

/// A read-index answer on its way while the node restarts.
#[test]
fn an_answer_to_an_earlier_lifes_question_serves_no_read() {
    shows(PlantedBug::TokensStartAgain, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.run_all(5);
        let answer = std::cell::RefCell::new(None);
        group.read(2, 1);
        group.deliver(|_, _, m| {
            let is_answer = matches!(m, Message::ReadIndexReply { .. });
            if is_answer {
                answer.replace(Some(m.clone()));
            }
            !is_answer
        });
        group.restart(2);
        group.run_all(5);
        group.read(2, 2);
        group.wire.clear();
        let message = answer.take().expect("the leader answers");
        group.step(2, Input::Message { from: id(1), message });
        group.node(2).ready.is_empty()
    });
}

/// A leader that was cut off comes back with a membership that it proposed to itself.
#[test]
fn an_outdated_membership_does_not_replace_a_decided_one() {
    shows(PlantedBug::StaleMembershipStays, |planted| {
        let mut group = Group::new(3, planted);
        group.elect(1);
        group.run_all(5);
        for number in 1..=4 {
            group.propose(1, number, "never decided");
        }
        group.join(1, 20);
        group.wire.clear();
        let apart =
            |from: paxos::NodeId, to: paxos::NodeId, _: &Message| from != id(1) && to != id(1);
        for _ in 0..200 {
            group.tick(2);
            group.tick(3);
            group.deliver(apart);
        }
        let leader = if group.is_leader(2) { 2 } else { 3 };
        group.join(leader, 30);
        group.deliver(apart);
        assert!(group.node(leader).core.membership().1.members.contains_key(&id(30)));
        // An assertion of the core may notice first.
        let together = std::panic::AssertUnwindSafe(|| group.run_all(200));
        if std::panic::catch_unwind(together).is_err() {
            return false;
        }
        let members = &group.node(2).core.membership().1.members;
        members.contains_key(&id(30)) && !members.contains_key(&id(20))
    });
}
