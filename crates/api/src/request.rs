//! Requests: what a client can ask, after parsing (spec §3).

use crate::reference::Reference;
use crate::schema::{IndexSpec, Schema};
use crate::value::{Document, ID_FIELD, Value};

/// One request with its options.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// How it is asked.
    pub options: Options,
}

/// The options every request may carry (spec §3, "Options object").
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// `ref`: the unique name of this operation; writes only.
    pub reference: Option<Reference>,
    /// `acked`: the client has the answers of all its references with a sequence below this one, so
    /// they can be forgotten (spec P10). Only with `ref`.
    pub acked: Option<u64>,
    /// `level`: how fresh a read must be.
    pub level: Level,
    /// `timeout_ms`: how long the answer may take; at most [`crate::limits::TIMEOUT_MS_MAX`].
    pub timeout_ms: Option<u64>,
    /// `wait`: the answer comes when the index is ready, or could not be built; `create_index` only.
    pub wait: bool,
}

/// How fresh a read must be (spec P6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Level {
    /// It sees every write acknowledged anywhere before the read began.
    #[default]
    Linearizable,
    /// It sees this node's last applied state.
    Local,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `["create", col, schema]` (D6): a new collection. Answer: `null`.
    Create {
        /// The collection's name.
        collection: String,
        /// Its schema.
        schema: Schema,
    },
    /// `["describe"]`, `["describe", col]` (D7). Answer: a document (name → description), or one
    /// description: `{"schema": long form, "indexes": [..], "documents": count}`; of an index its
    /// name, keys, options, state and, while it is built, how far that is.
    Describe {
        /// The collection, or all of them.
        collection: Option<String>,
    },
    /// `["destroy", col]` (D8). Answer: `null`.
    Destroy {
        /// The collection's name.
        collection: String,
    },
    /// `["insert", col, doc]`, `["insert", col, [doc, …]]` (D9): all or nothing. Every document has
    /// an `_id` by the time it is proposed. Answer: the `_id`, or the list of them.
    Insert {
        /// The collection's name.
        collection: String,
        /// The documents.
        documents: Vec<Document>,
        /// Whether the client sent a list, and gets one.
        list: bool,
    },
    /// `["search", col, query]` (D10). Answer: the list of documents; a number with `count`; a
    /// document with `explain`.
    Search {
        /// The collection's name.
        collection: String,
        /// The filter.
        filter: Document,
        /// Sort, limit, skip, fields, count, explain.
        search: SearchOptions,
    },
    /// `["update", col, query, changes]` (D11): one atomic step. Answer: number changed; with
    /// `upsert` a document `{"matched": n, "changed": n, "upserted": _id or null}`.
    Update {
        /// The collection's name.
        collection: String,
        /// Which documents.
        filter: Document,
        /// Fields to set, or operators.
        changes: Document,
        /// How many, and what to do if there are none.
        options: UpdateOptions,
    },
    /// `["replace", col, query, doc]` (D11): the first document meant, in the order of `_id`, gets
    /// these fields instead of its own. Answer: as that of `update`.
    Replace {
        /// The collection's name.
        collection: String,
        /// Which document.
        filter: Document,
        /// Its new fields; its `_id` stays.
        document: Document,
        /// What to do if there is none.
        upsert: Upsert,
    },
    /// `["modify", col, query, changes]` (D11): changes or removes the first document meant. Answer:
    /// that document before or after it, or null.
    Modify {
        /// The collection's name.
        collection: String,
        /// Which document.
        filter: Document,
        /// What to do with it.
        action: ModifyAction,
        /// Which is the first, and what to answer.
        options: ModifyOptions,
    },
    /// `["delete", col, query]` (D12): one atomic step. Answer: number deleted.
    Delete {
        /// The collection's name.
        collection: String,
        /// Which documents.
        filter: Document,
        /// Option `multi`: all of them (the default), or the first in the order of `_id`.
        multi: bool,
    },
    /// `["count", col, query]` (D10). Answer: the number of documents.
    Count {
        /// The collection's name.
        collection: String,
        /// Which documents.
        filter: Document,
    },
    /// `["distinct", col, field, query]` (D10). Answer: the different values, in their order; a list
    /// counts as its elements.
    Distinct {
        /// The collection's name.
        collection: String,
        /// The path of the field.
        field: String,
        /// Which documents.
        filter: Document,
    },
    /// `["aggregate", col, [stage, …]]` (D10). Answer: the documents that come out of the last stage.
    Aggregate {
        /// The collection's name.
        collection: String,
        /// The stages, first one first.
        pipeline: Vec<Document>,
        /// `batch`: answer in parts of at most so many, `{"documents":[…],"cursor":…}`.
        batch: Option<u64>,
    },
    /// `["create_index", col, keys]` with options `name`, `unique`, `sparse`, `where`. What a first step
    /// does not finish is built while writes go on. Answer: `{"name":..,"state":"ready"|"building"}`.
    CreateIndex {
        /// The collection's name.
        collection: String,
        /// What it is made of.
        index: IndexSpec,
    },
    /// `["drop_index", col, name]`. Answer: `null`.
    DropIndex {
        /// The collection's name.
        collection: String,
        /// The index's name.
        name: String,
    },
    /// `["alter", col, {"add":{fields},"drop":[names]}]` with option `check`. Answer: `null`.
    Alter {
        /// The collection's name.
        collection: String,
        /// Fields to declare; one that is declared already is declared anew.
        add: Schema,
        /// Fields to declare no more, with the indexes that came with them.
        drop: Vec<String>,
        /// Whether the documents that are there must fit.
        check: bool,
    },
    /// One more step of the oldest index that is being built. The leader itself proposes it; no client can
    /// ask for it. Answer: `null`.
    BuildIndex {
        /// Most documents to look at; the store has a bound of its own.
        documents: u32,
    },
    /// `["read", key]` (P1). Answer: the value; `null` or, by option, `""` where absent.
    Read {
        /// The key.
        key: String,
        /// Option `empty`: answer `""` where the key is absent.
        empty_if_absent: bool,
    },
    /// `["write", key, value]` (P2). Answer: the value written. `null` removes the key.
    Write {
        /// The key.
        key: String,
        /// The value.
        value: Value,
    },
    /// `["swap", key, value]` (P3). Answer: the value before, `null` where absent.
    Swap {
        /// The key.
        key: String,
        /// The value.
        value: Value,
    },
    /// `["cas", key, expected, value]` (X1): writes only if the value is `expected` (`null`:
    /// absent). Answer: `{"swapped":true}` or `{"swapped":false,"current":value}`.
    Cas {
        /// The key.
        key: String,
        /// The value that must be there.
        expected: Value,
        /// The value to write.
        value: Value,
    },
    /// `["batch", [request, …]]` (X1): several writes, and conditions, as one atomic step. Answer: the
    /// list of their answers.
    Batch {
        /// Writes and conditions, in order: a later one sees what earlier ones did.
        requests: Vec<Request>,
    },
    /// `["expect", …]` (X1): a condition within a batch, which does nothing if it does not hold. Answer:
    /// `true`.
    Expect(Expectation),
    /// `["next", cursor]` (X2): the next part of a long result. Answer: as of a search with `batch`.
    Next {
        /// The cursor.
        cursor: String,
        /// Option `batch`: most documents of this part.
        batch: Option<u64>,
        /// Option `pass_long`: as that of a search.
        pass_long: bool,
    },
    /// `["close", cursor]` (X2): the rest of a long result is not wanted. Answer: whether there was one.
    Close {
        /// The cursor.
        cursor: String,
    },
    /// `["watch", {…}]` (X1): the next part of a feed of changes. Answer: `{"events": […], "next":
    /// [slot, position]}`.
    Watch(Watch),
    /// `["forget", ref]` (P4): drops a reference's answer. Answer: whether it was there.
    Forget {
        /// The reference to drop.
        reference: Reference,
    },
    /// `["status"]` (X3). Answer: a document.
    Status {
        /// Option `hash`: also the hash of the store's whole content, as `hash`, and the applied slot
        /// it holds for, as `hash_slot`. It reads the whole store.
        hash: bool,
    },
    /// `["members"]` (X3). Answer: a list of documents.
    Members,
    /// `["member", action, node]` (D16): changes who takes part, or who leads. Answer: the members.
    Member(MemberChange),
    /// `["deaf"]`, `["listen"]`, `["unreliable", loss]`, `["reliable"]` (P5): turns a fault of the node
    /// that is asked on or off. Answer: which faults are on now.
    Fault(FaultSwitch),
    /// `["hello", {"frame":4}]` (X2): the connection's frame length field. Answered by the gateway.
    Hello {
        /// Bytes of the length field: 2 or 4.
        frame_length_bytes: u8,
    },
}

/// What must hold for a batch to be carried out (X1).
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// `["expect", key, value]`: the key holds this value; `null`: none.
    Value {
        /// The key.
        key: String,
        /// The value that must be there.
        value: Value,
    },
    /// `["expect", col, query, count]`: so many documents match.
    Count {
        /// The collection's name.
        collection: String,
        /// Which documents.
        filter: Document,
        /// How many there must be.
        count: u64,
    },
}

/// Which changes a watch asks for (X1).
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// What is watched.
    pub subject: Subject,
    /// Only changes whose document, as it is afterwards, matches; deletions always do.
    pub filter: Option<Document>,
    /// The first change wanted; none: the first one after now.
    pub from: Option<Place>,
    /// Option `batch`: most events of one answer.
    pub batch: Option<u64>,
}

/// What a watch looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `{"collection": name}`: the documents of a collection, and that it is created or destroyed.
    Collection(String),
    /// `{"key": key}`: one key.
    Key(String),
    /// `{"prefix": text}`: all keys that begin with it; all there are, if it is empty.
    Prefix(String),
}

/// A place in the feed of changes: where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The slot of the log.
    pub slot: u64,
    /// How many changes of that slot are behind.
    pub position: u64,
}

/// A wish about who takes part (D16). A node is named by its identity or its address, as `["members"]` shows
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// `["member", "add", node]`: lets a node that was removed join again.
    Add {
        /// Its identity.
        node: String,
    },
    /// `["member", "remove", node]`: the node takes part no more.
    Remove {
        /// Which.
        node: String,
    },
    /// `["member", "promote", node]`: a node that catches up counts from now on.
    Promote {
        /// Which.
        node: String,
    },
    /// `["member", "lead", node]`: the node leads; without a node, whoever is best prepared but for the present
    /// leader.
    Lead {
        /// Which.
        node: Option<String>,
    },
    /// `["member", "alone_other_is_gone_for_good", node]`: the node that is asked, one of two voters, goes on without the other, of which the
    /// operator vouches that it is gone for good.
    Alone {
        /// The one that is gone.
        without: String,
    },
    /// `["member", "raise", level]`: entries of the log are of this feature level from now on; nodes that do not know it stop.
    Raise {
        /// The level, from 1.
        level: u32,
    },
}

impl MemberChange {
    /// The action and the node or level, as on the wire.
    pub fn words(&self) -> (&'static str, Option<Value>) {
        let text = |node: &String| Some(Value::String(node.clone()));
        match self {
            MemberChange::Add { node } => ("add", text(node)),
            MemberChange::Remove { node } => ("remove", text(node)),
            MemberChange::Promote { node } => ("promote", text(node)),
            MemberChange::Lead { node } => ("lead", node.as_ref().and_then(text)),
            MemberChange::Alone { without } => ("alone_other_is_gone_for_good", text(without)),
            MemberChange::Raise { level } => ("raise", Some(Value::Int64(i64::from(*level)))),
        }
    }
}

/// What a fault switch does to the messages between a node and the others (P5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultSwitch {
    /// The node takes no message of other nodes; it may still send.
    Deaf,
    /// It is not deaf any more.
    Listen,
    /// Of the messages that come in, and of those that go out, each is lost with probability `loss`.
    Unreliable {
        /// From 0 to 1.
        loss: f64,
    },
    /// It loses nothing any more.
    Reliable,
}

impl FaultSwitch {
    /// The name of the operation on the wire.
    pub fn name(self) -> &'static str {
        match self {
            FaultSwitch::Deaf => "deaf",
            FaultSwitch::Listen => "listen",
            FaultSwitch::Unreliable { .. } => "unreliable",
            FaultSwitch::Reliable => "reliable",
        }
    }
}

/// The options of a search (D10).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SearchOptions {
    /// `sort`: field paths with 1 (ascending) or -1 (descending), first key first.
    pub sort: Vec<(String, i8)>,
    /// `limit`: most documents to answer; none or 0: all.
    pub limit: Option<u64>,
    /// `skip`: matching documents to leave out first.
    pub skip: u64,
    /// `fields`: projection; `{"a":1}` only these (and `_id`), `{"a":0}` all but these.
    pub fields: Option<Document>,
    /// `count`: answer the number of matching documents instead of the documents.
    pub count: bool,
    /// `explain`: answer the plan and what it examined instead of the documents.
    pub explain: bool,
    /// `batch`: answer at most so many documents at once, and a cursor for the rest.
    pub batch: Option<u64>,
    /// `pass_long`: documents that are too long for an answer of their own are passed over, and their `_id`s answered
    /// as `too_long`; only with `batch`.
    pub pass_long: bool,
    /// `hint`: the index to use, by its name or its keys; `"_id_"`: the documents themselves, in the
    /// order of `_id`.
    pub hint: Option<Value>,
}

/// The options of an update (D11).
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateOptions {
    /// `multi`: change all documents meant (the default), or the first in the order of `_id`.
    pub multi: bool,
    /// `upsert`: what to do if no document is meant.
    pub upsert: Upsert,
    /// `array_filters`: the conditions that `$[name]` in a path of the changes stands for.
    pub array_filters: Vec<Document>,
}

impl Default for UpdateOptions {
    fn default() -> UpdateOptions {
        UpdateOptions { multi: true, upsert: Upsert::No, array_filters: Vec::new() }
    }
}

/// What a write does that finds no document to change.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Upsert {
    /// Nothing.
    #[default]
    No,
    /// It inserts one, made from what the query says by equality and from the changes.
    Insert {
        /// The `_id` that the new document gets if neither query nor changes name one. Whoever takes
        /// the request draws it, before it is proposed; there is one by the time it is applied.
        new_id: Option<Value>,
    },
}

impl Upsert {
    /// Whether a document may be inserted.
    pub fn is_insert(&self) -> bool {
        matches!(self, Upsert::Insert { .. })
    }
}

/// What `modify` does with the document that it finds.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub enum ModifyAction {
    /// Changes it.
    Update {
        /// Fields to set, or operators.
        changes: Document,
        /// What to do if there is none.
        upsert: Upsert,
        /// Option `return`: answer the document as it is afterwards (`"after"`), rather than as it was
        /// (`"before"`, the default).
        after: bool,
        /// `array_filters`, as for an update.
        array_filters: Vec<Document>,
    },
    /// Option `remove`: deletes it.
    Remove,
}

/// Which document `modify` takes and what of it is answered.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ModifyOptions {
    /// `sort`: field paths with 1 or -1; of several documents meant the first is taken.
    pub sort: Vec<(String, i8)>,
    /// `fields`: projection of the answer.
    pub fields: Option<Document>,
}

impl Request {
    /// Calls `draw` for each `_id` that is still to be drawn, before the request is proposed: of
    /// documents to insert that have none, and of one that an upsert may make.
    pub fn draw_ids(&mut self, draw: &mut dyn FnMut() -> Value) {
        match self {
            Request::Insert { documents, .. } => {
                for document in documents {
                    if !document.contains_key(ID_FIELD) {
                        put_id_first(document, draw());
                    }
                }
            }
            Request::Update { options: UpdateOptions { upsert, .. }, .. }
            | Request::Replace { upsert, .. }
            | Request::Modify { action: ModifyAction::Update { upsert, .. }, .. } => {
                if let Upsert::Insert { new_id: new_id @ None } = upsert {
                    *new_id = Some(draw());
                }
            }
            // One level: a batch holds no batch.
            Request::Batch { requests } => {
                for request in requests {
                    request.draw_ids(draw);
                }
            }
            _ => {}
        }
    }

    /// Whether it changes the store, so that it must go through the log.
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Request::Create { .. }
                | Request::Destroy { .. }
                | Request::Insert { .. }
                | Request::Update { .. }
                | Request::Replace { .. }
                | Request::Modify { .. }
                | Request::Delete { .. }
                | Request::Write { .. }
                | Request::Swap { .. }
                | Request::Cas { .. }
                | Request::Batch { .. }
                | Request::Forget { .. }
                | Request::CreateIndex { .. }
                | Request::DropIndex { .. }
                | Request::Alter { .. }
                | Request::BuildIndex { .. }
        )
    }

    /// The operation's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Create { .. } => "create",
            Request::Describe { .. } => "describe",
            Request::Destroy { .. } => "destroy",
            Request::Insert { .. } => "insert",
            Request::Search { .. } => "search",
            Request::Update { .. } => "update",
            Request::Replace { .. } => "replace",
            Request::Modify { .. } => "modify",
            Request::Delete { .. } => "delete",
            Request::Count { .. } => "count",
            Request::Distinct { .. } => "distinct",
            Request::Aggregate { .. } => "aggregate",
            Request::CreateIndex { .. } => "create_index",
            Request::DropIndex { .. } => "drop_index",
            Request::Alter { .. } => "alter",
            Request::BuildIndex { .. } => "build_index",
            Request::Read { .. } => "read",
            Request::Write { .. } => "write",
            Request::Swap { .. } => "swap",
            Request::Cas { .. } => "cas",
            Request::Batch { .. } => "batch",
            Request::Expect(_) => "expect",
            Request::Next { .. } => "next",
            Request::Close { .. } => "close",
            Request::Watch(_) => "watch",
            Request::Forget { .. } => "forget",
            Request::Status { .. } => "status",
            Request::Members => "members",
            Request::Member(_) => "member",
            Request::Fault(switch) => switch.name(),
            Request::Hello { .. } => "hello",
        }
    }
}

/// Puts an `_id` before the other fields of a document.
fn put_id_first(document: &mut Document, id: Value) {
    let rest = std::mem::take(document);
    document.insert(ID_FIELD, id);
    document.extend(rest);
}
