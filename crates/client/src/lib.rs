//! Client library: talks to a group of nodes as if it were one that does not fail.
//!
//! A [`Client`] keeps one connection and sends the requests of any number of tasks over it without
//! waiting in between. When its node breaks, hangs, stops or cannot reach a quorum, it goes on with the
//! next member by itself. Every write carries a reference, the same at each retry, so that it takes
//! effect once however often it was sent (spec P9); the references whose answers have come are
//! forgotten along the way (P10).
//!
//! ```no_run
//! # async fn example() -> Result<(), api::Error> {
//! let members = ["localhost:8000".to_string(), "localhost:8001".to_string()];
//! let client = client::Client::connect(&members, client::Options::default()).await?;
//! client.write("greeting", "hola").await?;
//! assert_eq!(client.read("greeting").await?, api::Value::from("hola"));
//! # Ok(())
//! # }
//! ```

mod backoff;
mod client;
mod connection;
mod cursor;
mod members;
mod operations;
mod references;
mod watch;

pub use client::{Client, Options};
pub use cursor::Cursor;
pub use operations::CasOutcome;
pub use watch::{Event, Watch};
