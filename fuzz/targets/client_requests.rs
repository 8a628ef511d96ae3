//! JSON as clients and servers send it: requests, replies, documents, values. What is read is written and read
//! again to the same text.
#![no_main]

use api::encode::write_call;
use api::json::{parse_document, parse_reply, parse_value, write_reply, write_value};
use api::parse::parse_call;
use api::{Error, Value};
use libfuzzer_sys::fuzz_target;

/// Writes what was read from `text`, reads that, and writes it again.
fn comes_back<T>(
    text: &[u8],
    read: impl Fn(&[u8]) -> Result<T, Error>,
    write: impl Fn(&T, &mut Vec<u8>),
) {
    let Ok(first) = read(text) else { return };
    let mut written = Vec::new();
    write(&first, &mut written);
    let shown = String::from_utf8_lossy(&written);
    let second = read(&written).unwrap_or_else(|e| panic!("{shown}: {}", e.message));
    let mut again = Vec::new();
    write(&second, &mut again);
    assert_eq!(shown, String::from_utf8_lossy(&again));
}

fuzz_target!(|data: &[u8]| {
    comes_back(data, parse_call, write_call);
    comes_back(data, parse_value, write_value);
    comes_back(data, parse_document, |document, out| {
        write_value(&Value::Document(document.clone()), out);
    });
    comes_back(data, parse_reply, |reply, out| {
        write_reply(reply, usize::MAX, out).expect("there is no limit");
    });
});
