//! The end of a run: final reads, and what all nodes must agree on.

use super::{AUDITOR, Event, Phase, Report, World};
use crate::checker::{Action, Operation};
use crate::client::{COLLECTION, Client, unanswered};
use crate::node::Node;
use api::{Call, Document, ErrorCode, Options, Request, SearchOptions, Value};
use paxos::{Policy, Standing};
use std::collections::BTreeSet;

/// The end of a run.
impl World {
    pub(super) fn is_over(&mut self) -> Result<bool, String> {
        if self.phase == Phase::Healing
            && self.clients.iter().all(Client::is_done)
            // A node reads only what it has then.
            && (self.plan.policy == Policy::Paxos || (self.is_settled() && self.has_converged()?))
        {
            self.phase = Phase::FinalReads;
            self.begin_audit();
        }
        if self.phase != Phase::FinalReads || !self.final_reads.is_empty() {
            return Ok(false);
        }
        self.has_converged()
    }

    /// Whether some leader has applied all that was decided before it led. A node that has just started holds what it
    /// acknowledged in its log, and may read less until then (passive policy).
    fn is_settled(&self) -> bool {
        self.nodes.iter().filter_map(|node| node.up.as_ref()).any(|up| {
            let status = up.replica.core().status();
            status.is_settled && up.store.applied_slot() == status.decided.0
        })
    }

    /// Every key, and the collection, is read at every node.
    fn begin_audit(&mut self) {
        self.trace.event(self.now_us, format_args!("final reads"));
        let mut number = 0;
        for node in 0..self.nodes.len() {
            let keys = (0..self.plan.keys)
                .map(|key| Request::Read { key: format!("key-{key}"), empty_if_absent: false });
            let search = Request::Search {
                collection: COLLECTION.to_owned(),
                filter: Document::new(),
                search: SearchOptions::default(),
            };
            for request in keys.chain([search]) {
                number += 1;
                self.final_reads.insert(number, (node, self.now_us, request));
                self.after(0, Event::Patience { client: AUDITOR, number, attempt: 0 });
            }
        }
    }

    pub(super) fn audit_again(&mut self, number: u64) {
        let Some((node, _, request)) = self.final_reads.get(&number) else { return };
        let (node, request) = (*node, request.clone());
        let call = Box::new(Call { request, options: Options::default() });
        self.after(100, Event::Request { node, client: AUDITOR, number, call });
        self.after(500_000, Event::Patience { client: AUDITOR, number, attempt: 0 });
    }

    pub(super) fn on_audit(
        &mut self,
        number: u64,
        answer: Result<Value, api::Error>,
    ) -> Result<(), String> {
        let answer = match answer {
            Ok(answer) => answer,
            // The collection was made by a part of the group that did not last.
            Err(error) if error.code == ErrorCode::UnknownCollection && self.plan.may_part => {
                Value::Array(Vec::new())
            }
            Err(_) => return Ok(()),
        };
        let Some((node, start_us, request)) = self.final_reads.remove(&number) else {
            return Ok(());
        };
        match request {
            Request::Read { key, .. } => {
                let key: usize = key.trim_start_matches("key-").parse().unwrap_or(0);
                let action = Action::Read(answer);
                let end_us = self.now_us;
                // Under the passive policy by now all is at rest, and so the same everywhere.
                if !self.plan.may_part {
                    let operation = Operation { client: AUDITOR, start_us, end_us, action };
                    self.histories[key].add(operation);
                }
            }
            _ => self.check_inserted(node, &answer)?,
        }
        Ok(())
    }

    fn check_inserted(&self, node: usize, answer: &Value) -> Result<(), String> {
        let list = answer.as_array().ok_or_else(|| format!("search answered {answer:?}"))?;
        let found: BTreeSet<&str> = (list.iter())
            .filter_map(|document| document.as_document()?.get_str("_id").ok())
            .collect();
        if found.len() != list.len() {
            return Err(format!("node {node} holds a document twice: {list:?}"));
        }
        let is_lost = |id: &&String| !found.contains(id.as_str()) && !self.kept.contains(*id);
        match self.inserted.iter().find(is_lost) {
            Some(id) => Err(format!("node {node} has lost the document {id}")),
            None => Ok(()),
        }
    }

    /// All nodes stand at the same slot with the same content.
    fn has_converged(&mut self) -> Result<bool, String> {
        let mut slots = BTreeSet::new();
        for node in &self.nodes {
            let Some(up) = &node.up else { return Ok(false) };
            let (_, membership) = up.replica.core().membership();
            let lives_there = |other: &Node| {
                let member = membership.members.get(&other.id);
                member
                    .is_some_and(|m| m.standing == Standing::Voter && m.address == other.address())
            };
            if !self.nodes.iter().all(lives_there) || membership.members.len() != self.nodes.len() {
                return Ok(false);
            }
            slots.insert(up.store.applied_slot());
        }
        if slots.len() != 1 {
            return Ok(false);
        }
        let mut hashes = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(up) = &node.up else { return Ok(false) };
            let hash = up.store.content_hash().map_err(|e| format!("node {index}: {e}"))?;
            hashes.insert(hash);
        }
        if hashes.len() != 1 {
            return Err(format!("nodes differ at one slot: {hashes:?}"));
        }
        Ok(true)
    }

    pub(super) fn end(&mut self) -> Result<Report, String> {
        for client in &mut self.clients {
            let Some(current) = client.current.take() else { continue };
            for (key, operation) in unanswered(client.index, current) {
                self.histories[key].add(operation);
            }
        }
        for (key, history) in self.histories.iter().enumerate() {
            history.check().map_err(|what| format!("key {key} is not linearizable: {what}"))?;
        }
        self.check_acknowledged()?;
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(up) = &node.up else { continue };
            up.store.verify().map_err(|e| format!("node {index}: {e}"))?;
        }
        Ok(Report {
            trace_hash: self.trace.hash(),
            simulated_us: self.now_us,
            slots: self.agreement.slots() as u64,
            memberships: self.agreement.memberships,
            evictions: self.agreement.evictions,
            ..self.report.clone()
        })
    }

    pub(super) fn stuck(&self) -> String {
        use std::fmt::Write;
        let mut what = format!("no progress after the faults ended, in phase {:?}", self.phase);
        for (index, node) in self.nodes.iter().enumerate() {
            let status =
                node.up.as_ref().map(|up| (up.replica.core().status(), up.replica.applied()));
            // Writing to a string cannot fail.
            let _ = write!(what, "\n  node {index}: {status:?}");
        }
        for client in &self.clients {
            if let Some(current) = &client.current {
                let _ = write!(what, "\n  client {}: {current:?}", client.index);
            }
        }
        what
    }
}
