//! Exact linearizability of one key's history, in O(n log n).
//!
//! It needs that no value is written twice, so that a read tells which write it saw. After Gibbons and
//! Korach ("Testing shared memories", 1997): all operations on one value form a *cluster*, and any
//! legal order puts clusters one after the other. An operation that both reads one value and writes
//! another (a swap) makes the cluster of the second follow that of the first *immediately*, so
//! clusters joined by swaps form a *chain* that is placed as a whole. Chain A must stand before chain B
//! if some operation of A ended before some operation of B began. An order exists if and only if no
//! two chains must each stand before the other, and each chain is in order within.

use api::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What an operation did, as far as the client knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It saw this value.
    Read(Value),
    /// It wrote this value over anything.
    Write(Value),
    /// It saw the first and wrote the second, with nothing between.
    Swap(Value, Value),
}

/// One operation of one client. An operation without an answer ends at [`u64::MAX`].
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Who did it.
    pub client: usize,
    /// When it began.
    pub start_us: u64,
    /// When its answer came.
    pub end_us: u64,
    /// What it did.
    pub action: Action,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = api::json::to_string;
        let Operation { client, start_us, end_us, action } = self;
        let end = if *end_us == u64::MAX { "?".to_owned() } else { end_us.to_string() };
        write!(f, "client {client} {start_us}..{end} ")?;
        match action {
            Action::Read(v) => write!(f, "read {}", show(v)),
            Action::Write(v) => write!(f, "write {}", show(v)),
            Action::Swap(a, b) => write!(f, "swap {} for {}", show(a), show(b)),
        }
    }
}

/// What clients did to one key, which was absent (`null`) before.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
}

/// All operations on one value: its write first, then its reads.
#[derive(Clone, Debug, Default)]
struct Cluster {
    write: Option<usize>,
    reads: Vec<usize>,
    /// The cluster that a swap made follow immediately.
    next: Option<usize>,
    has_previous: bool,
}

impl History {
    /// Adds an operation.
    pub fn add(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether some order of the operations, each at one moment between its start and end, explains all
    /// answers.
    ///
    /// # Errors
    /// Names operations that cannot be ordered.
    pub fn check(&self) -> Result<(), String> {
        let mut clusters = self.clusters()?;
        self.drop_unseen(&mut clusters);
        let clusters: Vec<Cluster> = clusters;
        let mut chains: Vec<(u64, u64, usize)> = Vec::new();
        for first in (0..clusters.len()).filter(|i| !clusters[*i].has_previous) {
            if let Some(span) = self.check_chain(&clusters, first)? {
                chains.push(span);
            }
        }
        check_no_circle(&clusters)?;
        self.check_chains(chains, &clusters)
    }

    /// Cluster 0 is that of the absent value.
    fn clusters(&self) -> Result<Vec<Cluster>, String> {
        let mut clusters = vec![Cluster::default()];
        let mut of_value: BTreeMap<String, usize> = BTreeMap::from([("null".to_owned(), 0)]);
        let mut cluster_of = |value: &Value, clusters: &mut Vec<Cluster>| {
            *of_value.entry(api::json::to_string(value)).or_insert_with(|| {
                clusters.push(Cluster::default());
                clusters.len() - 1
            })
        };
        for (index, operation) in self.operations.iter().enumerate() {
            let (read, write) = match &operation.action {
                Action::Read(v) => (Some(v), None),
                Action::Write(v) => (None, Some(v)),
                Action::Swap(a, b) => (Some(a), Some(b)),
            };
            let read = read.map(|v| cluster_of(v, &mut clusters));
            let write = write.map(|v| cluster_of(v, &mut clusters));
            if let Some(write) = write {
                if clusters[write].write.replace(index).is_some() || write == 0 {
                    return Err(format!("the history writes a value twice: {operation}"));
                }
                if let Some(previous) = read {
                    if clusters[previous].next.replace(write).is_some() {
                        return Err(format!("two operations replaced the same value: {operation}"));
                    }
                    clusters[write].has_previous = true;
                }
            } else if let Some(read) = read {
                clusters[read].reads.push(index);
            }
        }
        Ok(clusters)
    }

    /// A write without an answer that nobody saw may never have happened.
    fn drop_unseen(&self, clusters: &mut [Cluster]) {
        for cluster in clusters {
            let unanswered = |i: usize| self.operations[i].end_us == u64::MAX;
            if cluster.reads.is_empty()
                && cluster.next.is_none()
                && !cluster.has_previous
                && cluster.write.is_some_and(unanswered)
            {
                cluster.write = None;
            }
        }
    }

    /// Checks one chain within; answers when its first operation ended and its last began.
    fn check_chain(
        &self,
        clusters: &[Cluster],
        first: usize,
    ) -> Result<Option<(u64, u64, usize)>, String> {
        let mut min_end = u64::MAX;
        let mut max_start = 0;
        let mut latest: Option<usize> = None;
        let mut next = Some(first);
        let mut any = first == 0;
        while let Some(index) = next {
            let cluster = &clusters[index];
            let replaced = cluster.next.and_then(|next| clusters[next].write);
            let seen = cluster.reads.first().copied().or(replaced);
            if let (true, None, Some(seen)) = (index != 0, cluster.write, seen) {
                let seen = &self.operations[seen];
                return Err(format!("a value was read that nobody wrote: {seen}"));
            }
            if index == 0 {
                min_end = 0;
            }
            // The write first: whatever follows in the chain must not have ended before it began.
            let reads = cluster.reads.iter().copied();
            let members = cluster.write.into_iter().chain(reads.clone());
            for member in members.clone() {
                any = true;
                let operation = &self.operations[member];
                let is_write = cluster.write == Some(member);
                if let Some(earlier) = latest
                    && operation.end_us < self.operations[earlier].start_us
                {
                    let earlier = &self.operations[earlier];
                    return Err(format!("[{operation}] ended before [{earlier}] began"));
                }
                min_end = min_end.min(operation.end_us);
                max_start = max_start.max(operation.start_us);
                // Reads of one value may stand in any order; the write stands before them.
                if is_write {
                    latest = self.later(latest, member);
                }
            }
            for member in reads {
                latest = self.later(latest, member);
            }
            next = cluster.next;
        }
        Ok(any.then_some((min_end, max_start, first)))
    }

    fn later(&self, a: Option<usize>, b: usize) -> Option<usize> {
        let start = |i: usize| self.operations[i].start_us;
        Some(a.filter(|a| start(*a) >= start(b)).unwrap_or(b))
    }

    /// No two chains must each stand before the other. With chains sorted by their `min_end`, chain `a`
    /// before `b` in that order, both must only if `b.min_end < a.max_start` (for `a` before `b`,
    /// `a.min_end <= b.min_end < b.max_start` is asked too).
    fn check_chains(
        &self,
        mut chains: Vec<(u64, u64, usize)>,
        clusters: &[Cluster],
    ) -> Result<(), String> {
        chains.sort_unstable();
        // Among the chains before this one, the one that begins its last operation latest.
        let mut latest: Option<(u64, usize)> = None;
        // A chain that only ends after its last start (a "backward" one) can conflict with any that
        // spans it, so look at every chain from both sides.
        for (min_end, max_start, first) in &chains {
            if let Some((other_start, other)) = latest
                && *min_end < other_start
            {
                let before = chains.iter().find(|c| c.2 == other);
                if before.is_some_and(|(other_end, _, _)| other_end < max_start) {
                    return Err(self.conflict(clusters, other, *first));
                }
                // The latest one may be harmless while an earlier one is not.
                for (other_end, other_start, other) in &chains {
                    if other != first
                        && (other_end, other) < (min_end, first)
                        && min_end < other_start
                        && other_end < max_start
                    {
                        return Err(self.conflict(clusters, *other, *first));
                    }
                }
            }
            if latest.is_none_or(|(start, _)| *max_start > start) {
                latest = Some((*max_start, *first));
            }
        }
        Ok(())
    }

    fn conflict(&self, clusters: &[Cluster], a: usize, b: usize) -> String {
        let show = |first: usize| {
            let mut lines = Vec::new();
            let mut next = Some(first);
            while let Some(index) = next {
                let cluster = &clusters[index];
                let members = cluster.write.into_iter().chain(cluster.reads.iter().copied());
                lines.extend(members.map(|i| format!("  {}", self.operations[i])));
                next = cluster.next;
            }
            lines.join("\n")
        };
        format!("each of these must stand before the other:\n{}\nand\n{}", show(a), show(b))
    }
}

/// Swaps that each saw what the next one wrote have no first one.
fn check_no_circle(clusters: &[Cluster]) -> Result<(), String> {
    let mut reached = vec![false; clusters.len()];
    for first in (0..clusters.len()).filter(|i| !clusters[*i].has_previous) {
        let mut next = Some(first);
        while let Some(index) = next {
            reached[index] = true;
            next = clusters[index].next;
        }
    }
    match reached.iter().position(|reached| !reached) {
        Some(index) => Err(format!("swaps in a circle: {:?}", clusters[index])),
        None => Ok(()),
    }
}
