//! How nodes talk to each other (byte tables in `docs/design/peer-protocol.md`).
//!
//! Each node keeps one connection to every other member and only sends on it; what the other says comes
//! on a connection of its own. Messages may be lost: nothing here sends one twice, and no failure is
//! detected here beyond a connection that ends.

mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod greeting;
mod incoming;
mod outgoing;
mod peers;

pub(crate) use greeting::{GreetError, Greeting, Hello, greet};
pub(crate) use incoming::Incoming;
pub(crate) use peers::Peers;
