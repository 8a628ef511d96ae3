//! One request to one certain node, without the client library's failover.

use api::encode::write_call;
use api::frame::{self, Decoder, LengthField};
use api::{Call, Error, Request, Value, json};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Asks the node at `address` and waits for the answer, `timeout` in all.
///
/// # Errors
/// In words, why there is no answer, or what the node refuses.
pub(crate) fn ask(address: &str, request: Request, timeout: Duration) -> Result<Value, String> {
    let answer = exchange(address, request, Instant::now() + timeout);
    answer.map_err(|error| error.to_string())?.map_err(|refusal| refusal.to_string())
}

fn exchange(
    address: &str,
    request: Request,
    deadline: Instant,
) -> io::Result<Result<Value, Error>> {
    let mut stream = connect(address, deadline)?;
    let hello = Request::Hello { frame_length_bytes: 4 };
    let mut out = encode(hello, LengthField::Short)?;
    out.append(&mut encode(request, LengthField::Long)?);
    stream.write_all(&out)?;
    let mut decoder = Decoder::new(LengthField::Short);
    if let Err(refusal) = receive(&mut stream, &mut decoder, deadline)? {
        return Ok(Err(refusal));
    }
    decoder.set_length_field(LengthField::Long);
    receive(&mut stream, &mut decoder, deadline)
}

fn connect(address: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(left(deadline)?))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn encode(request: Request, length_field: LengthField) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let call = Call { request, options: api::Options::default() };
    let write = |out: &mut Vec<u8>| {
        write_call(&call, out);
        Ok(())
    };
    frame::encode(length_field, &mut out, write).map_err(io::Error::other)?;
    Ok(out)
}

fn receive(
    stream: &mut TcpStream,
    decoder: &mut Decoder,
    deadline: Instant,
) -> io::Result<Result<Value, Error>> {
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(payload) = decoder.next().map_err(io::Error::other)? {
            return json::parse_reply(payload).map_err(io::Error::other);
        }
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => {
                let message = "it closed the connection without an answer";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            Ok(count) => decoder.push(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(error),
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")
}
