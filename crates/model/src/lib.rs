//! A model of the protocol of `docs/design/paxos.md`, small enough to look at every state it can be in.
//!
//! The implementation is in `crates/paxos`; nothing here runs it. The model says the same again in the
//! fewest possible words, leaves out what safety does not hang on (time, elections, windows, reads), lets
//! everything else happen in every order, and asks in each reachable state whether the invariants hold.
//! What it covers, what it leaves out and what it found is in `docs/design/model-check.md`.
//!
//! - [`Configuration`]: how large the model is, and which line of it is left out ([`PlantedBug`]).
//! - [`Protocol`]: a configuration as a `stateright` model: [`State`], [`Action`], properties.
//! - [`check`]: explores it and says what was seen.

mod acceptor;
mod canonical;
mod check;
mod configuration;
mod leader;
mod properties;
mod protocol;
mod state;
mod value;

pub use check::{Report, Search, check, check_until};
pub use configuration::{Configuration, PlantedBug};
pub use protocol::{Action, Protocol};
pub use state::{Node, Owning, Promise, Record, State, Violation};
pub use value::{Ballot, Entry, NodeIndex, Slot, Value, Voters};
