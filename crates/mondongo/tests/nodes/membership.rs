//! Who takes part: groups that grow and shrink under load, nodes that are removed, left out and let in again,
//! lost disks, moved nodes (spec D15, D16).

use crate::faults::progress;
use crate::group::{Group, free_port, member, wait_for};
use crate::harness::same::same_content;
use crate::harness::workload::Settings;
use serde_json::json;
use std::fs;

/// Waits until a node knows exactly these members.
fn wait_for_members(group: &Group, number: usize, expected: &[usize]) {
    let mut addresses: Vec<String> =
        expected.iter().map(|n| group.nodes[*n].address.clone()).collect();
    addresses.sort();
    wait_for(&format!("node {number} to know the members {expected:?}"), || {
        (group.member_addresses(number)? == addresses).then_some(())
    });
}

/// Waits until a node that was removed has said so and ended.
fn wait_for_farewell(group: &mut Group, number: usize) {
    let status = group.wait_for_exit(number);
    let log = group.log(number);
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("was removed from its group") && last.contains("member add"), "{log}");
}

/// D15, D16: 1, 3, 5, 3, 1 nodes, while clients work at whatever is there.
#[test]
fn a_group_grows_from_one_to_five_and_shrinks_to_one_under_load() {
    let mut group = Group::empty_with(&["--log-retain-mib", "1"]);
    group.reserve(5);
    group.start_node(0, None);
    group.wait_for_voters(1);
    let load = group.load(Settings { clients: 4, ..Settings::default() });
    progress(&load, 50);
    for size in [3, 5] {
        let first = group.nodes[0].address.clone();
        for number in size - 2..size {
            group.start_node(number, Some(&first));
        }
        group.wait_for_voters(size);
        progress(&load, 50);
    }
    let finished = load.finish().unwrap_or_else(|error| panic!("{error:#}"));
    finished.check_everywhere().unwrap_or_else(|error| panic!("{error:#}"));

    let load = group.load(Settings { clients: 4, name: "down".into(), ..Settings::default() });
    progress(&load, 50);
    // The leader among them, whoever it is, but for the last one.
    for number in [4, 3, 2, 1] {
        let address = group.nodes[number].address.clone();
        let told = group.member("remove", 0, &[&address]);
        assert!(told.as_ref().is_ok_and(|list| !list.contains(&address)), "{told:?}");
        wait_for_farewell(&mut group, number);
        progress(&load, 30);
        if number == 3 {
            let three: Vec<String> = group.addresses().into_iter().take(3).collect();
            group.wait_for_voters(3);
            assert_eq!(group.member_addresses(0).map(|m| m.len()), Some(3), "{three:?}");
        }
    }
    let finished = load.finish().unwrap_or_else(|error| panic!("{error:#}"));
    let last = &group.nodes[0].address;
    finished.check_at(last).unwrap_or_else(|error| panic!("{error:#}"));
    let alone = group.member("remove", 0, &[last]).expect_err("nobody would be left");
    assert!(alone.contains("refused:") && alone.contains("last"), "{alone}");
}

/// D16: a follower, a dead node, the leader; each may be let in again.
#[test]
fn removed_nodes_say_so_and_stop_until_they_are_let_in_again() {
    let mut group = Group::start(3);
    let leader = group.leader();
    let (follower, other) = ((leader + 1) % 3, (leader + 2) % 3);

    let id = group.id(follower);
    let told = group.member("remove", leader, &[&group.nodes[follower].address]);
    assert!(told.is_ok(), "{told:?}");
    wait_for_farewell(&mut group, follower);
    // Again and again.
    group.start_node(follower, None);
    wait_for_farewell(&mut group, follower);
    assert_eq!(group.log(follower).matches("was removed from its group").count(), 2);
    let told = group.member("add", other, &[&id]);
    assert!(told.is_ok(), "{told:?}");
    group.start_node(follower, None);
    group.wait_for_voters(3);
    assert_eq!(group.id(follower), id, "it is itself again");

    // A dead one, asked of a follower.
    let id = group.id(other);
    group.kill(other);
    assert!(group.member("remove", follower, &[&id]).is_ok());
    group.wait_for_voters(2);
    group.start_node(other, None);
    wait_for_farewell(&mut group, other);
    assert!(group.member("add", leader, &[&id]).is_ok());
    group.start_node(other, None);
    group.wait_for_voters(3);

    // The leader, asked of itself: another one leads first.
    let leader = group.leader();
    let address = group.nodes[leader].address.clone();
    assert_eq!(group.ask(leader, &json!(["write", "k", 1])), json!(["ok", 1]));
    let told = group.member("remove", leader, &[&address]);
    assert!(told.is_ok(), "{told:?} {}", group.log(leader));
    wait_for_farewell(&mut group, leader);
    let rest: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    group.one_leader_among(&rest);
    group.wait_for_voters(2);
    assert_eq!(group.ask(rest[0], &json!(["read", "k"])), json!(["ok", 1]));
}

/// Bad input: each is refused in words, and nothing changes.
#[test]
fn changes_that_make_no_sense_or_could_stop_the_group_are_refused() {
    let mut group = Group::start(3);
    let refuse = |action: &str, node: &[&str], reason: &str| {
        let said = group.member(action, 0, node).expect_err("refused");
        assert!(said.contains("refused:") && said.contains(reason), "{action} {node:?}: {said}");
    };
    refuse("remove", &["localhost:1"], "no member has the id or address");
    refuse("remove", &["00000000000000ff"], "no member has the id or address");
    refuse("lead", &["localhost:1"], "no member has the id or address");
    refuse("promote", &["localhost"], "no member has the id or address");
    refuse("add", &["localhost:1"], "is not the id of a node that was removed");
    // Who is asked: unknown, twice the same, no address.
    let (here, free) = (group.nodes[0].address.clone(), format!("localhost:{}", free_port()));
    let listed = member("list", &format!("{free},{here},{here}"), &[]).expect("one answers");
    assert_eq!(listed.lines().count(), 4, "{listed}");
    let said = member("list", &free, &[]).expect_err("nobody is there");
    assert!(said.contains(&free), "{said}");
    let said = member("list", "nowhere", &[]).expect_err("no address");
    assert!(said.contains("nowhere"), "{said}");

    // With one of three dead, none of the other two can be spared.
    let leader = group.leader();
    let (dead, alive) = ((leader + 1) % 3, (leader + 2) % 3);
    group.kill(dead);
    wait_for("the leader to miss it", || {
        let status = group.status(leader)?;
        let members = status["members"].as_array()?;
        members.iter().any(|m| m["reachable"] == false).then_some(())
    });
    let said = group.member("remove", leader, &[&group.nodes[alive].address]);
    let said = said.expect_err("two are needed of the two that would be left");
    assert!(said.contains("refused:"), "{said}");
    let said = group.member("lead", leader, &[&group.nodes[dead].address]).expect_err("it is dead");
    assert!(said.contains("refused:"), "{said}");
    assert_eq!(group.ask(alive, &json!(["write", "k", 1])), json!(["ok", 1]));
}

/// D16: left out after `--evict-after`, back by itself; again and again, also when it is the leader that fails.
#[test]
fn a_node_out_of_reach_is_left_out_and_comes_back_by_itself() {
    let mut group = Group::with_arguments(3, &["--evict-after", "1s"]);
    let load = group.load(Settings { clients: 4, ..Settings::default() });
    progress(&load, 50);
    for round in 0..3 {
        let leader = group.leader();
        let gone = if round == 1 { leader } else { (leader + 1) % 3 };
        let rest: Vec<usize> = (0..3).filter(|number| *number != gone).collect();
        let id = group.id(gone);
        group.kill(gone);
        for number in &rest {
            wait_for_members(&group, *number, &rest);
        }
        let status = group.status(rest[0]).expect("an answer");
        assert_eq!(status["away"][0]["node"], json!(id), "{status}");
        assert_eq!(status["away"][0]["address"], json!(group.nodes[gone].address));
        let listed = group.member("list", rest[0], &[]).expect("a list");
        assert!(!listed.contains(&group.nodes[gone].address), "{listed}");
        progress(&load, 50);
        group.start_node(gone, None);
        group.wait_for_voters(3);
        assert_eq!(group.id(gone), id, "it is the same member");
        assert_eq!(group.status(rest[0]).expect("an answer")["away"], json!([]));
        progress(&load, 50);
    }
    crate::faults::finish(load);
}

/// Spec 6: a lost disk comes back as a new member, which takes the place of the old one.
#[test]
fn a_lost_disk_at_the_same_address_is_a_new_member_in_the_old_ones_place() {
    let mut group = Group::start(3);
    assert_eq!(group.ask(0, &json!(["write", "k", 1])), json!(["ok", 1]));
    let leader = group.leader();
    let lost = (leader + 1) % 3;
    let old = group.id(lost);
    group.kill(lost);
    fs::remove_dir_all(&group.nodes[lost].folder).expect("the folder is removed");
    let seed = group.nodes[leader].address.clone();
    group.start_node(lost, Some(&seed));
    wait_for("the newcomer to count, and the old one to be gone", || {
        let listed = group.member("list", leader, &[]).ok()?;
        let new = group.status(lost)?["node"].as_str()?.to_owned();
        let voters = listed.matches("voter").count() + listed.matches("leader").count();
        let is_done = voters == 3 && listed.contains(&new) && !listed.contains(&old);
        (is_done && listed.lines().count() == 4).then_some(())
    });
    assert_ne!(group.id(lost), old);
    same_content(&group.addresses()).unwrap_or_else(|error| panic!("{error:#}"));
    // The old one, should it turn up, is told.
    let said = group.member("add", leader, &["0000000000000001"]).expect_err("never removed");
    assert!(said.contains("refused:"), "{said}");
    assert!(group.member("add", leader, &[&old]).is_ok(), "the old one was removed");
}

/// D16.
#[test]
fn a_node_that_starts_at_another_address_is_found_there() {
    let mut group = Group::start(3);
    let moved = (group.leader() + 1) % 3;
    let id = group.id(moved);
    assert!(group.stop(moved).success());
    group.nodes[moved].address = format!("127.0.0.1:{}", free_port());
    group.start_node(moved, None);
    for number in 0..3 {
        wait_for_members(&group, number, &[0, 1, 2]);
    }
    assert_eq!(group.id(moved), id);
    let told = group.member("lead", 0, &[&group.nodes[moved].address]);
    assert!(told.is_ok(), "it is reached there: {told:?}");
}

#[test]
fn seven_nodes_survive_the_loss_of_three() {
    let mut group = Group::start(7);
    let load = group.load(Settings { clients: 3, ..Settings::default() });
    progress(&load, 30);
    for number in [1, 3, 5] {
        group.kill(number);
    }
    progress(&load, 50);
    for number in [1, 3, 5] {
        group.start_node(number, None);
    }
    group.wait_for_voters(7);
    crate::faults::finish(load);
}
