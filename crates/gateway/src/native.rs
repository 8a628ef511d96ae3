//! The native protocol (spec §3): frames of JSON, answers in the order of requests.
//!
//! One task serves one connection. It starts requests as they arrive, without waiting for the answers
//! of earlier ones, and writes all answers that are ready, in order, at once. What bounds it is
//! [`Settings`]: with too many requests under way, or answers unread, the connection is not read, and
//! the frames that are not complete share one budget of memory. An idle connection holds no buffer.

mod answers;
mod connection;

use crate::{Service, Settings};
use connection::Connection;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves one connection until it ends. `first_bytes` were read from it already (see
/// [`crate::detect`]).
///
/// Requests that are under way when the client goes away run to their end.
///
/// # Errors
/// What the stream answers when it breaks; a client that closes, whenever it does so, is no error.
pub fn serve<S, V>(
    stream: S,
    first_bytes: &[u8],
    service: V,
    settings: Arc<Settings>,
) -> impl Future<Output = io::Result<()>> + Send + use<S, V>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    V: Service,
{
    Connection::new(stream, first_bytes, service, settings).run()
}
