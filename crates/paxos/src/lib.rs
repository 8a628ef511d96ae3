#![no_std]
#![doc = include_str!("../../../docs/design/paxos.md")]

extern crate alloc;

mod acceptor;
mod alone;
mod change;
pub mod codec;
mod config;
mod core;
mod election;
mod leader;
mod log;
mod membership;
mod message;
mod persist;
mod reads;
mod record;
mod types;

pub use crate::config::{Config, PlantedBug};
pub use crate::core::{
    ChangeId, Input, MemberStatus, Output, Paxos, ProposalId, ReadId, Role, Status,
};
pub use crate::leader::Footprint;
pub use crate::membership::{
    Ancestor, Change, HISTORY_MAX, LEVEL_MAX, Member, Membership, Policy, Refusal, Standing, View,
};
pub use crate::message::Message;
pub use crate::persist::PersistId;
pub use crate::record::{Base, Durable, Record};
pub use crate::types::{Ballot, Entry, NodeId, Payload, Slot};
