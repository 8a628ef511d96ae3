//! One of two voters is damaged: the group says what an operator can do, and does it when told
//! (`docs/design/damage.md`).

use crate::group::{Group, mondongo, run, wait_for};
use crate::harness::same::same_content;
use serde_json::{Value, json};
use std::fs;

const VOUCH: &str = "--the-other-is-gone-for-good";

#[test]
fn one_of_two_voters_goes_on_alone_when_told_and_takes_the_damaged_one_back_as_another() {
    let mut group = Group::start(2);
    for number in 0..50 {
        assert_eq!(group.ask(0, &json!(["write", format!("k{number}"), number]))[0], "ok");
    }
    let (healthy, damaged) = (0, 1);
    let lost = group.id(damaged);
    let refused = group.member("alone", healthy, &[&lost, VOUCH]).expect_err("it lives");
    assert!(refused.contains("heard just now"), "{refused}");
    let output = run(mondongo().args(["member", "alone", &group.nodes[healthy].address, &lost]));
    assert!(!output.status.success(), "not without the loud word");

    // Its log is gone, and with it its vote.
    group.kill(damaged);
    fs::remove_dir_all(group.nodes[damaged].folder.join("log")).expect("removed");
    group.start_node(damaged, None);
    let advice = wait_for("the healthy one to say what to do", || {
        Some(group.status(healthy)?["advice"].as_str()?.to_owned())
    });
    let address = group.nodes[healthy].address.clone();
    let told = format!("mondongo member alone {address} {lost} {VOUCH}");
    assert!(advice.contains(&told), "{advice}");
    let output = run(mondongo().args(["status", &address]));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains(&told), "{shown}");
    group.wait_for_log(damaged, "the group has not let this node in yet");
    group.wait_for_log(damaged, &format!("mondongo status {address}"));

    let listed = group.member("alone", healthy, &[&lost, VOUCH]).expect("it is granted");
    assert!(listed.contains(&address) && !listed.contains(&lost), "{listed}");
    assert_eq!(group.ask(healthy, &json!(["write", "alone", true])), json!(["ok", true]));
    // What is there in the place of the other one comes in by itself.
    group.wait_for_voters(2);
    assert_ne!(group.id(damaged), lost);
    for number in 0..50 {
        let read = group.ask(damaged, &json!(["read", format!("k{number}")]));
        assert_eq!(read, json!(["ok", number]));
    }
    same_content(&group.addresses()).unwrap_or_else(|error| panic!("{error:#}"));
    let status = group.status(healthy).expect("an answer");
    assert_eq!(status.get("advice"), None::<&Value>, "{status}");
    // And it is not undone by a restart.
    group.kill(healthy);
    group.start_node(healthy, None);
    group.wait_for_voters(2);
}

/// Of three, two may have decided what the third one lacks.
#[test]
fn one_of_three_is_not_let_go_on_alone() {
    let mut group = Group::start(3);
    let lost = group.id(2);
    group.kill(1);
    group.kill(2);
    wait_for("the last one to have no leader", || {
        group.status(0)?["leader"].is_null().then_some(())
    });
    let refused = group.member("alone", 0, &[&lost, VOUCH]).expect_err("two are missing");
    assert!(refused.contains("exactly two voters"), "{refused}");
    assert!(group.status(0).expect("an answer").get("advice").is_none());
}
