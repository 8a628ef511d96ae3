//! What must hold in every state, and what must be possible in some, or the model shows nothing.

use crate::configuration::Configuration;
use crate::protocol::Protocol;
use crate::state::{State, Violation};
use crate::value::{NODES, Slot, Value, Voters};
use stateright::Property;

type Properties = Vec<Property<Protocol>>;

/// The properties of a configuration. The numbers are those of `docs/design/paxos.md`.
pub(crate) fn of(configuration: &Configuration) -> Properties {
    let mut properties = invariants();
    properties.extend(reachable(configuration));
    properties
}

fn invariants() -> Properties {
    vec![
        Property::always(
            "I6: no two nodes ever know different values decided",
            |_, state: &State| {
                slots(state).all(|slot| {
                    let mut values = state.known_at(slot).map(|entry| entry.value());
                    let first = values.next();
                    values.all(|value| Some(value) == first)
                })
            },
        ),
        Property::always(
            "I5: what is decided is durable at a quorum",
            |model: &Protocol, state: &State| {
                slots(state).all(|slot| is_at_quorum(&model.0, state, slot))
            },
        ),
        Property::always("I3: one value for each ballot and slot", |_, state: &State| {
            state.violation != Violation::OneProposal
        }),
        Property::always("I16: memberships follow each other", |_, state: &State| {
            state.violation != Violation::MembershipBase
        }),
        Property::always("I7: decided <= accepted <= last", |_, state: &State| {
            let ordered = |node: &crate::state::Node| {
                node.decided <= node.accepted && node.accepted <= node.last()
            };
            state.nodes.iter().all(ordered)
        }),
        Property::always("I1, I8: promises", |model: &Protocol, state: &State| {
            (0..NODES).all(|index| {
                let node = &state.nodes[index];
                let owned = node.owning.ballot;
                let is_owner =
                    owned == 0 || (owned == node.promised && model.0.owner(owned) == index);
                node.durable_promised <= node.promised && is_owner
            })
        }),
        Property::always(
            "validity: what is decided was proposed",
            |model: &Protocol, state: &State| {
                slots(state).all(|slot| {
                    state.known_at(slot).all(|entry| is_valid(&model.0, state, slot, entry.value()))
                })
            },
        ),
    ]
}

fn reachable(configuration: &Configuration) -> Properties {
    let mut properties = vec![
        Property::sometimes("every slot is decided", |model: &Protocol, state: &State| {
            state.known_at(model.0.slots).count() > 0
        }),
        Property::sometimes(
            "the highest ballot decides a value of its own",
            |model: &Protocol, state: &State| {
                let own = Value::own(model.0.owners.len() as u8);
                slots(state).any(|slot| state.known_at(slot).any(|entry| entry.value() == own))
            },
        ),
        Property::sometimes(
            "a later ballot decides what an earlier one proposed",
            |_, state: &State| {
                slots(state).any(|slot| {
                    let value = state.proposals[2][slot];
                    state.told[2] >= slot && value == Value::own(1)
                })
            },
        ),
    ];
    if configuration.crashes > 0 {
        properties.push(Property::sometimes(
            "a slot is decided after a crash that lost records",
            |_, state: &State| state.lost == 2,
        ));
    }
    if configuration.changes > 0 {
        properties.push(Property::sometimes(
            "a slot is decided under another membership",
            |model: &Protocol, state: &State| {
                slots(state).any(|slot| state.governing(slot, model.0.founding) != model.0.founding)
            },
        ));
    }
    properties
}

/// The slots of which anybody ever knew that they are decided.
fn slots(state: &State) -> impl Iterator<Item = Slot> + '_ {
    (1..=crate::value::SLOTS_MAX as Slot).filter(|slot| state.known_at(*slot).count() > 0)
}

/// Whether the decided value of a slot is on the disks of a quorum of the voters that govern it. Nobody who
/// held it then can hold another value now, so it is enough to look at what is there.
fn is_at_quorum(configuration: &Configuration, state: &State, slot: Slot) -> bool {
    let voters = state.governing(slot, configuration.founding);
    state.known_at(slot).all(|entry| {
        let holds = |node: &usize| state.nodes[*node].durable_log[slot].value() == entry.value();
        let holders = (0..NODES).filter(holds).fold(Voters::default(), Voters::with);
        voters.and(holders).count() >= voters.quorum()
    })
}

/// A membership differs by one voter from the one that governs its slot; an own value is of a ballot that exists.
fn is_valid(configuration: &Configuration, state: &State, slot: Slot, value: Value) -> bool {
    match (value.owner(), value.as_membership()) {
        (Some(ballot), _) => usize::from(ballot) <= configuration.owners.len(),
        (_, Some((_, voters))) => {
            let before = state.governing(slot, configuration.founding);
            voters.count() > 0 && Voters(voters.0 ^ before.0).count() == 1
        }
        _ => value == Value::BLANK,
    }
}
