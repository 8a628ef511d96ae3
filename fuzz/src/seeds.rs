//! Writes the inputs that the fuzz targets begin with into `fuzz/seeds/`: a few for each, made of what the formats
//! can say. Run it when a format changes: `cargo run --manifest-path fuzz/Cargo.toml --bin seeds`.

use bytes::Bytes;
use paxos::codec::encode_record;
use paxos::{
    Ancestor, Ballot, Base, Change, Entry, Member, Membership, Message, NodeId, Payload, Policy,
    Record, Refusal, Slot, Standing,
};
use replica::{PeerMessage, encode_peer_message};
use server::fuzzing::{append_frame, greetings};
use std::fs;
use std::path::Path;
use store::Command;

/// One request of each kind, and what else a parser looks at.
const REQUESTS: &[&str] = &[
    r#"["create","c",{"name":{"type":"string","index":true,"unique":true},"n":"number"}]"#,
    r#"["describe"]"#,
    r#"["destroy","c"]"#,
    r#"["insert","c",[{"a":1,"b":[1.5,"x",null,true]},{"a":{"$oid":"0123456789abcdef01234567"}}]]"#,
    r#"["search","c",{"$or":[{"a":{"$gt":1}},{"b":{"$in":[1,2]}}]},{"sort":{"a":-1},"limit":3}]"#,
    r#"["update","c",{"a":1},{"$set":{"b":2},"$inc":{"n":1}},{"ref":"client:7"}]"#,
    r#"["delete","c",{"a":{"$exists":false}}]"#,
    r#"["update","c",{"a":1},{"$set":{"l.$[e].b":2}},{"multi":false,"upsert":true,"array_filters":[{"e.a":1}]}]"#,
    r#"["replace","c",{"a":1},{"b":2},{"upsert":true}]"#,
    r#"["modify","c",{"a":1},{"$inc":{"n":1}},{"sort":{"a":-1},"return":"after","fields":{"n":1}}]"#,
    r#"["modify","c",{"a":1},{},{"remove":true}]"#,
    r#"["count","c",{"a":{"$type":"int"}}]"#,
    r#"["distinct","c","a.b",{}]"#,
    r#"["aggregate","c",[{"$match":{"a":1}},{"$group":{"_id":"$b","n":{"$sum":1}}},{"$sort":{"n":-1}}]]"#,
    r#"["read","k",{"level":"local"}]"#,
    r#"["write","k",{"$date":"2024-01-01T00:00:00Z"},{"ref":"c:1","ack":1}]"#,
    r#"["escribe_hash","clave",{"$numberDouble":"NaN"}]"#,
    r#"["cas","k",null,{"$binary":{"base64":"AAEC","subType":"00"}}]"#,
    r#"["borrar_ref","c:1"]"#,
    r#"["status",{"hash":true}]"#,
    r#"["hello",{"frame":4}]"#,
    r#"["ok",{"$numberDecimal":"1.50"}]"#,
    r#"["ko","not-found: there is no collection c"]"#,
    r#"{"a":"\u00e1\n\"","b":-0.0,"c":9007199254740993,"d":{"$timestamp":{"t":1,"i":2}}}"#,
];

/// Filters, each with what is asked of the documents behind it.
const FILTERS: &[&str] = &[
    r#"[{"a":{"$gt":1,"$lt":9},"b.c":null},{"b":1},{"_id":1,"a":[1,10],"b":{"c":null}},{"_id":2,"a":5,"b":[{"c":1},{}]}]"#,
    r#"[{"$or":[{"a":{"$elemMatch":{"$gte":1,"$not":{"$mod":[2,0]}}}},{"b":{"$all":["x",["y"]]}}]},{"a.$":1},{"a":[1,2,3],"b":["x",["y"]]}]"#,
    r#"[{"a":{"$in":[1,"x",null],"$type":["number","string"],"$exists":true},"b":{"$size":2}},{"b":{"$slice":[-1,1]}},{"a":1.0,"b":[1,2]}]"#,
    r#"[{"$nor":[{"a":{"$regex":"^x","$options":"i"}}],"$expr":{"$gt":[{"$size":"$b"},1]}},{"b":{"$elemMatch":{"c":1}}},{"a":"y","b":[{"c":1},{"c":2}]}]"#,
    r#"[{"a":{"$all":[{"$elemMatch":{"b":1}},{"$elemMatch":{"c":{"$nin":[1,2]}}}]}},{"a":{"b":0}},{"a":[{"b":1,"c":3}]}]"#,
];

/// Updates, each with a filter, whose field `array` holds an array filter, and documents.
const UPDATES: &[&str] = &[
    r#"[{"$set":{"a.b.2":1},"$inc":{"n":1},"$mul":{"m":2.5},"$unset":{"x":1}},{"_id":1},{"_id":1,"a":{"b":[1]},"n":2147483647,"x":1}]"#,
    r#"[{"$push":{"l":{"$each":[3,1],"$position":-1,"$sort":-1,"$slice":3}},"$addToSet":{"s":{"$each":[1,1.0]}},"$pop":{"p":-1}},{},{"l":[2,5],"p":[1,2]}]"#,
    r#"[{"$pull":{"l":{"b":{"$gte":2}}},"$pullAll":{"s":[1]},"$rename":{"x":"y.z"},"$min":{"m":1},"$max":{"n":"a"}},{},{"l":[{"b":2},{"b":1}],"s":[1,2],"x":3,"m":2}]"#,
    r#"[{"$set":{"l.$.hit":true}},{"l.a":2},{"l":[{"a":1},{"a":2}]}]"#,
    r#"[{"$inc":{"l.$[e].n":1,"m.$[]":2},"$bit":{"b":{"or":5}},"$currentDate":{"d":{"$type":"timestamp"}}},{"array":{"e.a":{"$gt":1}}},{"l":[{"a":1},{"a":2}],"m":[1,2]}]"#,
    r#"[{"$setOnInsert":{"_id":5,"n":1}},{"a.b":1,"c":{"$in":[2]}},{}]"#,
];

/// Stages, then documents.
const PIPELINES: &[&str] = &[
    r#"[{"$match":{"a":{"$gt":0}}},{"$group":{"_id":"$b","n":{"$sum":"$a"},"l":{"$push":"$$ROOT"},"m":{"$avg":"$a"}}},{"$sort":{"n":-1}},{"a":1,"b":"x"},{"a":2,"b":"y"}]"#,
    r#"[{"$unwind":{"path":"$l","includeArrayIndex":"i","preserveNullAndEmptyArrays":true}},{"$project":{"x":{"$cond":[{"$eq":["$l",1]},"one",{"$toString":"$l"}]}}},{"l":[1,2]},{"l":[]},{"l":null}]"#,
    r#"[{"$set":{"a.b":{"$map":{"input":"$l","as":"e","in":{"$add":["$$e",1]}}},"c":"$$REMOVE"}},{"$unset":["d"]},{"$limit":2},{"l":[1,2],"c":1,"d":2,"a":[{},1]}]"#,
    r#"[{"$replaceRoot":{"newRoot":{"$mergeObjects":["$a",{"y":{"$year":"$d"},"s":{"$concat":["x",{"$toUpper":"$b"}]}}]}}},{"$skip":1},{"$count":"n"},{"a":{"x":1},"d":{"$date":"2024-02-29T00:00:00Z"},"b":"é"},{"b":"z"}]"#,
    r#"[{"$project":{"f":{"$filter":{"input":"$l","as":"e","cond":{"$in":["$$e",[1,2]]}}},"r":{"$reduce":{"input":"$l","initialValue":0,"in":{"$sum":["$$value","$$this"]}}},"w":{"$switch":{"branches":[{"case":false,"then":1}],"default":{"$ifNull":["$z",{"$slice":["$l",-1]}]}}}}},{"$sortByCount":"$r"},{"l":[1,5]},{"l":[6]}]"#,
];

fn membership() -> Membership {
    let member = |standing| Member::new("host:7000", standing);
    let mut learner = member(Standing::Learner);
    learner.replaces = Some(NodeId(3));
    let members = [
        (NodeId(1), member(Standing::Voter)),
        (NodeId(2), learner),
        (NodeId(3), member(Standing::Away)),
    ];
    let mut membership = Membership::of(Policy::Passive, members);
    membership.base = Slot(3);
    membership.removed = vec![NodeId(9)];
    membership.history = vec![ancestor()];
    membership
}

fn ancestor() -> Ancestor {
    Ancestor { slot: Slot(1), ballot: Ballot { round: 1, node: NodeId(1) }, own_slot: Slot(2) }
}

fn entries() -> Vec<Entry> {
    let ballot = Ballot { round: 2, node: NodeId(1) };
    let payloads = [
        Payload::Blank,
        Payload::Command(Bytes::from_static(b"command")),
        Payload::Membership(membership()),
    ];
    payloads.map(|payload| Entry { ballot, payload }).into()
}

fn messages() -> Vec<PeerMessage> {
    let ballot = Ballot { round: 3, node: NodeId(2) };
    let (slot, decided, entries) = (Slot(5), Slot(4), entries());
    let messages = vec![
        Message::Canvass { ballot, membership: slot },
        Message::Compacted { floor: slot },
        Message::NotMember { slot, removed: true },
        Message::TakeOver { ballot },
        Message::Diverged { ballot, lineage: vec![ancestor()] },
        Message::CanvassReply { ballot, granted: true, promised: Ballot::ZERO },
        Message::Prepare { ballot, from: slot },
        Message::Promise {
            ballot,
            from: slot,
            decided,
            last: slot,
            lineage: vec![ancestor()],
            entries: entries.clone(),
        },
        Message::Accept { ballot, first: slot, entries: entries.clone(), decided },
        Message::Accepted { ballot, upto: slot, gap: true },
        Message::Heartbeat { ballot, decided, window: slot, probe: 6 },
        Message::HeartbeatReply { ballot, probe: 6, upto: slot },
        Message::Refuse { promised: ballot },
        Message::CatchUp { from: slot },
        Message::CatchUpReply { first: slot, entries },
        Message::ReadIndex { token: 8 },
        Message::ReadIndexReply { token: 8, slot },
    ];
    let mut all: Vec<_> = messages.into_iter().map(PeerMessage::Paxos).collect();
    all.push(PeerMessage::Forward { command: Bytes::from_static(b"command") });
    all.push(PeerMessage::Join { node: NodeId(9), address: "host:7001".into() });
    all.push(PeerMessage::Change { token: 3, change: Change::Remove { node: NodeId(9) } });
    all.push(PeerMessage::Change { token: 4, change: Change::Lead { node: None } });
    all.push(PeerMessage::ChangeRefused { token: 3, reason: Refusal::LastVoter });
    all.push(PeerMessage::SnapshotAsk { slot: Slot(7), cursor: Bytes::from_static(b"cursor") });
    all.push(PeerMessage::SnapshotChunk { chunk: Bytes::from_static(b"chunk") });
    all
}

fn main() -> std::io::Result<()> {
    let texts: Vec<_> = REQUESTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    write("client_requests", &texts)?;
    for (target, questions) in
        [("query_filters", FILTERS), ("query_updates", UPDATES), ("query_pipelines", PIPELINES)]
    {
        let json = questions.iter().map(|text| text.as_bytes().to_vec());
        let bson = questions.iter().map(|text| {
            let documents = fuzz::documents(text.as_bytes());
            documents.iter().flat_map(|one| one.to_vec().expect("it can be written")).collect()
        });
        write(target, &json.chain(bson).collect::<Vec<_>>())?;
    }
    let framed = |text: &Vec<u8>| [&(text.len() as u16).to_be_bytes(), &text[..]].concat();
    let session: Vec<u8> = texts.iter().flat_map(framed).collect();
    let frames: Vec<_> = texts.iter().map(framed).collect();
    let connections = [&frames[..], std::slice::from_ref(&session)].concat();
    write("client_connection", &connections)?;
    let with_piece = |stream: &Vec<u8>| [&[0, 7], &stream[..]].concat();
    write(
        "client_frames",
        &[with_piece(&session), with_piece(&frames[1]), b"\x01\x03\0\0\0\x02[]".into()],
    )?;

    let encoded = messages().into_iter().map(|message| {
        let mut bytes = Vec::new();
        encode_peer_message(&message, &mut bytes);
        bytes
    });
    let encoded: Vec<_> = encoded.collect();
    write("peer_messages", &encoded)?;
    let mut stream = vec![5];
    encoded.iter().for_each(|message| append_frame(&mut stream, message));
    write("peer_frames", &[stream])?;
    write("peer_greeting", &greetings())?;

    let accepts = entries().into_iter().map(|entry| Record::Accept(Slot(7), entry));
    let promise = Record::Promise(Ballot { round: 1, node: NodeId(1) });
    let membership = (Slot(5), membership());
    let base = Record::Base(Base { slot: Slot(7), promised: Ballot::ZERO, membership });
    let records = accepts.chain([promise, Record::Decided(Slot(7)), base]).map(|record| {
        let mut bytes = Vec::new();
        encode_record(&record, &mut bytes);
        bytes
    });
    write("log_records", &records.collect::<Vec<_>>())?;
    let fixtures =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/store/tests/fixtures/snapshot-v1");
    let chunk = |number| fs::read(fixtures.join(format!("chunk-{number}")));
    let place = store::Cursor::start().encode();
    write("snapshot_chunks", &[chunk(0)?, chunk(1)?, chunk(2)?, chunk(3)?, place])?;

    let calls = texts.iter().filter_map(|text| api::parse::parse_call(text).ok());
    let commands = calls.filter(|call| call.request.is_write()).map(|mut call| {
        call.request.draw_ids(&mut || "drawn".into());
        let reference = api::Reference::new("client", 1);
        Command { reference, acked: 1, time_ms: 2, request: call.request }.encode()
    });
    write("commands", &commands.collect::<Vec<_>>())?;

    let damages: [&[u8]; 8] = [
        b"\0\0\x50\0\x03",
        b"\0\x01\x50\x02\x07",
        b"\x01\x01\x80\0",
        b"\x02\x01\x80\x01\x40\0",
        b"\x03\0\0\0",
        b"\x04\0\0\0\x01",
        b"\x06\0\x40\0\x04abcd",
        b"\x07\0\0\0\x03",
    ];
    write("log_open", &damages.map(<[u8]>::to_vec))
}

fn write(target: &str, inputs: &[Vec<u8>]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder)?;
    for (number, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("{number:02}")), input)?;
    }
    Ok(())
}
