//! References: the unique name of one client operation (spec P9, P10).

use crate::error::{Error, ErrorCode};
use crate::limits::REFERENCE_CLIENT_BYTES_MAX;
use std::fmt;

/// The unique name of one client operation: who asks, and the how-manieth of its operations.
///
/// A retry under the same reference, at any server and any number of times, takes effect once and
/// gets the first answer. As text it is `client:sequence`; text without a colon and a number is a
/// client with the single sequence 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Who asks; unique to one client (a UUID, for the client library).
    pub client: String,
    /// Which of the client's operations; each is used for one operation only.
    pub sequence: u64,
}

impl Reference {
    /// A reference of `client` with `sequence`.
    pub fn new(client: impl Into<String>, sequence: u64) -> Reference {
        Reference { client: client.into(), sequence }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`ErrorCode::BadRequest`] if it is empty or longer than
    /// [`REFERENCE_CLIENT_BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Reference, Error> {
        let (client, sequence) = match text.rsplit_once(':') {
            Some((client, digits)) if is_number(digits) => match digits.parse() {
                Ok(sequence) => (client, sequence),
                Err(_) => (text, 0),
            },
            _ => (text, 0),
        };
        if client.is_empty() || client.len() > REFERENCE_CLIENT_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::BadRequest,
                format!(
                    "ref: a reference is 1 to {REFERENCE_CLIENT_BYTES_MAX} bytes of client, \
                     optionally with :number; this one has {}",
                    client.len()
                ),
            ));
        }
        Ok(Reference::new(client, sequence))
    }
}

/// Digits as [`fmt::Display`] would write them, so that text and value are one to one.
fn is_number(digits: &str) -> bool {
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.client, self.sequence)
    }
}
