//! The feature level of a group: founded at an earlier one, raised when every node knows it (spec X8).

use crate::group::{Group, mondongo, run, wait_for};
use serde_json::json;

fn levels(group: &Group, count: usize) -> Vec<Option<i64>> {
    (0..count).map(|number| group.status(number)?["feature_level"].as_i64()).collect()
}

#[test]
fn a_group_of_an_earlier_level_is_raised_once_every_member_knows_the_new_one() {
    let mut group = Group::with_arguments(3, &["--feature-level", "1", "--evict-after", "500ms"]);
    assert_eq!(levels(&group, 3), [Some(1); 3]);
    let leader = group.leader();
    let advice = group.status(leader).expect("an answer")["advice"].clone();
    let told = format!("mondongo member raise {}", group.nodes[leader].address);
    assert!(advice.as_str().is_some_and(|advice| advice.contains(&told)), "{advice}");

    // One is away: it is asked though it is no longer listed.
    let away = (leader + 1) % 3;
    group.kill(away);
    wait_for("it to be no longer waited for", || {
        (group.status(leader)?["away"].as_array()?.len() == 1).then_some(())
    });
    let refused = group.member("raise", leader, &[]).expect_err("one does not answer");
    let address = group.nodes[away].address.clone();
    assert!(refused.contains(&format!("{address} does not answer")), "{refused}");
    let refused = group.member("raise", leader, &["99"]).expect_err("nobody knows it");
    assert!(refused.contains("knows feature levels up to 2"), "{refused}");
    assert_eq!(levels(&group, 3)[leader], Some(1));
    let refused = group.ask(leader, &json!(["member", "raise", 99]));
    assert!(refused[1].as_str().is_some_and(|r| r.starts_with("refused:")), "{refused}");

    group.start_node(away, None);
    group.wait_for_voters(3);
    // At a follower: the wish goes to the leader.
    group.member("raise", away, &[]).expect("all know it");
    wait_for("all to be at the new level", || (levels(&group, 3) == [Some(2); 3]).then_some(()));
    group.member("raise", leader, &["2"]).expect("it is so already");
    assert!(group.status(group.leader()).expect("an answer").get("advice").is_none());

    // Neither a restart nor what the nodes are started with lowers it.
    for number in 0..3 {
        group.kill(number);
    }
    for number in 0..3 {
        group.start_node(number, None);
    }
    group.wait_for_voters(3);
    assert_eq!(levels(&group, 3), [Some(2); 3]);
    assert_eq!(group.ask(away, &json!(["write", "k", 1])), json!(["ok", 1]));
}

/// Members that are gone may be vouched for.
#[test]
fn a_group_is_raised_over_who_does_not_answer_when_an_operator_vouches() {
    let mut group = Group::with_arguments(3, &["--feature-level", "1"]);
    let leader = group.leader();
    let silent = (leader + 1) % 3;
    group.kill(silent);
    group.member("raise", leader, &["--the-silent-will-know-it"]).expect("a majority is there");
    group.start_node(silent, None);
    wait_for("it to know the level", || (levels(&group, 3)[silent] == Some(2)).then_some(()));
}

#[test]
fn a_group_is_not_founded_at_a_level_that_is_not_known() {
    for level in ["0", "99", "x"] {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("db");
        let place = place.to_str().expect("a name");
        let output =
            run(mondongo().args(["serve", place, "localhost:1", "--feature-level", level]));
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("--feature-level"), "{said}");
    }
}
