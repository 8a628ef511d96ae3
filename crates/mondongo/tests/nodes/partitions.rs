//! Networks that are cut: one leader, progress wherever a majority is connected, nothing lost, nobody
//! stale, and everybody the same after the cut is healed.

use crate::faults::{finish, progress};
use crate::group::{Connection, Group, wait_for};
use crate::harness::network::Network;
use crate::harness::workload::{Settings, Workload};
use serde_json::json;

/// Changes the network of the group.
fn cut(group: &mut Group, change: impl FnOnce(&mut Network) -> anyhow::Result<()>) {
    let network = group.network.as_mut().expect("a group with a network");
    change(network).unwrap_or_else(|error| panic!("{error:#}"));
}

fn all(group: &Group) -> Vec<usize> {
    (0..group.nodes.len()).collect()
}

fn others(group: &Group, but: &[usize]) -> Vec<usize> {
    (0..group.nodes.len()).filter(|number| !but.contains(number)).collect()
}

/// Heals everything; then there must be one leader whom all know, progress, and one content.
fn heal(group: &mut Group, load: Workload) {
    cut(group, Network::heal);
    group.one_leader_among(&all(group));
    progress(&load, 50);
    finish(load);
}

/// Waits until a node that reaches no majority says so; what it knows it still tells.
fn says_down(group: &Group, number: usize) {
    wait_for("a node in the minority to say down", || {
        let mut connection = Connection::open(&group.nodes[number].address).ok()?;
        let read = connection.ask(&json!(["read", "k", {"timeout_ms": 1000}])).ok()?;
        assert_ne!(read[0], "ok", "a read that no majority confirmed: {read}");
        let local = connection.ask(&json!(["read", "k", {"level": "local"}])).ok()?;
        assert_eq!(local[0], "ok", "local reads go on: {local}");
        read[1].as_str().is_some_and(|reason| reason.starts_with("down: ")).then_some(())
    });
}

/// D18, P8.
#[test]
fn a_leader_that_is_cut_off_with_a_minority_is_replaced_by_the_majority() {
    let Some(mut group) = Group::with_network(5) else { return };
    let load = group.load(Settings::default());
    progress(&load, 50);
    let leader = group.leader();
    let minority = [leader, (leader + 1) % 5];
    cut(&mut group, |network| network.divide(&minority));
    let majority = others(&group, &minority);
    group.one_leader_among(&majority);
    progress(&load, 100);
    for number in minority {
        says_down(&group, number);
    }
    heal(&mut group, load);
}

/// Nothing of the leader's comes out, though it hears everybody.
#[test]
fn a_leader_whom_nobody_hears_is_replaced() {
    let Some(mut group) = Group::with_network(3) else { return };
    let load = group.load(Settings::default());
    progress(&load, 50);
    let leader = group.leader();
    let others = others(&group, &[leader]);
    cut(&mut group, |network| others.iter().try_for_each(|other| network.cut(leader, *other)));
    group.one_leader_among(&others);
    progress(&load, 100);
    heal(&mut group, load);
}

/// Nothing comes in at the leader, though everybody hears it: a lease that never ends, elsewhere.
#[test]
fn a_leader_that_hears_nobody_is_replaced() {
    let Some(mut group) = Group::with_network(3) else { return };
    let load = group.load(Settings::default());
    progress(&load, 50);
    let leader = group.leader();
    let others = others(&group, &[leader]);
    cut(&mut group, |network| others.iter().try_for_each(|other| network.cut(*other, leader)));
    group.one_leader_among(&others);
    progress(&load, 100);
    heal(&mut group, load);
}

/// Omni-Paxos, first case: all nodes reach only one, which does not lead.
#[test]
fn quorum_loss_the_only_node_that_reaches_a_quorum_takes_over() {
    let Some(mut group) = Group::with_network(5) else { return };
    let load = group.load(Settings::default());
    progress(&load, 50);
    let centre = (group.leader() + 1) % 5;
    let links = others(&group, &[centre]).into_iter().map(|other| (centre, other));
    let links: Vec<(usize, usize)> = links.collect();
    cut(&mut group, |network| network.keep_only(&links));
    wait_for("the centre to lead", || (group.status(centre)?["role"] == "leader").then_some(()));
    progress(&load, 100);
    heal(&mut group, load);
}

/// Omni-Paxos, second case: the leader is gone, and the only node that reaches a quorum has an old log.
#[test]
fn constrained_election_the_only_candidate_has_an_old_log() {
    let Some(mut group) = Group::with_network(5) else { return };
    let load = group.load(Settings::default());
    progress(&load, 50);
    let leader = group.leader();
    let centre = (leader + 1) % 5;
    cut(&mut group, |network| network.divide(&[centre]));
    progress(&load, 100);
    let links = others(&group, &[centre, leader]).into_iter().map(|other| (centre, other));
    let links: Vec<(usize, usize)> = links.collect();
    cut(&mut group, |network| {
        network.heal()?;
        network.keep_only(&links)
    });
    wait_for("the centre to lead", || (group.status(centre)?["role"] == "leader").then_some(()));
    progress(&load, 100);
    heal(&mut group, load);
}

/// Omni-Paxos, third case: the leader and one follower do not reach each other, the third reaches both.
#[test]
fn chained_the_leader_goes_on_with_whom_it_reaches() {
    let Some(mut group) = Group::with_network(3) else { return };
    let load = group.load(Settings::default());
    progress(&load, 50);
    let leader = group.leader();
    let (middle, end) = ((leader + 1) % 3, (leader + 2) % 3);
    cut(&mut group, |network| network.keep_only(&[(leader, middle), (middle, end)]));
    // Longer than any election takes.
    for _ in 0..4 {
        progress(&load, 100);
    }
    let leads = |number| group.status(number).is_some_and(|status| status["role"] == "leader");
    wait_for("one leader", || ((0..3).filter(|number| leads(*number)).count() == 1).then_some(()));
    heal(&mut group, load);
}
