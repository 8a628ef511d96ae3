//! Addresses as operators write them: `host:port`.

use crate::error::ServerError;
use std::net::{SocketAddr, ToSocketAddrs as _};

/// Longest address, in bytes: a host name has 253 at most.
pub(crate) const ADDRESS_BYTES_MAX: usize = 300;

/// Checks the form of an address: a host, a colon, a port from 1.
///
/// # Errors
/// [`ServerError::BadAddress`].
pub(crate) fn check(what: &'static str, address: &str) -> Result<(), ServerError> {
    let bad = |reason: &str| {
        Err(ServerError::BadAddress { what, address: address.into(), reason: reason.into() })
    };
    let Some((host, port)) = address.rsplit_once(':') else { return bad("there is no port") };
    if host.is_empty() {
        return bad("there is no host");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return bad("an IPv6 address stands in brackets, as in [::1]:8000");
    }
    if address.len() > ADDRESS_BYTES_MAX {
        return bad("it is too long");
    }
    match port.parse::<u16>() {
        Ok(0) => bad("port 0 cannot be reached by others"),
        Ok(_) => Ok(()),
        Err(_) => bad("the port is no number from 1 to 65535"),
    }
}

/// Checks that `address` can mean this machine to others: 0.0.0.0 and [::] mean each machine itself.
///
/// # Errors
/// [`ServerError::BadAddress`].
pub(crate) fn check_reachable(what: &'static str, address: &str) -> Result<(), ServerError> {
    match address.parse::<SocketAddr>() {
        Ok(socket) if socket.ip().is_unspecified() => Err(ServerError::BadAddress {
            what,
            address: address.into(),
            reason:
                "others cannot reach this node there; say --advertise HOST:PORT as well, with the \
                     address they can reach"
                    .into(),
        }),
        _ => Ok(()),
    }
}

/// The socket addresses of an address to listen at.
///
/// # Errors
/// [`ServerError::BadAddress`] if it is malformed or its host is not known;
/// [`ServerError::Exposed`] if other machines could connect and `insecure` does not allow it.
pub(crate) fn resolve_listen(
    address: &str,
    insecure: bool,
) -> Result<Vec<SocketAddr>, ServerError> {
    check("the address to listen at", address)?;
    let found = address.to_socket_addrs().map_err(|error| ServerError::BadAddress {
        what: "the address to listen at",
        address: address.into(),
        reason: error.to_string(),
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for one in found {
        if !addresses.contains(&one) {
            addresses.push(one);
        }
    }
    if !insecure && addresses.iter().any(|one| !one.ip().is_loopback()) {
        return Err(ServerError::Exposed { address: address.into() });
    }
    Ok(addresses)
}
