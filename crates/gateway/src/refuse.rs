//! Refusals for protocols that this version does not speak, each in the client's own language.

use crate::detect::Detected;
use api::frame::{self, LengthField};
use api::limits::LONG_FRAME_BYTES_MAX;
use api::{Error, ErrorCode, json};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Refuses a connection that [`crate::detect`] found to speak `detected`, and closes it.
///
/// HTTP gets `501 Not Implemented`, TLS a fatal alert, a MongoDB driver a reply with `ok: 0`, and what
/// cannot be told a native frame with a `ko`.
///
/// # Errors
/// What the stream answers.
pub async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    detected: Detected,
    first_bytes: &[u8],
) -> io::Result<()> {
    let answer = match detected {
        Detected::Http => http_refusal(),
        Detected::Tls => TLS_ALERT.to_vec(),
        Detected::Mongo => mongo_refusal(first_bytes),
        _ => native_refusal(),
    };
    stream.write_all(&answer).await?;
    close(&mut stream).await;
    Ok(())
}

/// Ends a connection whose client may still be sending: were it closed with bytes unread, the answer
/// might be lost on its way.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    // Whatever fails here, the connection ends.
    let _ = stream.shutdown().await;
    let discard = async {
        let mut bytes = [0; 512];
        // A client that is still sending its longest frame reads the answer only after it.
        let mut left: usize = LONG_FRAME_BYTES_MAX;
        while let Ok(count) = stream.read(&mut bytes).await {
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), discard).await;
}

/// Record type alert (21), version 3.1, 2 bytes: fatal (2), handshake_failure (40).
const TLS_ALERT: &[u8] = &[21, 3, 1, 0, 2, 2, 40];

fn http_refusal() -> Vec<u8> {
    let body = "This MondongoDB node does not speak HTTP yet; use mondongo cli HOST:PORT.\n";
    format!(
        "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn native_refusal() -> Vec<u8> {
    let error = Error::new(
        ErrorCode::BadRequest,
        "the first bytes are of no protocol known here; the native one sends a 2-byte big-endian \
         length and a JSON list",
    );
    let mut out = Vec::new();
    let written = frame::encode(LengthField::Short, &mut out, |out| {
        json::write_reply(&Err(error), LengthField::Short.payload_bytes_max(), out)
    });
    assert!(written.is_ok(), "a refusal always fits a frame");
    out
}

/// A reply to the request whose header `first_bytes` hold: OP_REPLY to OP_QUERY, else OP_MSG.
fn mongo_refusal(first_bytes: &[u8]) -> Vec<u8> {
    let word = |position: usize| -> u32 {
        let bytes = first_bytes.get(position..).and_then(|rest| rest.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let (request_id, code) = (word(4), word(12));
    let document = bson::doc! {
        "ok": 0.0,
        "errmsg": "this node does not speak the MongoDB protocol yet; use mondongo cli HOST:PORT",
        "code": 115,
        "codeName": "CommandNotSupported",
    };
    let document = document.to_vec().unwrap_or_default();
    let mut body = Vec::new();
    let reply_code: u32 = if code == 2004 {
        body.extend_from_slice(&2u32.to_le_bytes()); // flags: QueryFailure
        body.extend_from_slice(&0u64.to_le_bytes()); // cursor
        body.extend_from_slice(&0u32.to_le_bytes()); // starting from
        body.extend_from_slice(&1u32.to_le_bytes()); // documents
        1
    } else {
        body.extend_from_slice(&0u32.to_le_bytes()); // flags
        body.push(0); // section: one document
        2013
    };
    body.extend_from_slice(&document);
    let mut out = Vec::new();
    for number in [16 + body.len() as u32, 1, request_id, reply_code] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&body);
    out
}
