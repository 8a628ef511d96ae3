//! The passive policy: what may stop while its assumption is to hold, and what is kept where it does not.

use super::{Event, World};
use crate::client::{COLLECTION, single};
use api::{Document, Request, SearchOptions};
use paxos::{Entry, Payload, Policy, Slot, Standing};
use std::collections::BTreeSet;
use store::Command;

impl World {
    /// Whether a node may stop now. A primary that went on alone knows what the others do not; if it stops while they
    /// start, they go on without that. So in a world that must lose nothing one node stops at a time, and only while
    /// all the others take part.
    pub(super) fn may_stop(&self, victim: usize) -> bool {
        let is_free = self.plan.policy == Policy::Paxos || self.plan.may_part;
        is_free || self.all_others_take_part(victim)
    }

    /// Whether every other node is up and counts for everybody there.
    pub(super) fn all_others_take_part(&self, victim: usize) -> bool {
        let others = || self.nodes.iter().enumerate().filter(move |(index, _)| *index != victim);
        others().all(|(_, machine)| {
            machine.up.as_ref().is_some_and(|up| {
                let (_, membership) = up.replica.core().membership();
                let takes_part = |other: usize| {
                    membership.standing(self.nodes[other].id) == Some(Standing::Voter)
                };
                (0..self.nodes.len()).all(takes_part)
            })
        })
    }

    /// An entry gives way to another and is kept for somebody to look at.
    pub(super) fn on_overwritten(&mut self, node: usize, slot: Slot, entry: &Entry) {
        self.trace.event(self.now_us, format_args!("{node}: the entry of {slot} was overwritten"));
        self.keep(entry);
    }

    /// The node has parted from its group: what it has is kept for somebody to look at, and the machine comes
    /// back as another node.
    pub(super) fn on_diverged(&mut self, node: usize, from: Slot) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        self.trace.event(self.now_us, format_args!("{node} has diverged from {from}"));
        if !self.plan.may_part {
            return Err(format!("node {node} has diverged from {from}, where nobody was cut off"));
        }
        self.report.divergences += 1;
        let first = from.max(up.journal.floor().next());
        // What its log has cut is in its store alone, where later writes may have followed it.
        self.has_cut_what_parted |= first > from;
        let entries = up.journal.entries(first, up.journal.last(), usize::MAX);
        let entries = entries.map_err(|e| format!("node {node}: {e}"))?;
        for entry in &entries {
            self.keep(entry);
        }
        self.keep_store(node)
    }

    /// The folder of the store is set aside, and the machine begins anew.
    fn keep_store(&mut self, node: usize) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        let request = Request::Search {
            collection: COLLECTION.to_owned(),
            filter: Document::new(),
            search: SearchOptions::default(),
        };
        let answer = up.store.reader().query(&request);
        let answer = answer.map_err(|e| format!("node {node}: store: {e}"))?;
        let documents = answer.ok().and_then(|list| list.as_array().cloned()).unwrap_or_default();
        for document in &documents {
            let id = document.as_document().and_then(|document| document.get_str("_id").ok());
            self.kept.extend(id.map(str::to_owned));
        }
        self.stop(node);
        self.nodes[node].is_removed = true;
        let delay = self.rng.u64(1_000..500_000);
        self.after(delay, Event::Start(node));
        Ok(())
    }

    fn keep(&mut self, entry: &Entry) {
        self.kept.extend(values_of(entry));
    }

    /// Every acknowledged write of a key is in the log that all have in the end, where later ones may follow it, or it
    /// was kept for somebody to look at. Only logs that were not cut can tell: that of the group, and those of nodes that parted
    /// from it.
    pub(super) fn check_acknowledged(&self) -> Result<(), String> {
        if self.acknowledged.is_empty() || self.has_cut_what_parted {
            return Ok(());
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(up) = node.up.as_ref().filter(|up| up.journal.floor() == Slot::ZERO) else {
                continue;
            };
            let last = Slot(up.store.applied_slot());
            let entries = up.journal.entries(Slot(1), last, usize::MAX);
            let entries = entries.map_err(|e| format!("node {index}: {e}"))?;
            let values: BTreeSet<String> = entries.iter().flat_map(values_of).collect();
            let is_lost = |value: &&String| !values.contains(*value) && !self.kept.contains(*value);
            if let Some(value) = self.acknowledged.iter().find(is_lost) {
                return Err(format!("the acknowledged write of {value} was dropped in silence"));
            }
        }
        Ok(())
    }
}

/// What an entry writes: the value of a key, or the identities of documents. No two operations write the same.
fn values_of(entry: &Entry) -> Vec<String> {
    let Payload::Command(bytes) = &entry.payload else { return Vec::new() };
    let request = Command::decode(bytes).map(|command| command.request);
    match request.as_ref().map(single) {
        Ok(Request::Insert { documents, .. }) => {
            let ids = documents.iter().filter_map(|document| document.get_str("_id").ok());
            ids.map(str::to_owned).collect()
        }
        Ok(
            Request::Write { value, .. } | Request::Swap { value, .. } | Request::Cas { value, .. },
        ) => value.as_str().map(str::to_owned).into_iter().collect(),
        _ => Vec::new(),
    }
}
