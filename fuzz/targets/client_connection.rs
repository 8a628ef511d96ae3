//! A whole connection of the native protocol over a service that answers at once: whatever a client sends and then
//! goes, the connection ends, and what it answered are frames with replies in them.
#![no_main]

use api::frame::{Decoder, LengthField};
use api::json::parse_reply;
use api::{Call, Request, Value};
use gateway::{Reply, Service, Settings, native};
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};

#[derive(Clone)]
struct AtOnce;

impl Service for AtOnce {
    fn start(&self, call: Call, reply: Reply) {
        assert!(!matches!(call.request, Request::Hello { .. }), "a hello never comes");
        if let Request::Insert { documents, .. } = &call.request {
            assert!(documents.iter().all(|document| document.contains_key("_id")));
        }
        reply.send(Ok(Value::Null));
    }
}

async fn talk(bytes: &[u8]) -> Vec<u8> {
    let (client, server) = duplex(1 << 12);
    let served = native::serve(server, b"", AtOnce, Arc::new(Settings::default()));
    let (mut from, mut to) = tokio::io::split(client);
    let send = async move {
        // The server may close before it has read everything.
        let _ = to.write_all(bytes).await;
        let _ = to.shutdown().await;
    };
    let mut answers = Vec::new();
    let receive = from.read_to_end(&mut answers);
    let (served, (), received) = tokio::join!(served, send, receive);
    let _ = (served, received);
    answers
}

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let answers = RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(|| {
            Builder::new_current_thread().enable_time().build().expect("a runtime can be made")
        });
        runtime.block_on(talk(data))
    });
    let mut decoder = Decoder::new(LengthField::Short);
    decoder.push(&answers);
    while let Ok(Some(payload)) = decoder.next() {
        // After a hello lengths are longer, and the rest is not followed here.
        if data.windows(5).any(|word| word == b"hello") {
            return;
        }
        let shown = String::from_utf8_lossy(payload);
        assert!(parse_reply(payload).is_ok(), "the answer is no reply: {shown}");
    }
});
