//! What a client can say to MondongoDB and what it can hear back.
//!
//! This crate is the vocabulary shared by every other one: [values](value) and their total
//! [order], [requests](request) and their [options](request::Options), [replies](error) with
//! stable error codes, [references](mod@reference) that make a retry harmless, the [schema] of a
//! collection, the [JSON](json) form of all of them, the [bytes](binary) of documents and the [frames](frame) that carry
//! them.
//!
//! **Invariants of absence.** No socket, no file, no clock, no thread, no randomness: bytes come in
//! and values go out. Nothing here knows of consensus or of the store.

pub mod binary;
pub mod encode;
pub mod error;
pub mod frame;
pub mod json;
pub mod limits;
pub mod order;
pub mod parse;
pub mod path;
pub mod reference;
pub mod request;
pub mod schema;
pub mod value;

pub use error::{Error, ErrorCode};
pub use reference::Reference;
pub use request::{
    Call, Expectation, FaultSwitch, Level, MemberChange, ModifyAction, ModifyOptions, Options,
    Place, Request, SearchOptions, Subject, UpdateOptions, Upsert, Watch,
};
pub use schema::{FieldSchema, FieldType, IndexKey, IndexSpec, Schema};
pub use value::{Document, Value};
