//! What the process asks of the operating system.

use crate::error::ServerError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that the log, the store and the peers need; the rest is for clients.
const FILES_RESERVED: u64 = 600;
/// Files open at most if the operating system sets no limit.
const FILES_MAX: u64 = 1 << 20;

/// Raises the limit of open files as far as it may, and returns how many connections that leaves.
pub(crate) fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            limit.current
        }
    };
    let files = current.unwrap_or(FILES_MAX).min(FILES_MAX);
    let reserved = FILES_RESERVED.min(files / 2);
    usize::try_from(files - reserved).unwrap_or(usize::MAX)
}

/// Random bytes from the operating system.
///
/// # Errors
/// [`ServerError::Random`].
pub(crate) fn random_bytes<const COUNT: usize>() -> Result<[u8; COUNT], ServerError> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(|error| ServerError::Random(error.to_string()))?;
    Ok(bytes)
}

/// A random number that is not zero.
///
/// # Errors
/// [`ServerError::Random`].
pub(crate) fn random_number() -> Result<u64, ServerError> {
    loop {
        let number = u64::from_le_bytes(random_bytes()?);
        if number != 0 {
            return Ok(number);
        }
    }
}
