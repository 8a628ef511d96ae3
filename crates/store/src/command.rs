//! The log entry's payload: one write with its reference, in bytes (byte table in
//! `docs/design/store-format.md`).

mod changes;

use crate::codec::{Reader, Writer};
use api::{Expectation, FieldSchema, FieldType, IndexKey, IndexSpec, Reference, Request, Schema};

/// The first byte of every command.
pub const COMMAND_VERSION: u8 = 1;

/// One write as it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The unique name of the operation.
    pub reference: Reference,
    /// The client has the answers of all its references with a sequence below this one.
    pub acked: u64,
    /// The clock of the node that took the request, in milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// What to do; a write.
    pub request: Request,
}

/// Bytes that are not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {position}: expected {expected}")]
pub struct DecodeError {
    /// Where, in bytes from the start.
    pub position: usize,
    /// What should have stood there.
    pub expected: &'static str,
}

mod operation {
    pub(super) const CREATE: u8 = 1;
    pub(super) const DESTROY: u8 = 2;
    pub(super) const INSERT: u8 = 3;
    pub(super) const UPDATE: u8 = 4;
    pub(super) const DELETE: u8 = 5;
    pub(super) const WRITE: u8 = 6;
    pub(super) const SWAP: u8 = 7;
    pub(super) const CAS: u8 = 8;
    pub(super) const FORGET: u8 = 9;
    pub(super) const REPLACE: u8 = 10;
    pub(super) const MODIFY: u8 = 11;
    pub(super) const CREATE_INDEX: u8 = 20;
    pub(super) const DROP_INDEX: u8 = 21;
    pub(super) const ALTER: u8 = 22;
    pub(super) const BUILD_INDEX: u8 = 23;
    pub(super) const BATCH: u8 = 30;
    pub(super) const EXPECT_VALUE: u8 = 31;
    pub(super) const EXPECT_COUNT: u8 = 32;
    /// A request that is no write: it is refused when it is applied.
    pub(super) const REFUSED: u8 = 255;
}

const INDEX: u8 = 1;
const UNIQUE: u8 = 2;
const REQUIRED: u8 = 4;
const DEFAULT: u8 = 8;

mod index_flag {
    pub(super) const UNIQUE: u8 = 1;
    pub(super) const SPARSE: u8 = 2;
    pub(super) const FILTER: u8 = 4;
}

impl Command {
    /// The bytes of this command. The request must have passed [`crate::validate`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(512));
        writer.byte(COMMAND_VERSION);
        write_reference(&mut writer, &self.reference);
        writer.number(self.acked);
        writer.number(self.time_ms);
        write_request(&mut writer, &self.request);
        writer.0
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are anything else, with the place.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.byte("a command version")? != COMMAND_VERSION {
            return Err(DecodeError { position: 0, expected: "command version 1" });
        }
        let command = Command {
            reference: read_reference(&mut reader)?,
            acked: reader.number("an acknowledged sequence")?,
            time_ms: reader.number("a time")?,
            request: read_request(&mut reader)?,
        };
        reader.end()?;
        Ok(command)
    }
}

pub(crate) fn write_reference(writer: &mut Writer, reference: &Reference) {
    writer.string(&reference.client);
    writer.number(reference.sequence);
}

pub(crate) fn read_reference(reader: &mut Reader<'_>) -> Result<Reference, DecodeError> {
    let client = reader.string("a client")?;
    Ok(Reference::new(client, reader.number("a sequence")?))
}

fn write_request(writer: &mut Writer, request: &Request) {
    match request {
        Request::Create { collection, schema } => {
            writer.byte(operation::CREATE);
            writer.string(collection);
            write_schema(writer, schema);
        }
        Request::Destroy { collection } => {
            writer.byte(operation::DESTROY);
            writer.string(collection);
        }
        Request::Insert { collection, documents, list } => {
            writer.byte(operation::INSERT);
            writer.string(collection);
            writer.byte(u8::from(*list));
            writer.number(documents.len() as u64);
            for document in documents {
                writer.document(document);
            }
        }
        Request::Update { collection, filter, changes, options } => {
            writer.byte(operation::UPDATE);
            writer.string(collection);
            writer.document(filter);
            writer.document(changes);
            changes::write_update_options(writer, options);
        }
        Request::Replace { collection, filter, document, upsert } => {
            writer.byte(operation::REPLACE);
            writer.string(collection);
            writer.document(filter);
            writer.document(document);
            changes::write_upsert(writer, upsert);
        }
        Request::Modify { collection, filter, action, options } => {
            writer.byte(operation::MODIFY);
            writer.string(collection);
            writer.document(filter);
            changes::write_modify(writer, action, options);
        }
        Request::Delete { collection, filter, multi } => {
            writer.byte(operation::DELETE);
            writer.string(collection);
            writer.document(filter);
            writer.byte(u8::from(*multi));
        }
        Request::Write { key, value } => {
            writer.byte(operation::WRITE);
            writer.string(key);
            writer.value(value);
        }
        Request::Swap { key, value } => {
            writer.byte(operation::SWAP);
            writer.string(key);
            writer.value(value);
        }
        Request::Cas { key, expected, value } => {
            writer.byte(operation::CAS);
            writer.string(key);
            writer.value(expected);
            writer.value(value);
        }
        Request::Forget { reference } => {
            writer.byte(operation::FORGET);
            write_reference(writer, reference);
        }
        Request::CreateIndex { collection, index } => {
            writer.byte(operation::CREATE_INDEX);
            writer.string(collection);
            write_index(writer, index);
        }
        Request::DropIndex { collection, name } => {
            writer.byte(operation::DROP_INDEX);
            writer.string(collection);
            writer.string(name);
        }
        Request::Alter { collection, add, drop, check } => {
            writer.byte(operation::ALTER);
            writer.string(collection);
            write_schema(writer, add);
            writer.number(drop.len() as u64);
            for name in drop {
                writer.string(name);
            }
            writer.byte(u8::from(*check));
        }
        Request::BuildIndex { documents } => {
            writer.byte(operation::BUILD_INDEX);
            writer.number(u64::from(*documents));
        }
        Request::Batch { requests } => {
            writer.byte(operation::BATCH);
            writer.number(requests.len() as u64);
            for request in requests {
                write_request(writer, request);
            }
        }
        Request::Expect(Expectation::Value { key, value }) => {
            writer.byte(operation::EXPECT_VALUE);
            writer.string(key);
            writer.value(value);
        }
        Request::Expect(Expectation::Count { collection, filter, count }) => {
            writer.byte(operation::EXPECT_COUNT);
            writer.string(collection);
            writer.document(filter);
            writer.number(*count);
        }
        Request::Describe { .. }
        | Request::Search { .. }
        | Request::Count { .. }
        | Request::Distinct { .. }
        | Request::Aggregate { .. }
        | Request::Read { .. }
        | Request::Next { .. }
        | Request::Close { .. }
        | Request::Watch(_)
        | Request::Status { .. }
        | Request::Members
        | Request::Member(_)
        | Request::Fault(_)
        | Request::Hello { .. } => writer.byte(operation::REFUSED),
    }
}

/// The bytes that a request takes in a command.
pub(crate) fn request_bytes(request: &Request) -> usize {
    let mut writer = Writer::default();
    write_request(&mut writer, request);
    writer.0.len()
}

/// A batch stands alone or not at all: no batch in a batch is read, so the recursion has two levels.
fn read_batch(reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    let count = reader.count("a number of requests")?;
    let mut requests = Vec::new();
    for _ in 0..count {
        if reader.rest().first() == Some(&operation::BATCH) {
            return Err(reader.error("a request that is no batch"));
        }
        requests.push(read_request(reader)?);
    }
    Ok(Request::Batch { requests })
}

fn read_request(reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    const COLLECTION: &str = "a collection name";
    const KEY: &str = "a key";
    const VALUE: &str = "a value";
    const FILTER: &str = "a filter";
    Ok(match reader.byte("an operation")? {
        operation::CREATE => {
            let collection = reader.string(COLLECTION)?;
            Request::Create { collection, schema: read_schema(reader)? }
        }
        operation::DESTROY => Request::Destroy { collection: reader.string(COLLECTION)? },
        operation::INSERT => {
            let collection = reader.string(COLLECTION)?;
            let list = reader.flag("whether a list was sent")?;
            let count = reader.count("a number of documents")?;
            let documents = (0..count).map(|_| reader.document("a document"));
            let documents = documents.collect::<Result<_, _>>()?;
            Request::Insert { collection, documents, list }
        }
        operation::UPDATE => Request::Update {
            collection: reader.string(COLLECTION)?,
            filter: reader.document(FILTER)?,
            changes: reader.document("changes")?,
            options: changes::read_update_options(reader)?,
        },
        operation::REPLACE => Request::Replace {
            collection: reader.string(COLLECTION)?,
            filter: reader.document(FILTER)?,
            document: reader.document("a replacement")?,
            upsert: changes::read_upsert(reader)?,
        },
        operation::MODIFY => {
            let collection = reader.string(COLLECTION)?;
            let filter = reader.document(FILTER)?;
            let (action, options) = changes::read_modify(reader)?;
            Request::Modify { collection, filter, action, options }
        }
        operation::DELETE => Request::Delete {
            collection: reader.string(COLLECTION)?,
            filter: reader.document(FILTER)?,
            multi: reader.flag("whether all are deleted")?,
        },
        operation::WRITE => {
            Request::Write { key: reader.string(KEY)?, value: reader.value(VALUE)? }
        }
        operation::SWAP => Request::Swap { key: reader.string(KEY)?, value: reader.value(VALUE)? },
        operation::CAS => Request::Cas {
            key: reader.string(KEY)?,
            expected: reader.value(VALUE)?,
            value: reader.value(VALUE)?,
        },
        operation::FORGET => Request::Forget { reference: read_reference(reader)? },
        operation::CREATE_INDEX => Request::CreateIndex {
            collection: reader.string(COLLECTION)?,
            index: read_index(reader)?,
        },
        operation::DROP_INDEX => Request::DropIndex {
            collection: reader.string(COLLECTION)?,
            name: reader.string("an index name")?,
        },
        operation::ALTER => {
            let collection = reader.string(COLLECTION)?;
            let add = read_schema(reader)?;
            let count = reader.count("a number of fields")?;
            let drop = (0..count).map(|_| reader.string("a field name"));
            let drop = drop.collect::<Result<_, _>>()?;
            let check = reader.flag("whether documents are checked")?;
            Request::Alter { collection, add, drop, check }
        }
        operation::BATCH => read_batch(reader)?,
        operation::EXPECT_VALUE => Request::Expect(Expectation::Value {
            key: reader.string(KEY)?,
            value: reader.value(VALUE)?,
        }),
        operation::EXPECT_COUNT => Request::Expect(Expectation::Count {
            collection: reader.string(COLLECTION)?,
            filter: reader.document(FILTER)?,
            count: reader.number("a number of documents")?,
        }),
        operation::BUILD_INDEX => {
            let documents = u32::try_from(reader.number("a number of documents")?);
            let documents = documents.map_err(|_| reader.error("a number of documents"))?;
            Request::BuildIndex { documents }
        }
        operation::REFUSED => Request::Status { hash: false },
        _ => return Err(reader.error("a known operation")),
    })
}

pub(crate) fn write_schema(writer: &mut Writer, schema: &Schema) {
    writer.number(schema.fields.len() as u64);
    for field in &schema.fields {
        writer.string(&field.name);
        writer.string(field.kind.as_str());
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        writer.byte(
            flag(field.index, INDEX)
                | flag(field.unique, UNIQUE)
                | flag(field.required, REQUIRED)
                | flag(field.default.is_some(), DEFAULT),
        );
        if let Some(default) = &field.default {
            writer.value(default);
        }
    }
}

pub(crate) fn read_schema(reader: &mut Reader<'_>) -> Result<Schema, DecodeError> {
    let count = reader.count("a number of fields")?;
    let mut fields = Vec::new();
    for _ in 0..count {
        let name = reader.string("a field name")?;
        let kind = reader.string("a field type")?;
        let kind = FieldType::parse(&kind).ok_or_else(|| reader.error("a known field type"))?;
        let flags = reader.byte("field flags")?;
        if flags & !(INDEX | UNIQUE | REQUIRED | DEFAULT) != 0 {
            return Err(reader.error("known field flags"));
        }
        let set = |bit: u8| flags & bit != 0;
        let (index, unique, required) = (set(INDEX), set(UNIQUE), set(REQUIRED));
        let default = set(DEFAULT).then(|| reader.value("a default")).transpose()?;
        fields.push(FieldSchema { name, kind, index, unique, required, default });
    }
    Ok(Schema { fields })
}

pub(crate) fn write_index(writer: &mut Writer, index: &IndexSpec) {
    writer.string(&index.name);
    writer.number(index.keys.len() as u64);
    for key in &index.keys {
        writer.string(&key.path);
        writer.byte(u8::from(key.descending));
    }
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    writer.byte(
        flag(index.unique, index_flag::UNIQUE)
            | flag(index.sparse, index_flag::SPARSE)
            | flag(index.filter.is_some(), index_flag::FILTER),
    );
    if let Some(filter) = &index.filter {
        writer.document(filter);
    }
}

pub(crate) fn read_index(reader: &mut Reader<'_>) -> Result<IndexSpec, DecodeError> {
    let name = reader.string("an index name")?;
    let count = reader.count("a number of fields")?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let path = reader.string("a field path")?;
        let descending = reader.flag("whether the field descends")?;
        keys.push(IndexKey { path, descending });
    }
    let flags = reader.byte("index flags")?;
    if flags & !(index_flag::UNIQUE | index_flag::SPARSE | index_flag::FILTER) != 0 {
        return Err(reader.error("known index flags"));
    }
    let set = |bit: u8| flags & bit != 0;
    let filter = set(index_flag::FILTER).then(|| reader.document("a filter")).transpose()?;
    let (unique, sparse) = (set(index_flag::UNIQUE), set(index_flag::SPARSE));
    Ok(IndexSpec { name, keys, unique, sparse, filter })
}
