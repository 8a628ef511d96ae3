//! Building indexes: the leader proposes one step after the other (`docs/design/indexes.md`).
//!
//! Each outcome of the store says whether an index is being built. Whoever leads and hears so proposes a
//! step, and the next one once the outcome of that is there. A new leader hears so from the entry of its
//! own ballot, and a node that starts from whatever it applies first. A step takes the build on from
//! wherever it stands, so one too many does no harm, and one that is lost is proposed again after a while.

use crate::node::{FORWARDED, Replica};
use api::{Reference, Request};
use bytes::Bytes;
use paxos::ProposalId;
use store::{Command, Outcome};

/// Ticks after which a step without an outcome is taken for lost.
const STEP_TICKS: u64 = 100;

/// What this node knows of builds.
#[derive(Debug, Default)]
pub(crate) struct Builds {
    /// Whether an index was being built after the last entry applied.
    is_building: bool,
    /// The step under way, and when it is taken for lost.
    step: Option<(Reference, u64)>,
}

impl Builds {
    /// Whether an index was being built, as far as is known.
    pub(crate) fn is_building(&self) -> bool {
        self.is_building
    }

    /// Takes in what entries came to.
    pub(crate) fn note(&mut self, outcomes: &[Outcome]) {
        let Some(last) = outcomes.last() else { return };
        self.is_building = last.is_building;
        let is_step = |outcome: &Outcome| {
            self.step.as_ref().is_some_and(|(step, _)| Some(step) == outcome.reference.as_ref())
        };
        if outcomes.iter().any(is_step) {
            self.step = None;
        }
    }
}

impl Replica {
    /// Proposes a step, if one is due and this node leads.
    pub(crate) fn propose_build_step(&mut self) {
        let is_due = match &self.builds.step {
            None => true,
            Some((_, lost_tick)) => self.now >= *lost_tick,
        };
        let leads = self.paxos.leader() == Some(self.paxos.node());
        if !self.builds.is_building || !is_due || !leads || self.is_disk_full {
            return;
        }
        self.sequence += 1;
        let reference = Reference::new(self.config.session.clone(), self.sequence);
        let lowest = self.writes.lowest_under_way(&self.config.session);
        let acked = lowest.unwrap_or(self.sequence);
        self.builds.step = Some((reference.clone(), self.now + STEP_TICKS));
        let request = Request::BuildIndex { documents: self.config.build_step_documents };
        // A step needs no clock.
        let command = Command { reference, acked, time_ms: 0, request };
        let command = Bytes::from(command.encode());
        self.paxos.step(paxos::Input::Propose { id: ProposalId(FORWARDED), command });
    }
}
