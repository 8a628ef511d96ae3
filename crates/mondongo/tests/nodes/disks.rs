//! Disks that are full, read-only, or fail: the node says so, acknowledges nothing that it could not keep,
//! and the group goes on.

use crate::faults::{finish, progress};
use crate::group::{Connection, Group, refused, wait_for};
use crate::harness::workload::Settings;
use crate::tracer::fail_syncs;
use serde_json::json;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A small file system of its own. Unmounted when it is dropped.
pub(crate) struct SmallDisk {
    place: TempDir,
}

impl SmallDisk {
    /// None, with the reason printed: this machine does not allow it.
    pub(crate) fn mount(mebibytes: u32) -> Option<SmallDisk> {
        let place = tempfile::tempdir().expect("a temporary folder");
        let options = format!("size={mebibytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "mondongo-test"])
            .arg(place.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { place }),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                eprintln!("skipped: a small file system cannot be mounted (root?): {said}");
                None
            }
            Err(error) => {
                eprintln!("skipped: there is no program mount: {error}");
                None
            }
        }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.place.path().join("db")
    }

    /// Takes all the room that is left. Returns the file that holds it.
    fn fill(&self) -> PathBuf {
        let path = self.place.path().join("filler");
        let mut file = File::create(&path).expect("a file");
        let chunk = vec![7; 64 << 10];
        while file.write_all(&chunk).is_ok() {}
        // The last bytes.
        while file.write_all(&[7]).is_ok() {}
        path
    }

    /// Takes all the room but so much. Returns the file that holds it.
    pub(crate) fn fill_but(&self, mebibytes: u64) -> PathBuf {
        let path = self.place.path().join("filler");
        let free = rustix::fs::statvfs(self.place.path()).expect("a file system");
        let free_mib = (free.f_bavail * free.f_frsize) >> 20;
        let mut file = File::create(&path).expect("a file");
        let chunk = vec![7; 1 << 20];
        for _ in mebibytes..free_mib {
            file.write_all(&chunk).expect("there is room");
        }
        path
    }

    fn remount(&self, how: &str) {
        let option = format!("remount,{how}");
        let status = Command::new("mount").args(["-o", &option]).arg(self.place.path()).status();
        assert!(status.expect("mount runs").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still ends holds it a moment longer.
        let _ = Command::new("umount").arg("-l").arg(self.place.path()).status();
    }
}

/// D17: a failed sync is fatal, PostgreSQL's fsyncgate.
#[test]
fn a_node_whose_syncs_fail_stops_and_the_group_goes_on() {
    let mut group = Group::start(3);
    let load = group.load(Settings::default());
    progress(&load, 100);
    let victim = group.leader();
    let Some(strace) = fail_syncs(group.pid(victim)) else { return };
    let status = group.wait_for_exit(victim);
    strace.wait();
    assert_eq!(status.code(), Some(1), "{}", group.log(victim));
    let log = group.log(victim);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("Input/output error") && last.contains("this node stops"), "{log}");
    progress(&load, 100);
    group.start_node(victim, None);
    group.wait_for_voters(3);
    progress(&load, 50);
    finish(load);
}

/// Alone, so that nobody else can answer for it.
#[test]
fn what_could_not_be_synced_is_never_acknowledged() {
    let mut group = Group::start(1);
    assert_eq!(group.ask(0, &json!(["write", "k", 0])), json!(["ok", 0]));
    let mut connection = Connection::open(&group.nodes[0].address).expect("a connection");
    let Some(strace) = fail_syncs(group.pid(0)) else { return };
    for number in 1..=20 {
        // It ends while they come.
        let _ = connection.send(&json!(["write", "k", number]));
    }
    while let Ok(answer) = connection.receive() {
        assert_eq!(answer[0], "ko", "acknowledged without a sync: {answer}");
    }
    assert_eq!(group.wait_for_exit(0).code(), Some(1));
    strace.wait();
    group.start_node(0, None);
    // Written and not acknowledged: each of them may have happened.
    let found = group.ask(0, &json!(["read", "k"]));
    assert!(found[1].as_i64().is_some_and(|number| (0..=20).contains(&number)), "{found}");
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(320) else { return };
    let mut group = Group::start(2);
    let victim = group.add_at(disk.folder(), None);
    group.wait_for_voters(3);
    let load = group.load(Settings::default());
    progress(&load, 100);
    let filler = disk.fill();
    let ended = wait_for("the node to say that its disk is full", || {
        // What is written now must be larger than the room that log and store have set aside.
        group.ask((victim + 1) % 3, &json!(["write", "large", "x".repeat(60_000)]));
        let log = group.log(victim);
        (log.contains("No space left on device") || log.contains("disk")).then_some(log)
    });
    assert!(
        ended.contains(&disk.place.path().display().to_string()),
        "it names the place: {ended}"
    );
    progress(&load, 100);
    fs::remove_file(filler).expect("there is room again");
    // It may have waited or ended; either way it goes on from here.
    group.kill(victim);
    group.start_node(victim, None);
    group.wait_for_voters(3);
    progress(&load, 100);
    finish(load);
}

/// D17, spec 6: a leader with less room than it keeps in reserve hands over and takes no writes, stays up, and takes
/// them again once there is room; clients go elsewhere.
#[test]
fn a_nearly_full_leader_hands_over_and_takes_no_writes_until_there_is_room() {
    let Some(disk) = SmallDisk::mount(384) else { return };
    let mut group = Group::empty_with(&["--disk-reserve-mib", "48"]);
    let victim = group.add_at(disk.folder(), None);
    group.wait_for_voters(1);
    group.add();
    group.add();
    group.wait_for_voters(3);
    let told = group.member("lead", victim, &[&group.nodes[victim].address]);
    assert!(told.is_ok(), "{told:?}");
    let load = group.load(Settings::default());
    progress(&load, 50);
    let filler = disk.fill_but(24);
    group.wait_for_log(victim, "the disk is full: this node takes no writes");
    wait_for("another leader", || (group.leader() != victim).then_some(()));
    let mut connection = Connection::open(&group.nodes[victim].address).expect("a connection");
    let said = connection.ask(&json!(["write", "k", 1])).expect("an answer");
    assert!(said[1].as_str().unwrap_or_default().starts_with("disk_full: "), "{said}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let only = [group.nodes[victim].address.clone()];
        let client = client::Client::connect(&only, client::Options::default()).await;
        let client = client.expect("a client");
        client.write("k", 2_i64).await.expect("it goes to another member");
    });
    progress(&load, 100);
    assert!(group.status(victim).is_some(), "it stays up");
    fs::remove_file(filler).expect("there is room again");
    group.wait_for_log(victim, "there is room on the disk again");
    wait_for("the node to take writes", || {
        let said = connection.ask(&json!(["write", "k", 3])).expect("an answer");
        (said == json!(["ok", 3])).then_some(())
    });
    progress(&load, 50);
    finish(load);
}

#[test]
fn a_read_only_folder_is_refused_in_words() {
    let Some(disk) = SmallDisk::mount(320) else { return };
    let mut group = Group::empty();
    let number = group.add_at(disk.folder(), None);
    assert_eq!(group.ask(number, &json!(["write", "k", 1])), json!(["ok", 1]));
    assert!(group.stop(number).success());
    disk.remount("ro");
    let said = refused(&disk.folder(), &[&group.nodes[number].address]);
    let place = disk.folder().display().to_string();
    assert!(said.contains("Read-only file system") && said.contains(&place), "{said}");
    disk.remount("rw");
    group.start_node(number, None);
    assert_eq!(group.ask(number, &json!(["read", "k"])), json!(["ok", 1]));
}
