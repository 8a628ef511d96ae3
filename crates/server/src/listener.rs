//! Listening at the node's one address.

use crate::error::ServerError;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Listens at every one of `addresses`, which are those of `name`. `localhost` has two on most
/// machines; one that the machine does not have is left out.
///
/// # Errors
/// [`ServerError::AddressInUse`] if anybody else listens at one of them; [`ServerError::Listen`].
pub(crate) async fn listen(
    name: &str,
    addresses: &[SocketAddr],
) -> Result<Vec<TcpListener>, ServerError> {
    let mut listeners = Vec::new();
    let mut failure = None;
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(ServerError::AddressInUse { address: name.into() });
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(source) if listeners.is_empty() => {
            Err(ServerError::Listen { address: name.into(), source })
        }
        _ => Ok(listeners),
    }
}
