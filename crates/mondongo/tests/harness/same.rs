//! The demand that all nodes hold the same content at the same slot.

use super::PATIENCE;
use anyhow::{Context, Result, bail, ensure};
use api::{Document, Value};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// How long a node may take to answer one question.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// One request on a connection of its own, as the founding document's client does it.
///
/// # Errors
/// If there is no answer, or it is a `ko`.
pub(crate) fn ask(address: &str, request: &str) -> Result<Value> {
    let target = address.to_socket_addrs()?.next().context("no address")?;
    let mut stream = TcpStream::connect_timeout(&target, ANSWER_TIME)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    let length = u16::try_from(request.len())?.to_be_bytes();
    stream.write_all(&[&length, request.as_bytes()].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut payload = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut payload)?;
    match api::json::parse_reply(&payload)? {
        Ok(value) => Ok(value),
        Err(error) => bail!("{address} answers {error}"),
    }
}

/// Waits until all nodes stand at the same slot, while nobody writes; returns that slot and the hash of
/// the content, which must be the same everywhere.
///
/// # Errors
/// If they do not come to stand at one slot, or their contents differ there.
pub(crate) fn same_content(addresses: &[String]) -> Result<(i64, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all: Result<Vec<(i64, String)>> = addresses.iter().map(|a| content(a)).collect();
        match all {
            Ok(all) if all.iter().all(|(slot, _)| *slot == all[0].0) => {
                let same = all.iter().all(|(_, hash)| *hash == all[0].1);
                ensure!(same, "nodes differ at one slot: {all:?}");
                return all.into_iter().next().context("no nodes");
            }
            seen if Instant::now() > deadline => bail!("no common slot in the end: {seen:?}"),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn content(address: &str) -> Result<(i64, String)> {
    let status = ask(address, r#"["status",{"hash":true}]"#)?;
    let status: &Document = status.as_document().context("a status is a document")?;
    Ok((status.get_i64("hash_slot")?, status.get_str("hash")?.to_owned()))
}
