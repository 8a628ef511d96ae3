//! What must never break, over all nodes and clients.

mod agreement;
mod linearizable;

pub use agreement::Agreement;
pub use linearizable::{Action, History, Operation};
