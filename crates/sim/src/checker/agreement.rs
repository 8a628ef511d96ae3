//! One value per slot for ever, and one membership after another.

use paxos::codec::decode_membership;
use paxos::{Membership, NodeId, Payload, Slot, Standing};
use replica::Effect;
use std::collections::{BTreeMap, BTreeSet};

/// Every value ever decided anywhere.
#[derive(Debug, Default)]
pub struct Agreement {
    /// By slot, from 0, which has none.
    decided: Vec<Option<Payload>>,
    applied: Vec<Option<Effect>>,
    slots: usize,
    /// Which membership was made from which: base and slot.
    bases: BTreeMap<Slot, Slot>,
    removed: BTreeSet<NodeId>,
    /// The latest membership, and its slot.
    latest: (Slot, Membership),
    /// Memberships decided.
    pub memberships: u64,
    /// Voters set down as away.
    pub evictions: u64,
    may_part: bool,
}

impl Agreement {
    /// Nothing is decided. `may_part`: nodes may part, as under the passive policy where its assumption does
    /// not hold, so that values are not compared.
    pub fn new(may_part: bool) -> Agreement {
        Agreement { may_part, ..Agreement::default() }
    }

    /// Some node holds `payload` as decided in `slot`.
    ///
    /// # Errors
    /// If another value was decided there, or two memberships descend from one.
    pub fn observe(&mut self, slot: Slot, payload: &Payload) -> Result<(), String> {
        let known = place(&mut self.decided, slot);
        match known {
            Some(known) if known == payload => return Ok(()),
            Some(known) if !self.may_part => {
                return Err(format!("slot {slot} was decided as {known:?} and now as {payload:?}"));
            }
            Some(_) => {}
            None => {
                *known = Some(payload.clone());
                self.slots += 1;
            }
        }
        match payload {
            Payload::Membership(membership) => self.observe_membership(slot, membership),
            _ => Ok(()),
        }
    }

    fn observe_membership(&mut self, slot: Slot, membership: &Membership) -> Result<(), String> {
        if let Some(other) = self.bases.insert(membership.base, slot)
            && other != slot
            && !self.may_part
        {
            let base = membership.base;
            return Err(format!(
                "the memberships in {other} and {slot} descend from that in {base}"
            ));
        }
        self.memberships += 1;
        self.removed.extend(membership.removed.iter().copied());
        let (base, latest) = (self.latest.0, &self.latest.1);
        if membership.base == base && !membership.keeps_votes(latest) && !self.may_part {
            return Err(format!(
                "the membership in {slot} leaves out one of an odd number, and gives its vote to another"
            ));
        }
        let was = |id: &NodeId| latest.standing(*id);
        let evicted = |(id, m): &(&NodeId, &paxos::Member)| {
            m.standing == Standing::Away && was(id) == Some(Standing::Voter)
        };
        self.evictions += membership.members.iter().filter(evicted).count() as u64;
        self.latest = (slot, membership.clone());
        Ok(())
    }

    /// Some node applies `effect` in `slot`.
    ///
    /// # Errors
    /// If another effect was applied there.
    pub fn observe_applied(&mut self, slot: Slot, effect: &Effect) -> Result<(), String> {
        match place(&mut self.applied, slot) {
            Some(known) if known != effect && !self.may_part => {
                Err(format!("slot {slot} was applied as {known:?} and now as {effect:?}"))
            }
            Some(_) => Ok(()),
            none => {
                *none = Some(effect.clone());
                // Nobody may have seen it decided: a window can be shorter than a membership.
                match effect {
                    Effect::Group(bytes) => {
                        let membership = decode_membership(bytes.clone());
                        let membership = membership.map_err(|e| e.to_string())?;
                        self.observe_membership(slot, &membership)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Whether some decided membership lists `node` as removed.
    pub fn is_removed(&self, node: NodeId) -> bool {
        self.removed.contains(&node)
    }

    /// How many slots were decided.
    pub fn slots(&self) -> usize {
        self.slots
    }
}

fn place<T>(values: &mut Vec<Option<T>>, slot: Slot) -> &mut Option<T> {
    let index = usize::try_from(slot.0).expect("slots of a world fit into memory");
    while values.len() <= index {
        values.push(None);
    }
    &mut values[index]
}
