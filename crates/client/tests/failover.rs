//! The client against scripted nodes: lost answers, refusals, silence, dead members.

use api::frame::{Decoder, LengthField, encode};
use api::{
    Call, Document, Error, ErrorCode, Reference, Request, SearchOptions, Value, json, parse,
};
use client::{CasOutcome, Client, Options};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a scripted node does with a request.
enum Act {
    Answer(Result<Value, Error>),
    /// Nothing, for ever.
    Silence,
    /// Ends the connection without an answer.
    Hangup,
}

type Script = Arc<dyn Fn(&Call) -> Act + Send + Sync>;

/// A node that answers `hello` and `members` and does with all else what its script says.
struct Node {
    address: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Node {
    async fn start(script: impl Fn(&Call) -> Act + Send + Sync + 'static) -> Node {
        Node::start_with_members(Vec::new(), script).await
    }

    async fn start_with_members(
        members: Vec<String>,
        script: impl Fn(&Call) -> Act + Send + Sync + 'static,
    ) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (script, seen): (Script, _) = (Arc::new(script), Arc::clone(&calls));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(serve(stream, members.clone(), script, seen));
            }
        });
        Node { address, calls }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("lock").clone()
    }

    fn references(&self) -> Vec<Reference> {
        self.calls().into_iter().filter_map(|call| call.options.reference).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    members: Vec<String>,
    script: Script,
    seen: Arc<Mutex<Vec<Call>>>,
) {
    let mut decoder = Decoder::default();
    let mut length_field = LengthField::Short;
    let mut bytes = vec![0; 65536];
    loop {
        while let Some(payload) = decoder.next().expect("a frame") {
            let call = parse::parse_call(payload).expect("a call");
            let mut after = length_field;
            let act = match &call.request {
                Request::Hello { .. } => {
                    after = LengthField::Long;
                    Act::Answer(Ok(Value::Null))
                }
                Request::Members => Act::Answer(Ok(member_list(&members))),
                _ => {
                    seen.lock().expect("lock").push(call.clone());
                    script(&call)
                }
            };
            decoder.set_length_field(after);
            match act {
                Act::Answer(answer) => {
                    let mut out = Vec::new();
                    encode(length_field, &mut out, |out| {
                        json::write_reply(&answer, length_field.payload_bytes_max(), out)
                    })
                    .expect("fits");
                    if stream.write_all(&out).await.is_err() {
                        return;
                    }
                }
                Act::Silence => std::future::pending().await,
                Act::Hangup => return,
            }
            length_field = after;
        }
        match stream.read(&mut bytes).await {
            Ok(count) if count > 0 => decoder.push(&bytes[..count]),
            _ => return,
        }
    }
}

fn member_list(members: &[String]) -> Value {
    let document = |address: &String| Value::Document(doc("address", address.as_str()));
    Value::Array(members.iter().map(document).collect())
}

fn doc(name: &str, value: impl Into<Value>) -> Document {
    Document::from_iter([(name.to_string(), value.into())])
}

fn quick() -> Options {
    Options {
        timeout: Duration::from_secs(20),
        attempt_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_secs(5),
        ..Options::default()
    }
}

fn done() -> Act {
    Act::Answer(Ok(Value::String("done".into())))
}

fn ok(_: &Call) -> Act {
    done()
}

fn refuse(code: ErrorCode) -> impl Fn(&Call) -> Act {
    move |_| Act::Answer(Err(Error::new(code, "scripted")))
}

async fn connect(nodes: &[&Node], options: Options) -> Client {
    let members: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
    Client::connect(&members, options).await.expect("connected")
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound").to_string()
}

/// P9.
#[tokio::test]
async fn a_lost_answer_is_asked_for_again_elsewhere_under_the_same_reference() {
    let first = Node::start(|_| Act::Hangup).await;
    let second = Node::start(ok).await;
    let client = connect(&[&first, &second], quick()).await;
    assert_eq!(client.write("k", "v").await, Ok(Value::String("done".into())));
    assert_eq!(first.references().len(), 1);
    assert_eq!(first.references(), second.references());
    assert_eq!(client.connected_to().await, Some(second.address.clone()));
    // It stays where it works, and the next write has another reference.
    client.write("k", "w").await.expect("answered");
    let references = second.references();
    assert_eq!(references[0].client, references[1].client);
    assert_ne!(references[0].sequence, references[1].sequence);
    assert_eq!(first.calls().len(), 1);
}

/// P8.
#[tokio::test]
async fn down_busy_stopping_and_timeout_lead_to_the_next_member() {
    for code in [ErrorCode::Down, ErrorCode::Busy, ErrorCode::Stopping, ErrorCode::Timeout] {
        let first = Node::start(refuse(code)).await;
        let second = Node::start(ok).await;
        let client = connect(&[&first, &second], quick()).await;
        assert!(client.swap("k", 1i64).await.is_ok(), "{code:?}");
        assert_eq!(first.references(), second.references(), "{code:?}");
    }
}

#[tokio::test]
async fn a_silent_node_is_given_up_for_the_next() {
    let first = Node::start(|_| Act::Silence).await;
    let second = Node::start(ok).await;
    let client = connect(&[&first, &second], quick()).await;
    assert!(client.write("k", "v").await.is_ok());
    assert_eq!(first.references(), second.references());
    let told = first.calls()[0].options.timeout_ms.expect("a time");
    assert!((1..=200).contains(&told), "{told}");
}

#[tokio::test]
async fn what_takes_long_is_answered_in_the_end() {
    let count = Mutex::new(0);
    let node = Node::start(move |_| {
        let mut count = count.lock().expect("lock");
        *count += 1;
        if *count < 4 { Act::Silence } else { done() }
    })
    .await;
    let client = connect(&[&node], quick()).await;
    assert!(client.read("k").await.is_ok());
    let times: Vec<u64> = node.calls().iter().filter_map(|call| call.options.timeout_ms).collect();
    assert_eq!(times.len(), 4);
    assert!(times.windows(2).all(|pair| pair[1] > pair[0]), "{times:?}");
}

#[tokio::test]
async fn refusals_of_the_request_are_not_retried() {
    let node = Node::start(refuse(ErrorCode::Duplicate)).await;
    let other = Node::start(ok).await;
    let client = connect(&[&node, &other], quick()).await;
    let error = client.insert("c", Document::new()).await.expect_err("refused");
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Duplicate, "scripted"));
    assert_eq!((node.calls().len(), other.calls().len()), (1, 0));
}

#[tokio::test]
async fn the_deadline_ends_it_and_says_what_is_known() {
    let silent = Node::start(|_| Act::Silence).await;
    let down = Node::start(refuse(ErrorCode::Down)).await;
    let options = Options { timeout: Duration::from_millis(900), ..quick() };
    let client = connect(&[&silent], options.clone()).await;
    let error = client.write("k", "v").await.expect_err("no answer");
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(error.message.contains("may have taken effect or not"), "{error}");
    let references = silent.references();
    assert!(references.len() > 1 && references.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(error.message.contains(&references[0].to_string()), "{error}");

    let client = connect(&[&down], options).await;
    let error = client.write("k", "v").await.expect_err("down");
    assert_eq!(error.code, ErrorCode::Down);
    assert!(error.message.contains(&down.address), "{error}");
    assert!(down.calls().len() > 1);
    // A call's own time goes before the client's.
    let mut call =
        Call { request: Request::Describe { collection: None }, options: api::Options::default() };
    call.options.timeout_ms = Some(30);
    client.call(call).await.expect_err("down");
    let told = down.calls().last().and_then(|call| call.options.timeout_ms).expect("a time");
    assert!(told <= 30, "{told}");
}

#[tokio::test]
async fn unreachable_members_are_all_named() {
    let (first, second) = (nobody().await, nobody().await);
    let members = [first.clone(), second.clone()];
    let error = Client::connect(&members, quick()).await.expect_err("nobody there");
    assert_eq!(error.code, ErrorCode::Down);
    let start = format!("cannot reach any of {first}, {second} ({first}: ");
    assert!(error.message.starts_with(&start), "{error}");
    let error = Client::connect(&[], quick()).await.expect_err("none named");
    assert_eq!(error.code, ErrorCode::BadRequest);

    let node = Node::start(ok).await;
    let members = [first, node.address.clone()];
    let client = Client::connect(&members, quick()).await.expect("the second is there");
    assert_eq!(client.connected_to().await, Some(node.address.clone()));
}

#[tokio::test]
async fn what_is_no_node_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"\x00\x05hello").await;
            let _ = stream.read(&mut [0; 100]).await;
        }
    });
    let error = Client::connect(&[address], quick()).await.expect_err("no node");
    assert!(error.message.contains("no MondongoDB node"), "{error}");
}

#[tokio::test]
async fn members_are_learned_from_the_first() {
    let second = Node::start(ok).await;
    let first = Node::start_with_members(vec![second.address.clone()], |_| Act::Hangup).await;
    let client = connect(&[&first], quick()).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while client.addresses().len() < 2 {
        assert!(std::time::Instant::now() < deadline, "the members were not learned");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(client.write("k", "v").await.is_ok());
    assert_eq!(client.connected_to().await, Some(second.address.clone()));
}

/// P10.
#[tokio::test]
async fn answers_are_acknowledged_with_later_writes() {
    let node = Node::start(ok).await;
    let client = connect(&[&node], quick()).await;
    for _ in 0..3 {
        client.write("k", "v").await.expect("answered");
    }
    let acked: Vec<Option<u64>> = node.calls().iter().map(|call| call.options.acked).collect();
    assert_eq!(acked, [Some(0), Some(1), Some(2)]);
    client.read("k").await.expect("answered");
    let read = node.calls().pop().expect("a call");
    assert_eq!((read.options.reference, read.options.acked), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_a_connection_that_keeps_breaking() {
    let seen: Arc<Mutex<BTreeMap<Reference, u64>>> = Arc::default();
    let flaky = |seen: &Arc<Mutex<BTreeMap<Reference, u64>>>, every: u64| {
        let (seen, count) = (Arc::clone(seen), Mutex::new(0));
        move |call: &Call| {
            let reference = call.options.reference.clone().expect("a write");
            *seen.lock().expect("lock").entry(reference).or_default() += 1;
            let mut count = count.lock().expect("lock");
            *count += 1;
            let Request::Write { value, .. } = &call.request else { return Act::Hangup };
            if *count % every == 0 { Act::Hangup } else { Act::Answer(Ok(value.clone())) }
        }
    };
    // A break loses the requests behind it too, so it must be rarer than there are tasks.
    let nodes = [Node::start(flaky(&seen, 37)).await, Node::start(flaky(&seen, 53)).await];
    let options = Options { attempt_timeout: Duration::from_secs(10), ..quick() };
    let client = connect(&[&nodes[0], &nodes[1]], options).await;
    let tasks: Vec<_> = (0..16i64)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let value = Value::Int64(task * 1000 + round);
                    assert_eq!(client.write("k", value.clone()).await, Ok(value));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every answer is that of its own request");
    }
    let seen = seen.lock().expect("lock");
    assert_eq!(seen.len(), 16 * 20);
    assert!(seen.values().any(|count| *count > 1), "some were asked twice");
}

#[tokio::test]
async fn answers_become_what_the_methods_promise() {
    let node = Node::start(|call| {
        Act::Answer(Ok(match &call.request {
            Request::Cas { expected: Value::Int64(1), .. } => Value::Document(doc("swapped", true)),
            Request::Cas { .. } => {
                let mut answer = doc("swapped", false);
                answer.insert("current", 1i64);
                Value::Document(answer)
            }
            Request::Search { search, .. } if search.count => Value::Int64(100_000),
            Request::Search { .. } => Value::Array(vec![Value::Document(doc("a", 1i64)); 20_000]),
            Request::Update { .. } | Request::Delete { .. } => Value::Int64(3),
            _ => Value::Null,
        }))
    })
    .await;
    let client = connect(&[&node], quick()).await;
    assert_eq!(client.cas("k", 1i64, 2i64).await, Ok(CasOutcome::Swapped));
    assert_eq!(client.cas("k", 2i64, 3i64).await, Ok(CasOutcome::Current(Value::Int64(1))));
    let found = client.search("c", Document::new(), SearchOptions::default()).await;
    assert_eq!(found.expect("documents").len(), 20_000, "far more than a short frame holds");
    assert_eq!(client.count("c", Document::new()).await, Ok(100_000));
    assert_eq!(client.update("c", Document::new(), doc("a", 1i64)).await, Ok(3));
    assert_eq!(client.delete("c", Document::new()).await, Ok(3));
    let odd = client.describe(None).await.expect_err("null is no description");
    assert_eq!(odd.code, ErrorCode::Internal);
    let hello = client.request(Request::Hello { frame_length_bytes: 2 }).await;
    assert_eq!(hello.expect_err("refused").code, ErrorCode::BadRequest);
    let huge = client.write("k", "x".repeat(17 * 1024 * 1024)).await;
    assert_eq!(huge.expect_err("does not fit").code, ErrorCode::TooLarge);
    assert_eq!(client.count("c", Document::new()).await, Ok(100_000), "it goes on");
}

/// Who measures wants to know of refusals: the call is answered at once and the connection stays. But a refusal is
/// no proof that nothing happened if an earlier attempt may have had effect.
#[tokio::test]
async fn busy_is_told_at_once_where_that_is_asked_for() {
    let busy = |_: &Call| Act::Answer(Err(Error::new(ErrorCode::Busy, "too much")));
    let (first, second) = (Node::start(busy).await, Node::start(busy).await);
    let options = Options { tries_again_when_busy: false, ..quick() };
    let members = [first.address.clone(), second.address.clone()];
    let client = Client::connect(&members, options.clone()).await.expect("reached");
    for _ in 0..3 {
        let error = client.write("k", "v").await.expect_err("it is busy");
        assert_eq!(error.code, ErrorCode::Busy, "{error}");
    }
    assert_eq!((first.calls().len(), second.calls().len()), (3, 0));
    assert_eq!(client.connected_to().await.as_deref(), Some(first.address.as_str()));

    let lost = Node::start(|_| Act::Hangup).await;
    let members = [lost.address.clone(), second.address.clone()];
    let client = Client::connect(&members, options).await.expect("reached");
    let error = client.write("k", "v").await.expect_err("it is not known");
    assert_eq!(error.code, ErrorCode::Timeout, "{error}");
    assert!(error.message.contains("may have taken effect"), "{error}");
    assert_eq!((lost.calls().len(), second.calls().len()), (1, 1));
}
