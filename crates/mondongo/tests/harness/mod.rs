//! What tests and `examples/faults` share: clients that write down what they did, networks that can be
//! cut, and the demand that all nodes hold the same.
//!
//! Both include this folder by its path; each uses a part of it.

#![allow(dead_code, reason = "the tests use one part, the example another")]

pub(crate) mod history;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod raw;
pub(crate) mod same;
pub(crate) mod workload;

use std::time::Duration;

/// How long anything that is waited for may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
