//! The native protocol over an in-process stream, against a scripted service.

use api::frame::{Decoder, LengthField, encode};
use api::{Call, Error, ErrorCode, ModifyAction, Request, Upsert, Value, json};
use gateway::{Reply, Service, Settings, native};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Answers a read with its key and a search with many documents; keeps writes until told.
#[derive(Clone, Default)]
struct Script {
    held: Arc<Mutex<VecDeque<(Call, Reply)>>>,
    inserted: Arc<Mutex<Vec<api::Document>>>,
}

impl Script {
    fn take(&self, position: usize) -> Option<(Call, Reply)> {
        self.held.lock().expect("lock").remove(position)
    }

    fn held(&self) -> usize {
        self.held.lock().expect("lock").len()
    }

    async fn until_held(&self, count: usize) {
        until(|| self.held() == count).await;
    }
}

impl Service for Script {
    fn start(&self, call: Call, reply: Reply) {
        match &call.request {
            Request::Read { key, .. } => reply.send(Ok(Value::String(key.clone()))),
            Request::Search { search, .. } => {
                let count = search.limit.unwrap_or(1000) as usize;
                reply.send(Ok(Value::Array(vec![Value::String("x".repeat(100)); count])));
            }
            Request::Insert { documents, .. } => {
                self.inserted.lock().expect("lock").extend(documents.iter().cloned());
                reply.send(Ok(Value::Null));
            }
            _ => self.held.lock().expect("lock").push_back((call, reply)),
        }
    }
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "the condition did not come");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

struct Client {
    stream: DuplexStream,
    decoder: Decoder,
    length_field: LengthField,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Client {
    fn connect(service: &Script, settings: Settings) -> Client {
        Client::with_pipe(service, settings, 64 * 1024)
    }

    fn with_pipe(service: &Script, settings: Settings, pipe_bytes: usize) -> Client {
        let (stream, server) = tokio::io::duplex(pipe_bytes);
        let served = tokio::spawn(native::serve(server, b"", service.clone(), Arc::new(settings)));
        Client { stream, decoder: Decoder::default(), length_field: LengthField::Short, served }
    }

    async fn send(&mut self, text: &str) {
        let mut bytes = Vec::new();
        encode(self.length_field, &mut bytes, |out| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        })
        .expect("fits");
        self.stream.write_all(&bytes).await.expect("sent");
    }

    /// The next answer, or none at the end of the connection.
    async fn receive(&mut self) -> Option<String> {
        loop {
            if let Some(payload) = self.decoder.next().expect("a frame") {
                return Some(String::from_utf8(payload.to_vec()).expect("UTF-8"));
            }
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(100), self.stream.read(&mut bytes));
            match read.await.expect("an answer in time").expect("read") {
                0 => return None,
                count => self.decoder.push(&bytes[..count]),
            }
        }
    }

    async fn exchange(&mut self, text: &str) -> String {
        self.send(text).await;
        self.receive().await.expect("an answer")
    }

    /// The reason of a refusal.
    async fn refusal(&mut self, text: &str) -> Error {
        let answer = self.exchange(text).await;
        let Ok(Value::Array(items)) = json::parse_value(answer.as_bytes()) else {
            panic!("{answer}")
        };
        assert_eq!(items[0], Value::String("ko".into()), "{answer}");
        let Value::String(reason) = &items[1] else { panic!("{answer}") };
        Error::from_reason(reason)
    }

    fn long_frames(&mut self) {
        self.length_field = LengthField::Long;
        self.decoder.set_length_field(LengthField::Long);
    }
}

#[tokio::test]
async fn bytes_on_the_wire_are_those_of_the_seed() {
    let mut client = Client::connect(&Script::default(), Settings::default());
    client.stream.write_all(b"\x00\x0e[\"read\", \"ab\"]").await.expect("sent");
    let mut answer = [0; 13];
    client.stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"\x00\x0b[\"ok\",\"ab\"]");
}

#[tokio::test]
async fn answers_keep_the_order_of_requests() {
    let service = Script::default();
    let mut client = Client::connect(&service, Settings::default());
    for text in [r#"["write","a",1]"#, r#"["read","b"]"#, r#"["write","c",1]"#, "nonsense"] {
        client.send(text).await;
    }
    service.until_held(2).await;
    let (second, reply) = service.take(1).expect("held");
    assert_eq!(second.request, Request::Write { key: "c".into(), value: Value::Int64(1) });
    reply.send(Ok(Value::String("second".into())));
    // Nothing may come before the answer of the first request.
    let mut early = [0; 1];
    let read = tokio::time::timeout(Duration::from_millis(50), client.stream.read(&mut early));
    assert!(read.await.is_err());
    service.take(0).expect("held").1.send(Ok(Value::String("first".into())));
    assert_eq!(client.receive().await.as_deref(), Some(r#"["ok","first"]"#));
    assert_eq!(client.receive().await.as_deref(), Some(r#"["ok","b"]"#));
    assert_eq!(client.receive().await.as_deref(), Some(r#"["ok","second"]"#));
    let last = client.receive().await.expect("an answer");
    assert!(last.starts_with(r#"["ko","bad_request: not valid JSON"#), "{last}");
}

#[tokio::test]
async fn the_connection_goes_on_after_a_refusal() {
    let mut client = Client::connect(&Script::default(), Settings::default());
    let cases = [
        ("", ErrorCode::BadRequest),
        ("[1,", ErrorCode::BadRequest),
        ("\u{0}\u{1}", ErrorCode::BadRequest),
        (r#"["read"]"#, ErrorCode::BadRequest),
        (r#"["drop","users"]"#, ErrorCode::UnknownOperation),
        (r#"["read","k",{"a":1}]"#, ErrorCode::UnknownOption),
        (r#"["batch",[]]"#, ErrorCode::BadRequest),
    ];
    for (text, code) in cases {
        assert_eq!(client.refusal(text).await.code, code, "{text}");
    }
    assert_eq!(client.exchange(r#"["lee","k"]"#).await, r#"["ok","k"]"#);
}

/// X2.
#[tokio::test]
async fn hello_lengthens_frames_from_the_next_on() {
    let service = Script::default();
    let mut client = Client::connect(&service, Settings::default());
    let refused = client.refusal(r#"["search","c",{}]"#).await;
    assert_eq!(refused.code, ErrorCode::ResultTooLarge);
    assert!(refused.message.contains(r#"["hello",{"frame":4}]"#), "{refused}");
    assert!(refused.message.contains("limit"), "{refused}");

    // Pipelined behind a request that is not answered yet, whose answer still has a short length.
    client.send(r#"["write","a",1]"#).await;
    client.send(r#"["hello",{"frame":4}]"#).await;
    client.length_field = LengthField::Long;
    client.send(r#"["search","c",{}]"#).await;
    service.until_held(1).await;
    service.take(0).expect("held").1.send(Ok(Value::Null));
    assert_eq!(client.receive().await.as_deref(), Some(r#"["ok",null]"#));
    assert_eq!(client.receive().await.as_deref(), Some(r#"["ok",{"frame":4}]"#));
    client.long_frames();
    assert!(client.receive().await.expect("an answer").len() > 100_000);

    let refused = client.refusal(r#"["search","c",{},{"limit":200000}]"#).await;
    assert_eq!(refused.code, ErrorCode::ResultTooLarge);
    assert!(!refused.message.contains("hello"), "{refused}");

    let long = format!("[\"read\",\"k\",{{\"empty\":true}}{}]", " ".repeat(10_000_000));
    assert_eq!(client.exchange(&long).await, r#"["ok","k"]"#);
}

#[tokio::test]
async fn too_long_a_frame_is_refused_and_ends_the_connection() {
    let mut client = Client::connect(&Script::default(), Settings::default());
    client.exchange(r#"["hello",{"frame":4}]"#).await;
    client.long_frames();
    client.send(r#"["read","k"]"#).await;
    client.stream.write_all(&[0x7f, 0, 0, 0, 1, 2, 3]).await.expect("sent");
    assert_eq!(client.receive().await.as_deref(), Some(r#"["ok","k"]"#));
    let refused = client.receive().await.expect("a refusal");
    assert!(refused.contains("too_large: a frame may have 16842752 bytes at most"), "{refused}");
    assert_eq!(client.receive().await, None);
}

/// Sends a frame of a megabyte but for its last byte.
async fn send_most_of_a_megabyte(client: &mut Client) {
    client.exchange(r#"["hello",{"frame":4}]"#).await;
    client.long_frames();
    let request = megabyte_request();
    client.stream.write_all(&(request.len() as u32).to_be_bytes()).await.expect("sent");
    client.stream.write_all(&request.as_bytes()[..request.len() - 1]).await.expect("sent");
}

fn megabyte_request() -> String {
    format!("[\"read\",\"k\",{{\"empty\":true}}{}]", " ".repeat(1024 * 1024))
}

#[tokio::test]
async fn unfinished_frames_share_one_budget() {
    let service = Script::default();
    let settings = Settings { unfinished_bytes_max: 1536 * 1024, ..Settings::default() };
    let held = settings.unfinished_bytes.clone();
    let mut first = Client::connect(&service, settings.clone());
    send_most_of_a_megabyte(&mut first).await;
    until(|| held.total() > 900_000).await;

    let mut second = Client::connect(&service, settings.clone());
    send_most_of_a_megabyte(&mut second).await;
    let refused = second.receive().await.expect("a refusal");
    assert!(refused.starts_with(r#"["ko","busy: "#), "{refused}");
    assert!(refused.contains("1572864 bytes"), "{refused}");
    assert!(refused.contains("later or to another member"), "{refused}");
    assert_eq!(second.receive().await, None);
    assert!(held.total() <= 1024 * 1024, "{} bytes", held.total());

    // Frames with a length of 2 bytes have room of their own.
    let mut small = Client::connect(&service, settings.clone());
    let longest = format!("[\"read\",\"k\",{{\"empty\":true}}{}]", " ".repeat(65_508));
    assert_eq!(longest.len(), 65_535);
    assert_eq!(small.exchange(&longest).await, r#"["ok","k"]"#);

    drop(first);
    until(|| held.total() == 0).await;
    let mut third = Client::connect(&service, settings);
    send_most_of_a_megabyte(&mut third).await;
    until(|| held.total() > 900_000).await;
    third.stream.write_all(b"]").await.expect("sent");
    assert_eq!(third.receive().await.as_deref(), Some(r#"["ok","k"]"#));
    until(|| held.total() == 0).await;
    // The room of a long frame is not kept for the short one behind it.
    let request = megabyte_request();
    third.stream.write_all(&(request.len() as u32).to_be_bytes()).await.expect("sent");
    third.stream.write_all(format!("{request}\0\0").as_bytes()).await.expect("sent");
    assert_eq!(third.receive().await.as_deref(), Some(r#"["ok","k"]"#));
    until(|| held.total() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_given_up_gives_its_room_back() {
    let settings = Settings::default();
    let held = settings.unfinished_bytes.clone();
    let mut client = Client::connect(&Script::default(), settings);
    send_most_of_a_megabyte(&mut client).await;
    let refused = client.receive().await.expect("a refusal");
    assert!(refused.contains("1 of its bytes did not come within 30 s"), "{refused}");
    assert_eq!(held.total(), 0);
    assert_eq!(client.receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_and_silence_ends_the_connection_and_silence_alone_does_not() {
    let service = Script::default();
    let mut idle = Client::connect(&service, Settings::default());
    idle.exchange(r#"["read","k"]"#).await;
    let mut slow = Client::connect(&service, Settings::default());
    slow.stream.write_all(b"\x00\x0e[\"rea").await.expect("sent");
    let refused = slow.receive().await.expect("a refusal");
    assert!(refused.contains("9 of its bytes did not come within 30 s"), "{refused}");
    assert_eq!(slow.receive().await, None);
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert_eq!(idle.exchange(r#"["read","k"]"#).await, r#"["ok","k"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_bounded_and_then_disconnected() {
    let service = Script::default();
    let settings = Settings { output_bytes_max: 10_000, ..Settings::default() };
    let mut client = Client::with_pipe(&service, settings, 1024);
    let flood = async {
        loop {
            client.send(r#"["read","k"]"#).await;
        }
    };
    // Back-pressure: the node stops reading, so sending blocks.
    assert!(tokio::time::timeout(Duration::from_secs(5), flood).await.is_err());
    let ended = (&mut client.served).await.expect("no panic");
    assert_eq!(ended.expect_err("stalled").kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn requests_under_way_are_bounded() {
    let service = Script::default();
    let settings = Settings { requests_in_flight_max: 3, ..Settings::default() };
    let mut client = Client::connect(&service, settings);
    for _ in 0..10 {
        client.send(r#"["write","k",1]"#).await;
    }
    service.until_held(3).await;
    for _ in 0..10 {
        until(|| service.held() > 0).await;
        assert!(service.held() <= 3);
        service.take(0).expect("held").1.send(Ok(Value::Null));
        assert_eq!(client.receive().await.as_deref(), Some(r#"["ok",null]"#));
    }
}

/// However many requests one connection has sent, another gets its turn after a few of them.
#[tokio::test]
async fn connections_take_turns() {
    let service = Script::default();
    let mut many = Client::connect(&service, Settings::default());
    let mut one = Client::connect(&service, Settings::default());
    for _ in 0..60 {
        many.send(r#"["write","many",1]"#).await;
    }
    one.send(r#"["write","one",1]"#).await;
    service.until_held(61).await;
    let is_one = |(call, _): &(Call, Reply)| matches!(&call.request, Request::Write { key, .. } if key == "one");
    let place = service.held.lock().expect("lock").iter().position(is_one);
    assert!(place < Some(60), "{place:?}");
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_its_answers() {
    let service = Script::default();
    let settings = Settings { requests_in_flight_max: 2, ..Settings::default() };
    let mut client = Client::connect(&service, settings);
    for _ in 0..5 {
        client.send(r#"["write","k",1]"#).await;
    }
    client.stream.shutdown().await.expect("half closed");
    for _ in 0..5 {
        until(|| service.held() > 0).await;
        service.take(0).expect("held").1.send(Ok(Value::Null));
        assert!(client.receive().await.is_some());
    }
    assert_eq!(client.receive().await, None);
    assert!(client.served.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_harms_nobody() {
    let service = Script::default();
    let mut client = Client::connect(&service, Settings::default());
    client.send(r#"["write","k",1]"#).await;
    client.stream.write_all(b"\x00").await.expect("sent");
    service.until_held(1).await;
    drop(client.stream);
    service.take(0).expect("the request goes on").1.send(Ok(Value::Null));
    assert!(client.served.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_dropped_reply_is_an_answer_too() {
    let service = Script::default();
    let mut client = Client::connect(&service, Settings::default());
    client.send(r#"["write","k",1]"#).await;
    service.until_held(1).await;
    drop(service.take(0));
    let answer = client.receive().await.expect("an answer");
    assert!(answer.starts_with(r#"["ko","timeout: the node stopped"#), "{answer}");
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_reads_no_more() {
    let service = Script::default();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut client = Client::connect(&service, Settings { stop: stopped, ..Settings::default() });
    client.send(r#"["write","k",1]"#).await;
    service.until_held(1).await;
    stop.send(true).expect("a connection listens");
    service.take(0).expect("held").1.send(Ok(Value::Null));
    assert_eq!(client.receive().await.as_deref(), Some(r#"["ok",null]"#));
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn documents_without_an_id_get_one_before_the_service_sees_them() {
    let service = Script::default();
    let next = AtomicU64::new(0);
    let ids: gateway::IdSource =
        Arc::new(move || format!("id-{}", next.fetch_add(1, Ordering::Relaxed)));
    let mut client = Client::connect(&service, Settings { ids, ..Settings::default() });
    client.exchange(r#"["insert","c",[{"a":1},{"b":2,"_id":"own"},{}]]"#).await;
    let texts: Vec<String> = service
        .inserted
        .lock()
        .expect("lock")
        .iter()
        .map(|document| json::to_string(&Value::Document(document.clone())))
        .collect();
    assert_eq!(texts, [r#"{"_id":"id-0","a":1}"#, r#"{"b":2,"_id":"own"}"#, r#"{"_id":"id-1"}"#]);
    let id = (Settings::default().ids)();
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "{id}");
}

#[tokio::test]
async fn first_bytes_that_were_read_already_count() {
    let (mut stream, server) = tokio::io::duplex(1024);
    let service = Script::default();
    tokio::spawn(native::serve(server, b"\x00\x0d[\"read", service, Arc::default()));
    stream.write_all(b"\",\"ab\"]").await.expect("sent");
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer[2..], b"[\"ok\",\"ab\"]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_from_another_thread_wake_the_connection() {
    let service = Script::default();
    let mut client = Client::connect(&service, Settings::default());
    let answering = service.clone();
    let thread = std::thread::spawn(move || {
        let mut answered = 0;
        while answered < 5000 {
            match answering.take(0) {
                Some((_, reply)) => {
                    reply.send(Ok(Value::Int64(answered)));
                    answered += 1;
                }
                None => std::thread::yield_now(),
            }
        }
    });
    for round in 0..100 {
        for _ in 0..50 {
            client.send(r#"["write","k",1]"#).await;
        }
        for position in 0..50 {
            let expected = format!("[\"ok\",{}]", round * 50 + position);
            assert_eq!(client.receive().await, Some(expected));
        }
    }
    thread.join().expect("no panic");
}

/// Ten thousand clients that hardly ever speak: each costs little and is still served.
#[tokio::test]
async fn idle_connections_are_cheap_and_stay_alive() {
    let service = Script::default();
    let settings = Arc::new(Settings::default());
    let (_, server) = tokio::io::duplex(64);
    let future = native::serve(server, b"", service.clone(), Arc::clone(&settings));
    assert!(size_of_val(&future) <= 768, "{} bytes", size_of_val(&future));
    let mut clients = Vec::new();
    for _ in 0..10_000 {
        let (stream, server) = tokio::io::duplex(64);
        tokio::spawn(native::serve(server, b"", service.clone(), Arc::clone(&settings)));
        clients.push(stream);
    }
    for _ in 0..2 {
        for client in &mut clients {
            client.write_all(b"\x00\x0e[\"read\", \"ab\"]").await.expect("sent");
        }
        for client in &mut clients {
            let mut answer = [0; 13];
            client.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(&answer, b"\x00\x0b[\"ok\",\"ab\"]");
        }
    }
}

#[tokio::test]
async fn an_upsert_gets_its_id_before_it_is_proposed() {
    let service = Script::default();
    let mut client = Client::connect(&service, Settings::default());
    let requests = [
        r#"["update","c",{"a":1},{"b":1},{"upsert":true}]"#,
        r#"["replace","c",{"a":1},{"b":1},{"upsert":true}]"#,
        r#"["modify","c",{"a":1},{"b":1},{"upsert":true}]"#,
    ];
    for text in requests {
        client.send(text).await;
    }
    service.until_held(3).await;
    let mut drawn = Vec::new();
    for position in (0..3).rev() {
        let (call, reply) = service.take(position).expect("held");
        let upsert = match call.request {
            Request::Update { options, .. } => options.upsert,
            Request::Replace { upsert, .. } => upsert,
            Request::Modify { action: ModifyAction::Update { upsert, .. }, .. } => upsert,
            other => panic!("{other:?}"),
        };
        let Upsert::Insert { new_id: Some(Value::String(id)) } = upsert else {
            panic!("{upsert:?} has no _id")
        };
        drawn.push(id);
        reply.send(Ok(Value::Null));
    }
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), 3, "each its own");
}
