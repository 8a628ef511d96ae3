//! The first words on a connection between nodes: who is there, and whether they belong together.

use super::frame;
use crate::address::ADDRESS_BYTES_MAX;
use crate::folder::ClusterId;
use bytes::{Buf as _, Bytes, BytesMut};
use gateway::detect::PEER_MAGIC;
use paxos::{NodeId, Policy};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The version of everything after the magic.
pub(crate) const PROTOCOL_VERSION: u16 = 2;
/// Longest greeting.
const GREETING_BYTES_MAX: usize = 4 << 10;
/// How long the other side may take for its part of the greeting.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// A cluster id that stands for "I do not know yet".
const UNKNOWN: ClusterId = ClusterId([0; 16]);

/// How a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Its group; none while it does not know, or only asks.
    pub(crate) cluster: Option<ClusterId>,
    /// Who it is.
    pub(crate) node: NodeId,
    /// Whom it wants to reach, if it knows.
    pub(crate) expected: Option<NodeId>,
    /// Where it listens.
    pub(crate) address: String,
}

/// How a node answers a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Its group.
    pub(crate) cluster: ClusterId,
    /// By which rule the group decides.
    pub(crate) policy: Policy,
    /// Who it is.
    pub(crate) node: NodeId,
    /// Where it listens.
    pub(crate) address: String,
}

/// Why there is no conversation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    /// It cannot be reached.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not want to talk, for a while or for ever.
    #[error("it refuses: {reason}")]
    Refused {
        /// Whether it may think otherwise later.
        for_now: bool,
        /// Its words.
        reason: String,
    },
    /// It is no node of this program.
    #[error("it does not speak the protocol between nodes: {0}")]
    Garbage(String),
}

const WELCOME: u8 = 1;
const REFUSAL: u8 = 2;
const REFUSAL_FOR_NOW: u8 = 3;

impl Hello {
    /// The bytes, the magic included.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = PEER_MAGIC.to_vec();
        frame::append(&mut out, |out| {
            out.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
            out.extend_from_slice(&self.cluster.unwrap_or(UNKNOWN).0);
            out.extend_from_slice(&self.node.0.to_le_bytes());
            out.extend_from_slice(&self.expected.map_or(0, |node| node.0).to_le_bytes());
            out.extend_from_slice(self.address.as_bytes());
        });
        out
    }

    /// Reads the payload after the magic.
    ///
    /// # Errors
    /// A reason to refuse the connection.
    pub(super) fn decode(mut bytes: Bytes) -> Result<Hello, String> {
        let version = bytes.try_get_u16_le().map_err(|_| "the greeting is too short")?;
        if version != PROTOCOL_VERSION {
            return Err(format!(
                "the connection speaks version {version} of the protocol between nodes, this node \
                 knows only version {PROTOCOL_VERSION}; run neighbouring versions together"
            ));
        }
        let short = "the greeting is too short";
        let mut cluster = [0; 16];
        bytes.try_copy_to_slice(&mut cluster).map_err(|_| short)?;
        let node = bytes.try_get_u64_le().map_err(|_| short)?;
        let expected = bytes.try_get_u64_le().map_err(|_| short)?;
        if node == 0 {
            return Err("the greeting names no node".into());
        }
        let cluster = Some(ClusterId(cluster)).filter(|cluster| *cluster != UNKNOWN);
        let expected = Some(NodeId(expected)).filter(|node| node.0 != 0);
        Ok(Hello { cluster, node: NodeId(node), expected, address: address(&bytes)? })
    }
}

impl Greeting {
    /// The bytes of the answer "welcome".
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        frame::append(&mut out, |out| {
            out.push(WELCOME);
            out.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
            out.extend_from_slice(&self.cluster.0);
            out.push(match self.policy {
                Policy::Paxos => 0,
                Policy::Passive => 1,
            });
            out.extend_from_slice(&self.node.0.to_le_bytes());
            out.extend_from_slice(self.address.as_bytes());
        });
        out
    }

    /// Reads the answer to a [`Hello`].
    pub(super) fn decode(mut bytes: Bytes) -> Result<Greeting, GreetError> {
        let garbage = |what: &str| GreetError::Garbage(what.to_string());
        let short = || garbage("its answer is too short");
        let kind = bytes.try_get_u8().map_err(|_| short())?;
        if kind == REFUSAL || kind == REFUSAL_FOR_NOW {
            let reason: String =
                String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect();
            return Err(GreetError::Refused { for_now: kind == REFUSAL_FOR_NOW, reason });
        }
        if kind != WELCOME {
            return Err(garbage("its answer is of no known kind"));
        }
        let version = bytes.try_get_u16_le().map_err(|_| short())?;
        if version != PROTOCOL_VERSION {
            return Err(garbage(&format!("it answers in version {version}")));
        }
        let mut cluster = [0; 16];
        bytes.try_copy_to_slice(&mut cluster).map_err(|_| short())?;
        let policy = match bytes.try_get_u8().map_err(|_| short())? {
            0 => Policy::Paxos,
            1 => Policy::Passive,
            _ => return Err(garbage("it names no known policy")),
        };
        let node = NodeId(bytes.try_get_u64_le().map_err(|_| short())?);
        let address = address(&bytes).map_err(GreetError::Garbage)?;
        if node.0 == 0 || cluster == UNKNOWN.0 {
            return Err(garbage("it does not say who it is"));
        }
        Ok(Greeting { cluster: ClusterId(cluster), policy, node, address })
    }
}

/// The bytes of a refusal.
pub(super) fn refusal(for_now: bool, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append(&mut out, |out| {
        out.push(if for_now { REFUSAL_FOR_NOW } else { REFUSAL });
        out.extend_from_slice(reason.as_bytes());
    });
    out
}

fn address(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the address is not UTF-8")?;
    if text.len() > ADDRESS_BYTES_MAX || crate::address::check("the address", text).is_err() {
        return Err("the greeting names no address".into());
    }
    Ok(text.to_string())
}

/// Connects to `address` and introduces this node. The connection may then carry messages to it.
///
/// # Errors
/// [`GreetError`].
pub(crate) async fn greet(
    address: &str,
    hello: &Hello,
) -> Result<(TcpStream, Greeting), GreetError> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&hello.encode()).await?;
        let payload = read_frame(&mut stream, BytesMut::new()).await?;
        Ok((stream, Greeting::decode(payload)?))
    };
    let greeted = tokio::time::timeout(GREETING_TIMEOUT, talk).await;
    greeted.unwrap_or_else(|_| Err(GreetError::Io(io::ErrorKind::TimedOut.into())))
}

/// Reads the one frame of a greeting; nothing follows it before it is answered.
pub(super) async fn read_frame(
    stream: &mut TcpStream,
    mut buffer: BytesMut,
) -> Result<Bytes, GreetError> {
    loop {
        match frame::take(&mut buffer, GREETING_BYTES_MAX) {
            Ok(Some(payload)) if buffer.is_empty() => return Ok(payload),
            Ok(Some(_)) => return Err(GreetError::Garbage("it says more than its part".into())),
            Ok(None) => {}
            Err(error) => return Err(GreetError::Garbage(error.to_string())),
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(GreetError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            cluster: Some(ClusterId([3; 16])),
            node: NodeId(4),
            expected: Some(NodeId(5)),
            address: "localhost:8001".into(),
        }
    }

    fn payload(bytes: &[u8]) -> Bytes {
        let mut buffer = BytesMut::from(bytes);
        let taken = frame::take(&mut buffer, GREETING_BYTES_MAX);
        taken.expect("a frame").expect("a whole one")
    }

    #[test]
    fn a_hello_comes_back() {
        for cluster in [None, Some(ClusterId([3; 16]))] {
            let hello = Hello { cluster, ..hello() };
            let bytes = hello.encode();
            assert_eq!(&bytes[..PEER_MAGIC.len()], PEER_MAGIC);
            assert_eq!(Hello::decode(payload(&bytes[PEER_MAGIC.len()..])), Ok(hello));
        }
    }

    #[test]
    fn a_hello_of_another_version_is_told_so() {
        let mut bytes = payload(&hello().encode()[PEER_MAGIC.len()..]).to_vec();
        bytes[0] = 9;
        let refused = Hello::decode(bytes.into()).expect_err("another version");
        assert!(refused.contains("version 9"), "{refused}");
    }

    #[test]
    fn a_hello_cut_anywhere_is_refused() {
        let whole = payload(&hello().encode()[PEER_MAGIC.len()..]);
        for length in 0..whole.len() - "localhost:8001".len() + 1 {
            assert!(Hello::decode(whole.slice(..length)).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn answers_come_back() {
        let greeting = Greeting {
            cluster: ClusterId([3; 16]),
            policy: Policy::Passive,
            node: NodeId(4),
            address: "localhost:8001".into(),
        };
        let decoded = Greeting::decode(payload(&greeting.encode()));
        assert_eq!(decoded.expect("a welcome"), greeting);
        for for_now in [false, true] {
            match Greeting::decode(payload(&refusal(for_now, "no"))) {
                Err(GreetError::Refused { for_now: is, reason }) => {
                    assert_eq!((is, reason.as_str()), (for_now, "no"));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
