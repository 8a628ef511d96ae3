//! Who reaches whom, and when.

use crate::plan::Plan;
use fastrand::Rng;
use std::collections::BTreeSet;

/// The links between nodes, by index; each direction on its own.
#[derive(Debug)]
pub(crate) struct Network {
    cut: BTreeSet<(usize, usize)>,
    nodes: usize,
    is_perfect: bool,
}

impl Network {
    pub(crate) fn new(nodes: usize) -> Network {
        Network { cut: BTreeSet::new(), nodes, is_perfect: false }
    }

    /// When a message sent at `now_us` arrives: never, once, or twice.
    pub(crate) fn arrivals(
        &self,
        plan: &Plan,
        rng: &mut Rng,
        link: Option<(usize, usize)>,
        now_us: u64,
    ) -> Vec<u64> {
        let (min, max) = plan.delay_us;
        if self.is_perfect {
            return vec![now_us + min];
        }
        if link.is_some_and(|link| self.cut.contains(&link)) || rng.f64() < plan.loss {
            return Vec::new();
        }
        let mut delay = rng.u64(min..=max);
        if rng.f64() < plan.straggling {
            delay += rng.u64(10_000..400_000);
        }
        let mut arrivals = vec![now_us + delay];
        if rng.f64() < plan.duplication {
            arrivals.push(now_us + rng.u64(min..=max * 4));
        }
        arrivals
    }

    /// Heals everything, or makes another fault: a node cut off both ways, one way, halves, a ring.
    pub(crate) fn change(&mut self, rng: &mut Rng) -> String {
        self.cut.clear();
        if self.nodes < 2 || rng.u8(..3) == 0 {
            return "all links whole".to_owned();
        }
        let victim = rng.usize(..self.nodes);
        let others = (0..self.nodes).filter(|other| *other != victim).collect::<Vec<_>>();
        match rng.u8(..6) {
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
            _ => {
                for _ in 0..=rng.usize(..self.nodes * 2) {
                    self.cut.insert((rng.usize(..self.nodes), rng.usize(..self.nodes)));
                }
                format!("cut {:?}", self.cut)
            }
        }
    }

    /// From now on nothing is lost.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.is_perfect = true;
    }

    fn cut_both(&mut self, a: usize, b: usize) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
    }
}
