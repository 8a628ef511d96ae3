//! An hour with a dead follower: what the others hold stays within its bounds.

mod group;

use group::{Group, all, id, without, write};
use paxos::{Footprint, Policy};
use replica::{Config, Output};

const TICKS_PER_HOUR: usize = 3_600 * 100;
/// One write in so many ticks: ten a second.
const WRITE_TICKS: usize = 10;
/// So many keys are written again and again, so that the store does not grow.
const KEYS: usize = 100;
const RETAIN_BYTES: u64 = 200_000;
const WINDOW_BYTES: usize = 50_000;

fn settings(config: &mut Config) {
    config.log_retain_bytes = RETAIN_BYTES;
    config.snapshot_chunk_bytes = 5_000;
    config.paxos.window_bytes_max = WINDOW_BYTES;
}

/// The most that was held at any time.
#[derive(Debug, Default)]
struct Most {
    footprint: Footprint,
    pending: usize,
    views: usize,
    log_bytes: u64,
    waiting_outputs: usize,
}

impl Most {
    fn note(&mut self, group: &Group, leader: usize) {
        let node = &group.nodes[leader];
        let now = node.replica.core().footprint();
        let most = &mut self.footprint;
        most.window_bytes = most.window_bytes.max(now.window_bytes);
        most.waiting_bytes = most.waiting_bytes.max(now.waiting_bytes);
        most.undecided_bytes = most.undecided_bytes.max(now.undecided_bytes);
        most.inflight_bytes = most.inflight_bytes.max(now.inflight_bytes);
        let pending = node.replica.pending_writes() + node.replica.pending_reads();
        self.pending = self.pending.max(pending);
        self.views = self.views.max(node.views.len());
        self.log_bytes = self.log_bytes.max(node.journal.log().bytes_on_disk());
        self.waiting_outputs = self.waiting_outputs.max(node.seen.len());
    }
}

/// The follower dies in the middle of a snapshot that it pulls, so that the leader is left with a view of its store as
/// well as with messages that are not answered.
#[test]
fn an_hour_with_a_dead_follower_stays_bounded() {
    let mut group = Group::new(Policy::Paxos, 3, settings);
    let leader = group.elect();
    let dead = (leader + 1) % 3;
    for n in 0..2_000 {
        group.write(leader, n % KEYS, without(dead));
        group.nodes[leader].seen.clear();
    }
    group.until("it asks for a snapshot", all, |group| !group.nodes[leader].views.is_empty());

    let mut most = Most::default();
    let before = group.nodes[leader].replica.applied();
    for tick in 0..TICKS_PER_HOUR {
        if tick % WRITE_TICKS == 0 {
            // Commands reach the leader from both nodes that live.
            let node = if tick % (2 * WRITE_TICKS) == 0 { leader } else { 3 - leader - dead };
            group.ask(node, write(tick / WRITE_TICKS % KEYS), 5_000);
            group.deliver(without(dead));
        }
        for node in (0..3).filter(|node| *node != dead) {
            group.step(node, replica::Input::Tick);
        }
        group.deliver(without(dead));
        most.note(&group, leader);
        group.delivered.clear();
        for node in &mut group.nodes {
            node.seen.retain(|output| matches!(output, Output::Removed));
            node.answers.clear();
        }
    }
    let written = group.nodes[leader].replica.applied().0 - before.0;
    println!("{written} slots in an hour; at most {most:?}");
    assert_eq!(group.nodes[leader].replica.core().leader(), Some(id(leader)), "it leads on");
    assert!(written as usize >= TICKS_PER_HOUR / WRITE_TICKS);
    let Footprint { window_bytes, waiting_bytes, undecided_bytes, inflight_bytes } = most.footprint;
    assert!(window_bytes <= WINDOW_BYTES + 1_000, "{window_bytes}");
    assert!(waiting_bytes <= 1_000 && undecided_bytes <= 1_000, "{most:?}");
    assert!(inflight_bytes <= paxos::Config::new(id(0)).inflight_bytes_max, "{inflight_bytes}");
    assert!(most.pending <= 2, "{}", most.pending);
    assert!(most.views <= 1 && group.nodes[leader].views.is_empty(), "{most:?}");
    // Held back by the snapshot for a while, and with spare segments.
    assert!(most.log_bytes < 6 * RETAIN_BYTES, "{}", most.log_bytes);

    // It comes back, and is none the worse.
    group.until("it has caught up", all, |group| {
        group.nodes[dead].replica.applied() == group.nodes[leader].replica.applied()
    });
}
