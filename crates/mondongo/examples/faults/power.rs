//! Power loss of one node, of a majority, of all.

use crate::group::{Group, signal};
use crate::harness::machine::{Machine, WHOSE};
use crate::load::Load;
use crate::{Arguments, finish};
use anyhow::Result;
use std::path::Path;
use std::time::Instant;

const DISK_BYTES: u64 = 2 << 30;

pub(crate) async fn run(arguments: &Arguments, folder: &Path, times: u32) -> Result<()> {
    let machines: Result<Vec<Machine>> =
        (0..arguments.nodes).map(|index| Machine::make(folder, index, DISK_BYTES)).collect();
    let machines = machines?;
    let folders = machines.iter().map(Machine::folder).collect();
    let mut group = Group::start_on_disks(&arguments.binary, folders, folder)?;
    let load = Load::start(&group.addresses(), arguments.writers).await?;
    for round in 0..times as usize {
        load.wait_for(300).await?;
        let whose = WHOSE[round % WHOSE.len()];
        let victims = whose.victims(machines.len(), round + 1);
        let begun = Instant::now();
        // They stand still first, so that none goes on without the others.
        for pid in victims.iter().filter_map(|node| group.pid(*node)) {
            signal(pid, "STOP")?;
        }
        for node in &victims {
            machines[*node].cut_power()?;
            group.kill(*node)?;
            machines[*node].restore_power()?;
        }
        for node in &victims {
            group.restart(*node)?;
        }
        load.wait_for(100).await?;
        group.wait_until_followed()?;
        println!(
            "power loss {}: {whose:?} of the nodes, {victims:?}; longest pause {} ms",
            round + 1,
            load.longest_pause_since(begun).as_millis()
        );
    }
    finish(group, load).await
}
