//! Request lists: every operation and alias, what is refused and in which words.

use api::encode::write_call;
use api::parse::{OPERATIONS, parse_call, parse_schema, schema_document};
use api::{
    Call, Document, ErrorCode, Expectation, FaultSwitch, FieldSchema, FieldType, IndexKey,
    IndexSpec, Level, MemberChange, ModifyAction, ModifyOptions, Options, Place, Reference,
    Request, Schema, SearchOptions, Subject, UpdateOptions, Upsert, Value, Watch,
};
use proptest::prelude::*;

fn call(text: &str) -> Call {
    parse_call(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn request(text: &str) -> Request {
    call(text).request
}

/// The refusal of `text`, written as on the wire.
fn refusal(text: &str) -> String {
    parse_call(text.as_bytes()).expect_err(text).to_string()
}

fn document(text: &str) -> Document {
    api::json::parse_document(text.as_bytes()).expect("a document")
}

#[test]
fn the_requests_of_the_seed_are_understood() {
    assert_eq!(
        request(r#"["insert", "users", {"email":"a", "name":"a", "age":18}]"#),
        Request::Insert {
            collection: "users".into(),
            documents: vec![document(r#"{"email":"a","name":"a","age":18}"#)],
            list: false,
        }
    );
    assert_eq!(
        request(r#"["search", "users", {"email":"a"}]"#),
        Request::Search {
            collection: "users".into(),
            filter: document(r#"{"email":"a"}"#),
            search: SearchOptions::default(),
        }
    );
}

#[test]
fn every_alias_means_its_operation() {
    let cases = [
        ("[\"NAME\",\"k\"]", vec!["read", "lee", "get"]),
        ("[\"NAME\",\"k\",1]", vec!["write", "escribe", "put"]),
        ("[\"NAME\",\"k\",1]", vec!["swap", "write_hash", "escribe_hash"]),
        ("[\"NAME\",\"c:1\"]", vec!["forget", "borrar_ref"]),
    ];
    for (template, names) in cases {
        let meanings: Vec<Request> =
            names.iter().map(|name| request(&template.replace("NAME", name))).collect();
        assert_eq!(meanings[0].name(), names[0]);
        assert!(meanings.windows(2).all(|pair| pair[0] == pair[1]), "{names:?}");
    }
}

#[test]
fn the_number_of_arguments_tells_options_from_an_argument() {
    let Request::Write { value, .. } = request(r#"["write","k",{"ref":"c:1"}]"#) else { panic!() };
    assert_eq!(value, Value::Document(document(r#"{"ref":"c:1"}"#)));
    let with_options = call(r#"["write","k",{"ref":"c:1"},{"ref":"d:2","acked":2}]"#);
    assert_eq!(with_options.options.reference, Some(Reference::new("d", 2)));
    assert_eq!(with_options.options.acked, Some(2));
    assert_eq!(
        call(r#"["describe",{"level":"local"}]"#),
        Call {
            request: Request::Describe { collection: None },
            options: Options { level: Level::Local, ..Options::default() },
        }
    );
    assert_eq!(
        request(r#"["describe","users",{"timeout_ms":5}]"#),
        Request::Describe { collection: Some("users".into()) }
    );
    assert_eq!(request(r#"["hello",{"frame":4}]"#), Request::Hello { frame_length_bytes: 4 });
    assert_eq!(
        request(r#"["read","k",{"empty":true}]"#),
        Request::Read { key: "k".into(), empty_if_absent: true }
    );
}

#[test]
fn a_sort_has_four_spellings() {
    let sort_of = |sort: &str| match request(&format!(r#"["search","c",{{}},{{"sort":{sort}}}]"#)) {
        Request::Search { search, .. } => search.sort,
        other => panic!("{other:?}"),
    };
    let both = vec![("a".to_string(), 1), ("b.c".to_string(), -1)];
    assert_eq!(sort_of(r#"{"a":1,"b.c":-1}"#), both);
    assert_eq!(sort_of(r#"[["a",1],["b.c",-1.0]]"#), both);
    assert_eq!(sort_of(r#"["a","-b.c"]"#), both);
    assert_eq!(sort_of(r#""-a""#), vec![("a".to_string(), -1)]);
}

#[test]
fn refusals_name_operation_position_expected_and_got() {
    let cases = [
        ("", "bad_request: the JSON text is empty"),
        ("[1,", "bad_request: not valid JSON: EOF while parsing a value at line 1 column 3"),
        ("{}", "bad_request: a request is a list [operation, arg1, …], got an object"),
        ("[]", "bad_request: the request is an empty list, it lacks the operation"),
        ("[7]", "bad_request: argument 0 (operation) must be a string, got a number 7"),
        (
            r#"["insert"]"#,
            "bad_request: insert takes 2 arguments and at most one object of options, \
            got 0; write [\"insert\", collection, documents]",
        ),
        (
            r#"["read"]"#,
            "bad_request: read takes 1 argument and at most one object of options, \
            got 0; write [\"read\", key]",
        ),
        (
            r#"["read","k","l"]"#,
            "bad_request: read takes 1 argument and at most one object of \
            options, got 2; write [\"read\", key]",
        ),
        (
            r#"["status",1]"#,
            "bad_request: status takes no arguments and at most one object of \
            options, got 1; write [\"status\"]",
        ),
        (
            r#"["insert","c",5]"#,
            "bad_request: insert: argument 2 (documents) must be an object or \
            a list of objects, got a number 5",
        ),
        (
            r#"["insert","c",[{},"x"]]"#,
            "bad_request: insert: argument 2 (documents) must be a list \
            of objects, at its position 1, got a string \"x\"",
        ),
        (
            r#"["search",{},{}]"#,
            "bad_request: search: argument 1 (collection) must be a string, \
            got an object",
        ),
        (
            r#"["search","",{}]"#,
            "bad_request: search: argument 1 (collection) must be a name, \
            got an empty string",
        ),
        (r#"["read",null]"#, "bad_request: read: argument 1 (key) must be a string, got null"),
        (
            r#"["read","k",{"levle":"local"}]"#,
            "unknown_option: read: unknown option \"levle\"; \
            known here: empty, level, timeout_ms",
        ),
        (
            r#"["read","k",{"ref":"c:1"}]"#,
            "unknown_option: read: unknown option \"ref\"; \
            known here: empty, level, timeout_ms",
        ),
        (
            r#"["write","k",1,{"level":"local"}]"#,
            "unknown_option: write: unknown option \"level\"; \
            known here: ref, acked, timeout_ms",
        ),
        (
            r#"["read","k",{"level":"fresh"}]"#,
            "bad_request: read: option level must be \
            \"linearizable\" or \"local\", got a string \"fresh\"",
        ),
        (
            r#"["read","k",{"timeout_ms":0}]"#,
            "bad_request: read: option timeout_ms must be 1 to \
            600000, got 0",
        ),
        (
            r#"["search","c",{},{"limit":-1}]"#,
            "bad_request: search: option limit must be a whole \
            number from 0, got a number -1",
        ),
        (
            r#"["search","c",{},{"sort":{"a":2}}]"#,
            "bad_request: option sort: the direction must be \
            1 or -1, got a number 2",
        ),
        (
            r#"["search","c",{},{"sort":"a..b"}]"#,
            "bad_request: option sort: \"a..b\" is not a \
            field path",
        ),
        (
            r#"["write","k",1,{"acked":3}]"#,
            "bad_request: write: option acked goes with option ref \
            only",
        ),
        (
            r#"["write","k",1,{"ref":"c:2","acked":3}]"#,
            "bad_request: write: option acked is 3, \
            beyond the request's own sequence 2",
        ),
        (r#"["hello",{"frame":8}]"#, "bad_request: hello: frame must be 2 or 4, got a number 8"),
        (
            r#"["hello",{"frames":4}]"#,
            "unknown_option: hello: unknown setting \"frames\"; known: \
            frame",
        ),
        (
            r#"["create","c",{"a":"text"}]"#,
            "bad_request: schema: field \"a\" has unknown type \
            \"text\"; known: str, int, float, bool, date, list, doc, any",
        ),
        (
            r#"["create","c",{"a.b":"str"}]"#,
            "bad_request: schema: field \"a.b\" has a name with a \
            dot, a NUL or a $ at its start",
        ),
        (
            r#"["create","c",{"*$a":"str"}]"#,
            "bad_request: schema: field \"$a\" has a name with a \
            dot, a NUL or a $ at its start",
        ),
        (
            r#"["create","c",{"**a":"str"}]"#,
            "bad_request: schema: field \"*a\" has a name that begins with *: one * before the name \
            means indexed, the name itself must begin otherwise",
        ),
        (
            r#"["create","c",{"*a":"str","a":"int"}]"#,
            "bad_request: schema: field \"a\" is declared \
            twice",
        ),
        (
            r#"["create","c",{"a":{"kind":"str"}}]"#,
            "bad_request: schema: field \"a\" unknown \
            property \"kind\"; known: type, index, unique, required, default",
        ),
        (
            r#"["unreliable"]"#,
            "bad_request: unreliable takes 1 argument and at most one object of options, got 0; \
            write [\"unreliable\", loss]",
        ),
        (
            r#"["no_fiable",1.5]"#,
            "bad_request: unreliable: argument 1 (loss) must be a number from 0 to 1, got a number 1.5",
        ),
        (
            r#"["batch",[["write","k",1],["read","k"]]]"#,
            "bad_request: batch: position 1 (read): a batch holds writes, and expect, only",
        ),
        (
            r#"["batch",[["write","k"]]]"#,
            "bad_request: batch: position 0 (write): write takes 2 arguments and at most one object \
            of options, got 1; write [\"write\", key, value]",
        ),
        (
            r#"["batch",[["write","k",1,{"ref":"c:1"}]]]"#,
            "bad_request: batch: position 0 (write): the options ref, acked and timeout_ms belong to \
            the batch, not to a request in it",
        ),
        (
            r#"["batch",[["batch",[]]]]"#,
            "bad_request: batch: position 0 (batch): a batch holds no batch; put its requests into \
            this one",
        ),
        (r#"["batch",[]]"#, "bad_request: batch: the list of requests is empty"),
        (
            r#"["expect","k",1]"#,
            "bad_request: expect is a condition of a batch: write it into one, [\"batch\", \
            [[\"expect\", …], …]]",
        ),
        (
            r#"["search","c",{},{"batch":0}]"#,
            "bad_request: search: option batch must be 1 to 100000, got 0",
        ),
        (
            r#"["watch",{"key":"k","prefix":"k"}]"#,
            "bad_request: watch: name one of collection, key and prefix, not several",
        ),
        (
            r#"["watch",{"key":"k","filter":{}}]"#,
            "bad_request: watch: filter goes with collection only",
        ),
        (
            r#"["watch",{"key":"k","from":-1}]"#,
            "bad_request: watch: from must be a slot or [slot, position], from 0, got a number -1",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected, "{text}");
    }
    assert!(
        refusal(r#"["drop","c"]"#).starts_with("unknown_operation: \"drop\" is not an operation")
    );
    let long_key = format!("[\"read\",\"{}\"]", "k".repeat(1025));
    assert_eq!(
        refusal(&long_key),
        "too_large: read: argument 1 (key) may have 1024 bytes at most, got 1025"
    );
}

/// P5.
#[test]
fn fault_switches_have_names_in_both_languages() {
    let unreliable = |loss| FaultSwitch::Unreliable { loss };
    for (texts, switch) in [
        ([r#"["deaf"]"#, r#"["sordo"]"#], FaultSwitch::Deaf),
        ([r#"["listen"]"#, r#"["escucha"]"#], FaultSwitch::Listen),
        ([r#"["unreliable",0.25]"#, r#"["no_fiable",0.25]"#], unreliable(0.25)),
        ([r#"["unreliable",1]"#, r#"["no_fiable",1.0]"#], unreliable(1.0)),
        ([r#"["reliable"]"#, r#"["fiable"]"#], FaultSwitch::Reliable),
    ] {
        for text in texts {
            let parsed = call(text);
            assert_eq!(parsed.request, Request::Fault(switch), "{text}");
            assert!(!parsed.request.is_write());
            let mut written = Vec::new();
            write_call(&parsed, &mut written);
            assert_eq!(parse_call(&written), Ok(parsed), "{text}");
        }
    }
}

#[test]
fn documents_nest_as_deep_as_allowed_and_no_deeper() {
    let document = |levels: usize| "{\"a\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1);
    for text in ["[\"insert\",\"c\",D]", "[\"insert\",\"c\",[D]]", "[\"write\",\"k\",D]"] {
        parse_call(text.replace('D', &document(100)).as_bytes()).expect("100 levels");
        let refused = refusal(&text.replace('D', &document(101)));
        assert!(refused.contains("at most 100 nested levels, got 101 levels"), "{refused}");
        refusal(&text.replace('D', &document(200)));
    }
}

#[test]
fn a_schema_has_a_short_and_a_long_form() {
    let schema = parse_schema(&document(
        r#"{"*email":"str","name":{"type":"str","unique":true},"age":{"type":"int","required":true},"x":{}}"#,
    ))
    .expect("a schema");
    let names: Vec<(&str, bool, bool, bool)> = schema
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.index, field.unique, field.required))
        .collect();
    assert_eq!(
        names,
        [
            ("email", true, false, false),
            ("name", true, true, false),
            ("age", false, false, true),
            ("x", false, false, false)
        ]
    );
    assert_eq!(schema.fields[3].kind, FieldType::Any);
    assert_eq!(parse_schema(&schema_document(&schema)), Ok(schema));
}

fn any_document() -> impl Strategy<Value = Document> {
    prop::collection::vec(("[a-z]{1,4}", any::<i64>().prop_map(Value::Int64)), 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

fn any_reference() -> impl Strategy<Value = Reference> {
    ("[a-z0-9-]{1,20}", any::<u64>()).prop_map(|(client, sequence)| Reference { client, sequence })
}

fn any_schema() -> impl Strategy<Value = Schema> {
    prop::collection::btree_map("[a-z]{1,6}", (0usize..8, any::<(bool, bool, bool)>()), 0..5)
        .prop_map(|fields| Schema {
            fields: fields
                .into_iter()
                .map(|(name, (kind, (index, unique, required)))| FieldSchema {
                    name,
                    kind: FieldType::ALL[kind].0,
                    index: index || unique,
                    unique,
                    required,
                    default: required.then_some(Value::Int64(kind as i64)),
                })
                .collect(),
        })
}

fn any_search() -> impl Strategy<Value = SearchOptions> {
    (
        prop::collection::btree_map("[a-z]{1,3}", prop::sample::select(vec![1i8, -1]), 0..3),
        prop::option::of(0u64..1_000_000),
        0u64..1000,
        prop::option::of(any_document()),
        (any::<(bool, bool, bool)>(), prop::option::of(1u64..=100_000)),
    )
        .prop_map(|(sort, limit, skip, fields, ((count, explain, hint), batch))| {
            SearchOptions {
                sort: sort.into_iter().collect(),
                limit,
                skip,
                fields,
                count,
                explain,
                batch,
                pass_long: hint && batch.is_some(),
                hint: hint.then(|| Value::String("a_1".into())),
            }
        })
}

fn any_index() -> impl Strategy<Value = IndexSpec> {
    (
        prop::option::of("[a-z]{1,6}"),
        prop::collection::btree_map("[a-z]{1,3}(\\.[a-z]{1,3})?", any::<bool>(), 1..4),
        any::<(bool, bool)>(),
        prop::option::of(any_document()),
    )
        .prop_map(|(name, keys, (unique, sparse), filter)| {
            let key = |(path, descending)| IndexKey { path, descending };
            let keys: Vec<IndexKey> = keys.into_iter().map(key).collect();
            let name = name.unwrap_or_else(|| IndexSpec::default_name(&keys));
            IndexSpec { name, keys, unique, sparse, filter }
        })
}

fn any_upsert() -> impl Strategy<Value = Upsert> {
    prop_oneof![Just(Upsert::No), Just(Upsert::Insert { new_id: None })]
}

fn any_update_options() -> impl Strategy<Value = UpdateOptions> {
    (any::<bool>(), any_upsert(), prop::collection::vec(any_document(), 0..2))
        .prop_map(|(multi, upsert, array_filters)| UpdateOptions { multi, upsert, array_filters })
}

fn any_modify_action() -> impl Strategy<Value = ModifyAction> {
    let update =
        (any_document(), any_upsert(), any::<bool>(), prop::collection::vec(any_document(), 0..2));
    prop_oneof![
        Just(ModifyAction::Remove),
        update.prop_map(|(changes, upsert, after, array_filters)| ModifyAction::Update {
            changes,
            upsert,
            after,
            array_filters
        }),
    ]
}

fn any_modify_options() -> impl Strategy<Value = ModifyOptions> {
    let sort = prop::collection::btree_map("[a-z]{1,3}", prop::sample::select(vec![1i8, -1]), 0..3);
    (sort, prop::option::of(any_document()))
        .prop_map(|(sort, fields)| ModifyOptions { sort: sort.into_iter().collect(), fields })
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![any_plain_request(), any_feed_request()]
}

/// Batches, conditions in them, cursors, watches.
fn any_feed_request() -> impl Strategy<Value = Request> {
    let name = || "[a-zé]{1,10}";
    let batch = || prop::option::of(1u64..=100_000);
    let member = prop_oneof![
        (name(), any_document())
            .prop_map(|(key, value)| Request::Write { key, value: Value::Document(value) }),
        (name(), any_document()).prop_map(|(collection, filter)| Request::Delete {
            collection,
            filter,
            multi: true
        }),
        (name(), any::<i64>()).prop_map(|(key, value)| {
            Request::Expect(Expectation::Value { key, value: Value::Int64(value) })
        }),
        (name(), any_document(), 0u64..1000).prop_map(|(collection, filter, count)| {
            Request::Expect(Expectation::Count { collection, filter, count })
        }),
    ];
    let place = (0u64..1 << 60, 0u64..1000).prop_map(|(slot, position)| Place { slot, position });
    prop_oneof![
        prop::collection::vec(member, 1..5).prop_map(|requests| Request::Batch { requests }),
        (name(), batch(), any::<bool>()).prop_map(|(cursor, batch, pass_long)| Request::Next {
            cursor,
            batch,
            pass_long
        }),
        name().prop_map(|cursor| Request::Close { cursor }),
        (name(), 0..3, prop::option::of(any_document()), prop::option::of(place), batch())
            .prop_map(|(name, kind, filter, from, batch)| {
                let (subject, filter) = match kind {
                    0 => (Subject::Collection(name), filter),
                    1 => (Subject::Key(name), None),
                    _ => (Subject::Prefix(name), None),
                };
                Request::Watch(Watch { subject, filter, from, batch })
            }),
    ]
}

fn any_plain_request() -> impl Strategy<Value = Request> {
    let name = || "[a-zé]{1,10}";
    let value = || any::<i64>().prop_map(Value::Int64);
    prop_oneof![
        (name(), any_schema())
            .prop_map(|(collection, schema)| Request::Create { collection, schema }),
        prop::option::of(name()).prop_map(|collection| Request::Describe { collection }),
        name().prop_map(|collection| Request::Destroy { collection }),
        (name(), prop::collection::vec(any_document(), 0..3)).prop_map(
            |(collection, documents)| { Request::Insert { collection, documents, list: true } }
        ),
        (name(), any_document()).prop_map(|(collection, one)| Request::Insert {
            collection,
            documents: vec![one],
            list: false
        }),
        (name(), any_document(), any_search()).prop_map(|(collection, filter, search)| {
            Request::Search { collection, filter, search }
        }),
        (name(), any_document(), any_document(), any_update_options()).prop_map(
            |(collection, filter, changes, options)| {
                Request::Update { collection, filter, changes, options }
            }
        ),
        (name(), any_document(), any_document(), any_upsert()).prop_map(
            |(collection, filter, document, upsert)| {
                Request::Replace { collection, filter, document, upsert }
            }
        ),
        (name(), any_document(), any_modify_action(), any_modify_options()).prop_map(
            |(collection, filter, action, options)| {
                Request::Modify { collection, filter, action, options }
            }
        ),
        (name(), any_document(), any::<bool>()).prop_map(|(collection, filter, multi)| {
            Request::Delete { collection, filter, multi }
        }),
        (name(), any_document())
            .prop_map(|(collection, filter)| Request::Count { collection, filter }),
        (name(), name(), any_document()).prop_map(|(collection, field, filter)| {
            Request::Distinct { collection, field, filter }
        }),
        (name(), prop::collection::vec(any_document(), 0..3), prop::option::of(1..100u64))
            .prop_map(|(collection, pipeline, batch)| Request::Aggregate {
                collection,
                pipeline,
                batch
            }),
        (name(), any::<bool>())
            .prop_map(|(key, empty_if_absent)| Request::Read { key, empty_if_absent }),
        (name(), any_document())
            .prop_map(|(key, value)| Request::Write { key, value: Value::Document(value) }),
        (name(), value()).prop_map(|(key, value)| Request::Swap { key, value }),
        (name(), value(), value()).prop_map(|(key, expected, value)| Request::Cas {
            key,
            expected,
            value
        }),
        any_reference().prop_map(|reference| Request::Forget { reference }),
        (name(), any_index())
            .prop_map(|(collection, index)| Request::CreateIndex { collection, index }),
        (name(), name()).prop_map(|(collection, name)| Request::DropIndex { collection, name }),
        (name(), any_schema(), prop::collection::vec(name(), 1..3), any::<bool>()).prop_map(
            |(collection, add, drop, check)| Request::Alter { collection, add, drop, check }
        ),
        Just(Request::Status { hash: false }),
        Just(Request::Status { hash: true }),
        Just(Request::Members),
        any_member_change().prop_map(Request::Member),
    ]
}

fn any_member_change() -> impl Strategy<Value = MemberChange> {
    let node = || "[a-f0-9]{16}|[a-z]{1,9}:[1-9][0-9]{3}";
    prop_oneof![
        node().prop_map(|node| MemberChange::Add { node }),
        node().prop_map(|node| MemberChange::Remove { node }),
        node().prop_map(|node| MemberChange::Promote { node }),
        prop::option::of(node()).prop_map(|node| MemberChange::Lead { node }),
        node().prop_map(|without| MemberChange::Alone { without }),
        (1..=u32::MAX).prop_map(|level| MemberChange::Raise { level }),
    ]
}

#[test]
fn a_feature_level_is_a_whole_number_from_1() {
    let raise = MemberChange::Raise { level: 2 };
    assert_eq!(call(r#"["member","raise",2]"#).request, Request::Member(raise));
    for level in ["", ",0", ",-1", ",1.5", r#","2""#, ",4294967296", ",null", ",2,3"] {
        let text = format!(r#"["member","raise"{level}]"#);
        let error = parse_call(text.as_bytes()).expect_err(&text);
        assert_eq!(error.code, ErrorCode::BadRequest, "{text}: {error}");
    }
}

fn any_call() -> impl Strategy<Value = Call> {
    (
        any_request(),
        prop::option::of((any_reference(), any::<u64>())),
        any::<bool>(),
        prop::option::of(1u64..600_000),
    )
        .prop_map(|(request, reference, local, timeout_ms)| {
            let mut options = Options { timeout_ms, ..Options::default() };
            if let (true, Some((reference, acked))) = (request.is_write(), reference) {
                // Beyond 63 bits a number is no whole number in JSON.
                options.acked = Some(acked.min(reference.sequence).min(i64::MAX as u64));
                options.reference = Some(reference);
            }
            let reads = matches!(
                request,
                Request::Describe { .. }
                    | Request::Search { .. }
                    | Request::Count { .. }
                    | Request::Distinct { .. }
                    | Request::Aggregate { .. }
                    | Request::Read { .. }
            );
            if reads && local {
                options.level = Level::Local;
            }
            options.wait = local && matches!(request, Request::CreateIndex { .. });
            Call { request, options }
        })
}

proptest! {
    #[test]
    fn what_a_client_writes_is_what_the_node_reads(call in any_call()) {
        let mut text = Vec::new();
        write_call(&call, &mut text);
        prop_assert_eq!(parse_call(&text), Ok(call), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn any_list_is_read_or_refused(
        operation in prop::sample::select(OPERATIONS.iter().map(|o| o.name).collect::<Vec<_>>()),
        arguments in prop::collection::vec(
            prop::sample::select(vec!["1", "null", "\"a\"", "{}", "[]", "{\"ref\":\"c:1\"}", "[{}]"]),
            0..5,
        ),
    ) {
        let text = format!("[\"{operation}\"{}]", arguments.iter().map(|a| format!(",{a}")).collect::<String>());
        if let Err(error) = parse_call(text.as_bytes()) {
            prop_assert!(error.code != ErrorCode::Internal);
        }
    }
}
