#![no_std]
#![doc = include_str!("../../../docs/design/paxos.md")]

extern crate alloc;

mod acceptor;
pub mod codec;
mod config;
mod core;
mod election;
mod leader;
mod log;
mod message;
mod persist;
mod reads;
mod record;
mod types;

pub use crate::config::{Config, PlantedBug};
pub use crate::core::{
    Change, Input, MemberStatus, Output, Paxos, ProposalId, ReadId, Role, Status,
};
pub use crate::message::Message;
pub use crate::persist::PersistId;
pub use crate::record::{Durable, Record};
pub use crate::types::{Ballot, Entry, Member, Membership, NodeId, Payload, Slot};
