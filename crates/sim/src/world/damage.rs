//! Disks that go bad: damaged, lost, failing, stalled.

use super::{Event, World};
use crate::node::Node;
use crate::plan::Plan;
use paxos::{Entry, Slot};
use replica::{Journal, Recovered};
use std::io::ErrorKind;
use wal::Disk;
use wal::memory::MemoryDisk;

impl World {
    /// A machine loses its disk, also one that is up.
    pub(super) fn on_disk_lost(&mut self) {
        self.later_fault(self.plan.lose_every_us, Event::DiskLost);
        let victim = self.victim();
        if self.nodes[victim].is_removed || !self.may_lose(victim) || !self.may_stop(victim) {
            return;
        }
        self.trace.event(self.now_us, format_args!("{victim} loses its disk"));
        self.report.replacements += 1;
        let was_up = self.nodes[victim].up.is_some();
        self.stop(victim);
        self.nodes[victim].lose_disk();
        if was_up {
            let down = self.rng.u64(1_000..self.plan.down_us_max);
            self.after(down, Event::Start(victim));
        }
    }

    /// The log of a node that is down, or goes down, is damaged.
    pub(super) fn on_disk_damaged(&mut self) -> Result<(), String> {
        self.later_fault(self.plan.damage_every_us, Event::DiskDamaged);
        let victim = self.victim();
        let machine = &self.nodes[victim];
        let spared = machine.is_removed || machine.is_damaged;
        if spared || !self.may_lose(victim) || !self.may_stop(victim) {
            return Ok(());
        }
        if self.nodes[victim].up.is_some() {
            self.crash(victim);
        }
        let Some(damaged) = self.damage(victim)? else { return Ok(()) };
        self.nodes[victim].disk = damaged;
        self.nodes[victim].is_damaged = true;
        Ok(())
    }

    /// The disk after the damage, unless it hit what cannot be told from a torn write.
    fn damage(&mut self, victim: usize) -> Result<Option<MemoryDisk>, String> {
        let disk = self.nodes[victim].disk.fork();
        let names = disk.list().map_err(|e| e.to_string())?;
        let segments: Vec<&String> = names.iter().filter(|n| n.starts_with("segment-")).collect();
        if segments.is_empty() {
            return Ok(None);
        }
        let name = segments[self.rng.usize(..segments.len())].clone();
        let contents = disk.contents(&name);
        if contents.is_empty() {
            return Ok(None);
        }
        // Most of a segment may be empty.
        let used = contents.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let offset = self.rng.usize(..used);
        let truncates = self.rng.u8(..4) == 0;
        if truncates {
            disk.put(&name, &contents[..offset]);
        } else {
            disk.flip_bit(&name, offset as u64, self.rng.u8(..8));
        }
        let what = if truncates { "is cut short at" } else { "has a flipped bit at" };
        self.trace.event(self.now_us, format_args!("{victim}: {name} {what} {offset}"));
        let machine = &self.nodes[victim];
        let (before, after) = (
            read(machine, &self.plan, machine.disk.fork()),
            read(machine, &self.plan, disk.fork()),
        );
        let Ok(before) = before else { return Ok(None) };
        let is_same = match &after {
            Err(_) => return Ok(Some(disk)),
            Ok(after) => *after == before,
        };
        let sequence: u32 = name
            .trim_start_matches("segment-")
            .trim_end_matches(".log")
            .parse()
            .unwrap_or_default();
        let place = wal::Position { segment: sequence, offset: offset as u32 };
        if !is_same && place < machine.last_flush {
            return Err(format!(
                "node {victim} starts with less than it had after damage in {name} at {offset}: \
                 {:?} instead of {:?}; its last flush began at {:?}",
                after.map(|(recovered, _)| recovered),
                before.0,
                machine.last_flush
            ));
        }
        Ok(is_same.then_some(disk))
    }

    /// An operation of a log's disk fails soon.
    pub(super) fn on_disk_failing(&mut self) {
        self.later_fault(self.plan.fail_every_us, Event::DiskFailing);
        let victim = self.victim();
        if self.nodes[victim].up.is_some() && self.may_stop(victim) {
            let machine = &mut self.nodes[victim];
            machine.is_failing = true;
            let operation = machine.disk.counts().operations + self.rng.u64(..6);
            machine.disk.fail_at(operation, ErrorKind::Other);
            self.trace
                .event(self.now_us, format_args!("{victim}: operation {operation} will fail"));
        }
    }

    /// A disk does nothing for a while.
    pub(super) fn on_disk_stalled(&mut self) {
        self.later_fault(self.plan.stall_every_us, Event::DiskStalled);
        let victim = self.victim();
        let until = self.now_us + self.rng.u64(50_000..4_000_000);
        self.nodes[victim].stalled_until_us = until;
        self.trace.event(self.now_us, format_args!("{victim}: the disk stalls until {until}"));
    }
}

/// All that a log says.
fn read(machine: &Node, plan: &Plan, disk: MemoryDisk) -> Result<(Recovered, Vec<Entry>), String> {
    let opened = Journal::open(disk, machine.log_options(plan));
    let (journal, recovered, _) = opened.map_err(|e| e.to_string())?;
    let from = recovered.floor.next();
    let entries = if recovered.last >= from && from > Slot::ZERO {
        journal.entries(from, recovered.last, usize::MAX).map_err(|e| e.to_string())?
    } else {
        Vec::new()
    };
    Ok((recovered, entries))
}
