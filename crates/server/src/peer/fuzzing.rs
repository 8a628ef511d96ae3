//! The way of fuzz targets to what reads the bytes of another node. Not part of any build but theirs.

use super::frame::{self, FrameError};
use super::greeting::{Greeting, Hello, refusal};
use crate::folder::ClusterId;
use bytes::{Bytes, BytesMut};
use gateway::detect::PEER_MAGIC;
use paxos::{NodeId, Policy};

/// Takes the first payload off `buffer`.
///
/// # Errors
/// Why the bytes are no frame.
pub fn take_frame(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, String> {
    frame::take(buffer, bytes_max).map_err(|error: FrameError| error.to_string())
}

/// Appends one frame.
pub fn append_frame(out: &mut Vec<u8>, payload: &[u8]) {
    frame::append(out, |out| out.extend_from_slice(payload));
}

/// Reads a greeting's payload, from either side.
///
/// # Panics
/// If what is understood is not written as the bytes it came from.
pub fn check_greeting(payload: &[u8]) {
    let mut framed = Vec::new();
    append_frame(&mut framed, payload);
    if let Ok(hello) = Hello::decode(Bytes::copy_from_slice(payload)) {
        let written = hello.encode();
        assert_eq!(written.strip_prefix(PEER_MAGIC.as_slice()), Some(&framed[..]), "{hello:?}");
    }
    if let Ok(greeting) = Greeting::decode(Bytes::copy_from_slice(payload)) {
        assert_eq!(greeting.encode(), framed, "{greeting:?}");
    }
}

/// One payload of each kind of greeting.
pub fn greetings() -> Vec<Vec<u8>> {
    let (cluster, node, address) = (ClusterId([3; 16]), NodeId(4), "localhost:8001".to_owned());
    let expected = Some(NodeId(5));
    let hello = Hello { cluster: Some(cluster), node, expected, address: address.clone() };
    let stranger = Hello { cluster: None, expected: None, ..hello.clone() };
    let mut framed = vec![Greeting { cluster, policy: Policy::Paxos, node, address }.encode()];
    for hello in [hello, stranger] {
        framed.push(hello.encode().split_off(PEER_MAGIC.len()));
    }
    framed.push(refusal(true, "not now"));
    let payload = |bytes: Vec<u8>| {
        let taken = frame::take(&mut BytesMut::from(&bytes[..]), bytes.len());
        taken.ok().flatten().map(|payload| payload.to_vec())
    };
    framed.into_iter().filter_map(payload).collect()
}
