//! What the differential tests share: documents and questions drawn from a seed, and a naive model
//! of the language.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod draw;
pub(crate) mod model;
