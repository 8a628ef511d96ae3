//! Power loss: what was acknowledged is on a disk, not only in the memory of a machine.

use crate::crashes::{Load, prepare};
use crate::faults::{finish, progress};
use crate::group::Group;
use crate::harness::machine::{Machine, WHOSE};
use crate::harness::workload::Settings;
use crate::passive;
use std::fs::{self, File};
use std::io::Write as _;
use tempfile::TempDir;

const NODES: usize = 3;
const DISK_BYTES: u64 = 1 << 30;

/// So many machines, in a folder of their own. None, with the reason printed: this one does not allow it.
fn machines(count: usize) -> Option<(Vec<Machine>, TempDir)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = (0..count).map(|index| Machine::make(folder.path(), index, DISK_BYTES)).collect();
    match made {
        Ok(machines) => Some((machines, folder)),
        Err(reason) => {
            let reason: anyhow::Error = reason;
            eprintln!("skipped: {reason:#}");
            None
        }
    }
}

/// That the tests below could notice anything.
#[test]
fn what_is_not_synced_is_lost_with_the_power() {
    let Some((machines, _folder)) = machines(1) else { return };
    let folder = machines[0].folder();
    fs::create_dir(&folder).expect("a folder");
    for (name, is_synced) in [("synced", true), ("not synced", false)] {
        let mut file = File::create(folder.join(name)).expect("a file");
        file.write_all(b"text").expect("it is written");
        if is_synced {
            file.sync_all().expect("it is synced");
            File::open(&folder).expect("a folder").sync_all().expect("it is synced");
        }
    }
    machines[0].cut_power().expect("the power fails");
    machines[0].restore_power().expect("the power is back");
    let read = |name| fs::read(folder.join(name)).unwrap_or_default();
    assert_eq!(read("synced"), b"text");
    assert_ne!(read("not synced"), b"text");
}

/// D17: the power fails at one node, at a majority at one moment, and at all, under clients whose histories are checked.
#[test]
fn power_lost_at_one_at_a_majority_and_at_all_loses_nothing() {
    let Some((machines, _folder)) = machines(NODES) else { return };
    let mut group = group(&machines, &[]);
    let load = group.load(Settings::default());
    lose_power(&mut group, &machines, |more| progress(&load, more));
    finish(load);
}

/// D14, D17: the same where one node goes on alone while the others have no power.
#[test]
fn under_the_passive_policy_power_lost_loses_nothing() {
    let Some((machines, _folder)) = machines(NODES) else { return };
    let mut group = group(&machines, &passive::PASSIVE);
    prepare(&group);
    let load = Load::start(&group);
    lose_power(&mut group, &machines, |more| load.wait_for_more(more));
    passive::finish(&group, load);
}

fn group(machines: &[Machine], arguments: &[&'static str]) -> Group {
    let mut group = Group::empty_with(arguments);
    for machine in machines {
        group.add_at(machine.folder(), None);
    }
    group.wait_for_voters(machines.len());
    group
}

fn lose_power(group: &mut Group, machines: &[Machine], progress: impl Fn(u64)) {
    for whose in WHOSE {
        progress(passive::SETTLING_WRITES);
        let victims = whose.victims(machines.len(), group.leader());
        // They stand still first, so that none goes on without the others.
        for victim in &victims {
            group.pause(*victim);
        }
        for victim in &victims {
            machines[*victim].cut_power().expect("the power fails");
            group.kill(*victim);
            machines[*victim].restore_power().expect("the power is back");
        }
        for victim in &victims {
            group.start_node(*victim, None);
        }
        progress(50);
        group.wait_for_voters(machines.len());
    }
}
