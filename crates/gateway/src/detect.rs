//! Which protocol a connection speaks, from its first bytes (spec §7: one address for everything).

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first bytes of a connection between two nodes.
///
/// As a native frame they would be a length of 65,357 and a payload that begins with `O`, which no
/// JSON does.
pub const PEER_MAGIC: &[u8; 9] = b"\xffMONDONGO";

/// What [`detect`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// The bytes are the start of more than one protocol.
    NeedMore,
    /// The native protocol: a 2-byte length and JSON.
    Native,
    /// Another node.
    Peer,
    /// HTTP/1, or the preface of HTTP/2.
    Http,
    /// A TLS handshake.
    Tls,
    /// The MongoDB wire protocol.
    Mongo,
    /// None of these.
    Unknown,
}

/// Tells which protocol a connection speaks from the first bytes of it.
pub fn detect(first: &[u8]) -> Detected {
    if first.is_empty() {
        return Detected::NeedMore;
    }
    if starts(first, PEER_MAGIC) {
        return enough(first, PEER_MAGIC.len(), Detected::Peer);
    }
    if HTTP_STARTS.iter().any(|start| starts(first, start)) {
        let whole = HTTP_STARTS.iter().any(|start| first.starts_with(start));
        return if whole { Detected::Http } else { Detected::NeedMore };
    }
    match native(first) {
        Some(true) => return Detected::Native,
        None => return Detected::NeedMore,
        Some(false) => {}
    }
    if starts(first, TLS_START) {
        return enough(first, TLS_START.len(), Detected::Tls);
    }
    mongo(first)
}

/// Reads from `stream` until [`detect`] can tell, and returns what it read. A connection may be silent
/// for ever before its first byte; once it has begun it has `timeout` to show what it is, and is
/// [`Detected::Unknown`] after that or if it ends before. An end without any byte is
/// [`Detected::NeedMore`].
///
/// # Errors
/// What the stream answers.
pub async fn sniff<S: AsyncRead + Unpin>(
    stream: &mut S,
    timeout: Duration,
) -> io::Result<(Detected, Vec<u8>)> {
    let mut first = [0; FIRST_BYTES_MAX];
    let mut count = stream.read(&mut first).await?;
    if count == 0 {
        return Ok((Detected::NeedMore, Vec::new()));
    }
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let found = detect(&first[..count]);
        if found != Detected::NeedMore {
            return Ok((found, first[..count].to_vec()));
        }
        assert!(count < FIRST_BYTES_MAX, "so many bytes always suffice");
        let read = tokio::time::timeout_at(deadline, stream.read(&mut first[count..])).await;
        match read {
            Ok(Ok(more)) if more > 0 => count += more,
            Ok(Err(error)) => return Err(error),
            _ => return Ok((Detected::Unknown, first[..count].to_vec())),
        }
    }
}

/// So many bytes always suffice to tell; also enough for the header of a MongoDB message.
const FIRST_BYTES_MAX: usize = 64;
const TLS_START: &[u8] = &[0x16, 0x03];
const HTTP_STARTS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI * HTTP/2",
];
/// Where the operation code stands in the header of a MongoDB message, and its codes: OP_QUERY,
/// OP_COMPRESSED, OP_MSG.
const MONGO_HEADER_BYTES: usize = 16;
const MONGO_CODES: [u32; 3] = [2004, 2012, 2013];
const MONGO_MESSAGE_BYTES_MAX: u32 = 48_000_000;

/// Whether `first` and `start` agree as far as both go.
fn starts(first: &[u8], start: &[u8]) -> bool {
    let common = first.len().min(start.len());
    first[..common] == start[..common]
}

fn enough(first: &[u8], needed: usize, found: Detected) -> Detected {
    if first.len() >= needed { found } else { Detected::NeedMore }
}

/// Whether a 2-byte length is followed by what may begin a JSON text, none if that cannot be told yet.
/// Not only by a list: a client that sends another value gets its refusal as an answer.
fn native(first: &[u8]) -> Option<bool> {
    let length = usize::from(u16::from_be_bytes(*first.first_chunk::<2>()?));
    if length == 0 {
        return Some(true);
    }
    let payload = &first[2..first.len().min(2 + length)];
    match payload.iter().find(|byte| !b" \t\r\n".contains(byte)) {
        Some(byte) => Some(b"[{\"-0123456789tfn".contains(byte)),
        // Nothing but whitespace is as good as an empty text, and as much as anyone needs to send.
        None if payload.len() == length || first.len() >= FIRST_BYTES_MAX => Some(true),
        None => None,
    }
}

fn mongo(first: &[u8]) -> Detected {
    let Some(length) = word(first, 0) else { return Detected::NeedMore };
    let plausible = (MONGO_HEADER_BYTES as u32..=MONGO_MESSAGE_BYTES_MAX).contains(&length);
    if !plausible {
        return Detected::Unknown;
    }
    match word(first, 12) {
        None => Detected::NeedMore,
        Some(code) if MONGO_CODES.contains(&code) => Detected::Mongo,
        Some(_) => Detected::Unknown,
    }
}

/// The little-endian number of 4 bytes at `position`.
fn word(first: &[u8], position: usize) -> Option<u32> {
    first.get(position..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}
