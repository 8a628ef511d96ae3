//! Snapshots between nodes: lost chunks, views that vanish, and logs that wait for a snapshot under way.

mod group;

use bytes::Bytes;
use group::{Group, Sent, all, id, without};
use paxos::codec::encode_membership;
use paxos::{NodeId, Policy, Slot};
use replica::{Config, Input, Output, PeerMessage};

/// What stays of the log, so little that cuts come soon.
const RETAIN_BYTES: u64 = 8_000;

fn settings(config: &mut Config) {
    config.log_retain_bytes = RETAIN_BYTES;
    config.snapshot_chunk_bytes = 2_000;
    config.paxos.window_bytes_max = 2_000;
}

/// Three nodes, of which one was away until the others had cut what it lacks. Answers the leader and that one.
fn group_with_one_behind() -> (Group, usize, usize) {
    let mut group = Group::new(Policy::Paxos, 3, settings);
    let leader = group.elect();
    let behind = (leader + 1) % 3;
    for n in 0..100 {
        group.write(leader, n, without(behind));
    }
    assert!(group.nodes[leader].journal.floor() > Slot(50), "the log is cut");
    assert!(group.nodes[behind].replica.applied() < Slot(10));
    (group, leader, behind)
}

fn has_caught_up(group: &Group, behind: usize) -> bool {
    let slots: Vec<Slot> = group.nodes.iter().map(|node| node.replica.applied()).collect();
    slots.iter().all(|slot| *slot == slots[behind])
}

fn check_same_content(group: &Group) {
    let hashes: Vec<_> =
        group.nodes.iter().map(|node| node.store.content_hash().expect("whole")).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

fn is_chunk(sent: &Sent) -> bool {
    matches!(sent.2, PeerMessage::SnapshotChunk { .. })
}

#[test]
fn a_lost_chunk_is_asked_for_again() {
    let (mut group, _, behind) = group_with_one_behind();
    let mut lost = 0;
    let passes = |sent: &Sent| {
        // Every other chunk is lost.
        let is_lost = is_chunk(sent) && lost % 2 == 0;
        lost += u32::from(is_chunk(sent));
        !is_lost
    };
    group.until("it has caught up", passes, |group| has_caught_up(group, behind));
    let chunks = group.count(behind, "snapshot_chunk");
    assert!(chunks > 3, "{chunks} chunks came");
    assert!(lost as usize >= chunks, "as many were lost");
    let switches = group.nodes[behind].seen.iter();
    let switches = switches.filter(|o| matches!(o, Output::SwitchStore { .. })).count();
    assert_eq!(switches, 1);
    check_same_content(&group);
}

#[test]
fn a_view_that_vanished_is_begun_anew() {
    let (mut group, leader, behind) = group_with_one_behind();
    let mut chunks = 0;
    group.until(
        "half of the chunks came",
        |sent| {
            chunks += u32::from(is_chunk(sent));
            !is_chunk(sent) || chunks <= 3
        },
        |group| group.count(behind, "snapshot_chunk") >= 3,
    );
    // Whoever gives it starts again, say, and its store has moved on.
    for node in &mut group.nodes {
        node.views.clear();
    }
    group.write(leader, 1_000, without(behind));
    group.until("it has caught up", all, |group| has_caught_up(group, behind));
    let begun = group.nodes[behind].seen.iter();
    let begun = begun.filter(|output| matches!(output, Output::BeginImport)).count();
    assert!(begun >= 2, "the import began anew");
    check_same_content(&group);
}

/// A snapshot may be complete after its node was elected: what it stands for is decided here already.
#[test]
fn a_leader_takes_no_snapshot() {
    let mut group = Group::new(Policy::Paxos, 3, settings);
    let leader = group.elect();
    let node = &group.nodes[leader];
    let (slot, membership) = node.replica.core().membership();
    let facts = Some((slot, Bytes::from(encode_membership(membership))));
    let beyond = Slot(node.replica.applied().0 + 10);
    group.nodes[leader].seen.clear();
    group.step(leader, Input::ImportFinished { slot: beyond, group: facts });
    let seen = &group.nodes[leader].seen;
    assert!(matches!(seen[..], [Output::BeginImport]), "it is forgotten: {seen:?}");
    group.write(leader, 1, all);
}

/// A store that tells of no group, or of one that cannot be read, is of no use.
#[test]
fn a_snapshot_without_a_membership_is_not_used() {
    for facts in [None, Some((Slot(1), Bytes::from_static(b"nonsense")))] {
        let mut group = Group::new(Policy::Paxos, 3, settings);
        group.elect();
        let follower =
            group.nodes.iter().position(|node| node.replica.core().role() == paxos::Role::Follower);
        let follower = follower.expect("two follow");
        group.nodes[follower].seen.clear();
        group.step(follower, Input::ImportFinished { slot: Slot(500), group: facts });
        let seen = &group.nodes[follower].seen;
        assert!(matches!(seen[..], [Output::BeginImport]), "{seen:?}");
    }
}

/// While a snapshot is pulled, what follows it stays in the log, up to four times as much as else.
#[test]
fn a_snapshot_under_way_holds_the_cut_for_a_while() {
    let mut group = Group::new(Policy::Paxos, 1, settings);
    let leader = group.elect();
    for n in 0..100 {
        group.write(leader, n, all);
    }
    let ask = PeerMessage::SnapshotAsk { slot: Slot::ZERO, cursor: Bytes::new() };
    group.step(leader, Input::Peer { from: NodeId(77), message: ask });
    let view = *group.nodes[leader].views.keys().next().expect("a view is kept");
    let retained = |group: &Group| {
        let journal = &group.nodes[leader].journal;
        (journal.last().0 - journal.floor().0) * 200
    };
    let mut most = 0;
    let mut is_held = true;
    for n in 100..600 {
        group.write(leader, n, all);
        let floor = group.nodes[leader].journal.floor();
        if is_held && floor > view {
            is_held = false;
            assert!(most > 2 * RETAIN_BYTES, "it was held back: {most} bytes");
        }
        most = most.max(retained(&group));
    }
    assert!(!is_held, "at last the log is cut all the same");
    assert!(most < 5 * RETAIN_BYTES, "{most} bytes");
    // Nobody asks any more: the view is let go.
    group.until("the view is dropped", all, |group| group.nodes[leader].views.is_empty());
    group.write(leader, 600, all);
    assert!(retained(&group) < 2 * RETAIN_BYTES, "{} bytes", retained(&group));
}

/// Who was asked in vain is not asked for ever.
#[test]
fn a_giver_that_falls_silent_is_given_up() {
    let (mut group, leader, behind) = group_with_one_behind();
    let other = (0..3).find(|index| *index != leader && *index != behind).expect("three");
    // The leader gives no chunk: with the other's log short too, that one does in the end.
    let passes = |sent: &Sent| !(is_chunk(sent) && sent.0 == id(leader));
    // It may turn to the other only if that one leads.
    group.step(leader, Input::HandOver);
    group.until("it has caught up", passes, |group| has_caught_up(group, behind));
    assert!(group.nodes[other].seen.iter().any(|o| matches!(o, Output::ReadSnapshot { .. })));
    check_same_content(&group);
}
