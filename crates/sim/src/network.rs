//! Who reaches whom, and when.

use crate::plan::Plan;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// One direction between two nodes, by index: from, to.
type Link = (usize, usize);

/// When a message arrives: never, once, or twice.
type Arrivals = [Option<u64>; 2];

/// The kinds of messages that a link may stop on their own.
const KINDS: [&str; 15] = [
    "canvass",
    "canvass_reply",
    "prepare",
    "promise",
    "accept",
    "accepted",
    "heartbeat",
    "heartbeat_reply",
    "refuse",
    "catch_up",
    "catch_up_reply",
    "read_index",
    "read_index_reply",
    "forward",
    "join",
];

/// The links between nodes, by index; each direction on its own.
#[derive(Debug)]
pub(crate) struct Network {
    /// Nothing comes through, until the next fault.
    cut: BTreeSet<Link>,
    /// These kinds of messages do not come through, until the next fault.
    muffled: BTreeMap<Link, BTreeSet<&'static str>>,
    /// Nothing comes through, until the link flickers again.
    dark: BTreeSet<Link>,
    /// Everything comes at this time, in order.
    held: BTreeMap<Link, u64>,
    nodes: usize,
    is_perfect: bool,
}

impl Network {
    pub(crate) fn new(nodes: usize) -> Network {
        Network {
            cut: BTreeSet::new(),
            muffled: BTreeMap::new(),
            dark: BTreeSet::new(),
            held: BTreeMap::new(),
            nodes,
            is_perfect: false,
        }
    }

    /// When a message between a client and a node, sent at `now_us`, arrives: never, once, or twice.
    pub(crate) fn arrivals(&self, plan: &Plan, rng: &mut Rng, now_us: u64) -> Arrivals {
        let (min, max) = plan.delay_us;
        if self.is_perfect {
            return [Some(now_us + min), None];
        }
        if rng.f64() < plan.loss {
            return [None, None];
        }
        let mut delay = rng.u64(min..=max);
        if rng.f64() < plan.straggling {
            delay += rng.u64(10_000..400_000);
        }
        let is_twice = rng.f64() < plan.duplication;
        [Some(now_us + delay), is_twice.then(|| now_us + rng.u64(min..=max * 4))]
    }

    /// When a message of this kind between two nodes, sent at `now_us`, arrives.
    pub(crate) fn arrivals_on(
        &self,
        plan: &Plan,
        rng: &mut Rng,
        link: Link,
        kind: &str,
        now_us: u64,
    ) -> Arrivals {
        if self.is_perfect {
            return self.arrivals(plan, rng, now_us);
        }
        let stops = self.cut.contains(&link) || self.dark.contains(&link);
        if stops || self.muffled.get(&link).is_some_and(|kinds| kinds.contains(kind)) {
            return [None, None];
        }
        if let Some(until_us) = self.held.get(&link).filter(|until_us| **until_us > now_us) {
            return [Some(*until_us), None];
        }
        let mut arrivals = self.arrivals(plan, rng, now_us);
        if let Some((node, slowness_us)) = plan.laggard
            && (link.0 == node || link.1 == node)
        {
            for at in arrivals.iter_mut().flatten() {
                *at += rng.u64(..slowness_us);
            }
        }
        arrivals
    }

    /// Heals cuts, or makes another fault with `victim` in its middle: it is cut off both ways, one way,
    /// with a companion; or there are halves, a star, a ring.
    pub(crate) fn change(&mut self, plan: &Plan, rng: &mut Rng, victim: usize) -> String {
        self.cut.clear();
        self.muffled.clear();
        if self.nodes < 2 || rng.u8(..3) == 0 {
            return "all links whole".to_owned();
        }
        if plan.muffles && rng.bool() {
            return self.muffle(rng, victim);
        }
        let others = (0..self.nodes).filter(|other| *other != victim).collect::<Vec<_>>();
        match rng.u8(..8) {
            0 => {
                for other in others {
                    self.cut_both(victim, other);
                }
                format!("node {victim} is cut off")
            }
            1 => {
                self.cut.extend(others.iter().map(|other| (victim, *other)));
                format!("node {victim} is not heard")
            }
            2 => {
                self.cut.extend(others.iter().map(|other| (*other, victim)));
                format!("node {victim} is deaf")
            }
            3 => {
                let side: Vec<bool> = (0..self.nodes).map(|_| rng.bool()).collect();
                for a in 0..self.nodes {
                    for b in (0..self.nodes).filter(|b| side[*b] != side[a]) {
                        self.cut.insert((a, b));
                    }
                }
                format!("sides {side:?}")
            }
            4 => {
                // Everybody reaches only the victim.
                for a in others.iter().copied() {
                    for b in others.iter().copied().filter(|b| *b != a) {
                        self.cut.insert((a, b));
                    }
                }
                format!("a star around node {victim}")
            }
            5 => {
                let companion = others[rng.usize(..others.len())];
                for other in others.iter().copied().filter(|other| *other != companion) {
                    self.cut_both(victim, other);
                    self.cut_both(companion, other);
                }
                format!("nodes {victim} and {companion} are cut off together")
            }
            6 => {
                let source = others[rng.usize(..others.len())];
                let unheard = others.iter().filter(|other| **other != source);
                self.cut.extend(unheard.map(|other| (*other, victim)));
                format!("node {victim} hears only node {source}")
            }
            _ => {
                for _ in 0..=rng.usize(..self.nodes * 2) {
                    self.cut.insert((rng.usize(..self.nodes), rng.usize(..self.nodes)));
                }
                format!("cut {:?}", self.cut)
            }
        }
    }

    /// The victim's links, one way or both, stop about half of the kinds, or all but a few, or a few.
    fn muffle(&mut self, rng: &mut Rng, victim: usize) -> String {
        let chance = [0.1, 0.5, 0.8][rng.usize(..3)];
        let kinds: BTreeSet<_> = KINDS.into_iter().filter(|_| rng.f64() < chance).collect();
        let (out, into) = [(true, false), (false, true), (true, true)][rng.usize(..3)];
        for other in (0..self.nodes).filter(|other| *other != victim) {
            if out {
                self.muffled.insert((victim, other), kinds.clone());
            }
            if into {
                self.muffled.insert((other, victim), kinds.clone());
            }
        }
        format!("node {victim} muffled, from it {out}, to it {into}: {kinds:?}")
    }

    /// The first `nodes` nodes no longer hear those of `side`, nor, `both_ways`, these them.
    pub(crate) fn strand(&mut self, side: &[usize], nodes: usize, both_ways: bool) {
        self.restore();
        for (a, b) in side.iter().flat_map(|a| (0..nodes).map(move |b| (*a, b))) {
            if !side.contains(&b) {
                self.cut.insert((a, b));
                if both_ways {
                    self.cut.insert((b, a));
                }
            }
        }
    }

    /// Node `victim` and `companion` reach each other, and the victim nobody else.
    pub(crate) fn strand_but(&mut self, victim: usize, companion: usize, nodes: usize) {
        self.restore();
        self.strand_also_but(victim, companion, nodes);
    }

    /// The same, besides what is cut already.
    pub(crate) fn strand_also_but(&mut self, victim: usize, companion: usize, nodes: usize) {
        for other in (0..nodes).filter(|other| *other != victim && *other != companion) {
            self.cut_both(victim, other);
        }
        self.cut.remove(&(victim, companion));
        self.cut.remove(&(companion, victim));
    }

    /// These two reach each other again.
    pub(crate) fn open(&mut self, a: usize, b: usize) {
        self.cut.remove(&(a, b));
        self.cut.remove(&(b, a));
    }

    /// `to` no longer hears `from`.
    pub(crate) fn silence(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// No link is cut or muffled.
    pub(crate) fn restore(&mut self) {
        self.cut.clear();
        self.muffled.clear();
    }

    /// One link goes dark, or light again.
    pub(crate) fn flicker(&mut self, rng: &mut Rng) {
        let link = self.draw_link(rng);
        if !self.dark.remove(&link) {
            self.dark.insert(link);
        }
    }

    /// The same for one link, drawn.
    pub(crate) fn hold(&mut self, rng: &mut Rng, until_us: u64) -> Link {
        let link = self.draw_link(rng);
        self.hold_link(link, until_us);
        link
    }

    /// What `link` carries from now on comes only at `until_us`.
    pub(crate) fn hold_link(&mut self, link: Link, until_us: u64) {
        let until = self.held.entry(link).or_insert(0);
        *until = until_us.max(*until);
    }

    fn draw_link(&self, rng: &mut Rng) -> Link {
        (rng.usize(..self.nodes), rng.usize(..self.nodes))
    }

    /// From now on nothing is lost.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.muffled.clear();
        self.dark.clear();
        self.held.clear();
        self.is_perfect = true;
    }

    fn cut_both(&mut self, a: usize, b: usize) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
    }
}
