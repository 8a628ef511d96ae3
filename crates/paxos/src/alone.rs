//! Going on alone: one of two voters, when the other one is gone for good and an operator says so (I27).
//!
//! Of two voters every quorum holds both, so each of them holds whatever was decided, and neither can have decided
//! anything without the other. So one of them may go on by itself without losing anything, and even if the other one
//! is only out of reach: that one still needs this one for every promise and every decision. What must not be is
//! that *both* are told to. That nobody does is the word of the operator.
//!
//! The node given up counts as one that agrees with everything, until a membership without it is decided; that is the
//! first thing that is proposed, and no command before it.

use crate::config::PlantedBug;
use crate::core::Paxos;
use crate::membership::Refusal;
use crate::types::NodeId;

impl Paxos {
    /// An operator says that `without` is gone for good.
    pub(crate) fn go_on_alone(&mut self, without: NodeId) -> Result<(), Refusal> {
        let node = self.config.node;
        let is_careless = self.config.is_planted(PlantedBug::AloneOfMany);
        if !self.membership.are_all_voters(node, without) && !is_careless {
            return Err(Refusal::NotOneOfTwo);
        }
        let patience = u64::from(self.config.election_ticks_max);
        let heard_tick = self.heard.get(&without).copied();
        if heard_tick.is_some_and(|tick| self.now - tick <= patience) {
            return Err(Refusal::StillHeard);
        }
        // A node that has just started cannot tell yet; whoever asks asks again.
        if self.now > patience {
            self.given_up = Some(without);
        }
        Ok(())
    }

    /// Takes note that `from` lives. If it was said to be gone, that was wrong: it counts again.
    pub(crate) fn note_heard(&mut self, from: NodeId) {
        if self.membership.members.contains_key(&from) {
            self.heard.insert(from, self.now);
        }
        if self.given_up == Some(from) {
            self.given_up = None;
        }
    }

    /// Whether those for whom `holds` is true are enough to decide, together with one that was given up.
    pub(crate) fn has_quorum(&self, mut holds: impl FnMut(NodeId) -> bool) -> bool {
        self.membership.has_quorum(|id| self.given_up == Some(id) || holds(id))
    }
}
