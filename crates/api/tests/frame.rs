//! Frames: however a stream is cut, the same payloads come out.

use api::frame::{Decoder, LengthField, encode};
use api::{Error, ErrorCode};
use proptest::prelude::*;

fn framed(length_field: LengthField, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        encode(length_field, &mut bytes, |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .expect("fits");
    }
    bytes
}

fn all(decoder: &mut Decoder) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(payload) = decoder.next().expect("within the limit") {
        payloads.push(payload.to_vec());
    }
    payloads
}

#[test]
fn lengths_are_big_endian() {
    assert_eq!(framed(LengthField::Short, &[b"[]".to_vec()]), b"\x00\x02[]");
    assert_eq!(framed(LengthField::Long, &[b"[]".to_vec()]), b"\x00\x00\x00\x02[]");
}

#[test]
fn a_payload_beyond_the_limit_is_not_encoded() {
    let mut out = b"x".to_vec();
    let error = encode(LengthField::Short, &mut out, |out| {
        out.resize(out.len() + 65_536, b' ');
        Ok(())
    })
    .expect_err("too large");
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(error.message.contains("65535 bytes at most, this one would have 65536"));
    assert_eq!(out, b"x");
    let failed = encode(LengthField::Short, &mut out, |_| Err(Error::new(ErrorCode::Busy, "no")));
    assert_eq!(failed.expect_err("refused").code, ErrorCode::Busy);
    assert_eq!(out, b"x");
}

#[test]
fn an_announced_length_reserves_nothing_and_has_a_limit() {
    let mut decoder = Decoder::new(LengthField::Long);
    decoder.push(&16_000_000u32.to_be_bytes());
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.missing_bytes(), 16_000_000);
    assert!(decoder.buffer_mut().capacity() < 1024);

    let mut decoder = Decoder::new(LengthField::Long);
    decoder.push(&u32::MAX.to_be_bytes());
    let error = decoder.next().expect_err("beyond the limit");
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(error.message.contains("16842752 bytes at most, this one announces 4294967295"));
}

#[test]
fn the_length_field_may_change_between_payloads() {
    let mut decoder = Decoder::default();
    decoder.push(b"\x00\x01a\x00\x00\x00\x01b");
    assert_eq!(decoder.next(), Ok(Some(&b"a"[..])));
    decoder.set_length_field(LengthField::Long);
    assert_eq!(decoder.next(), Ok(Some(&b"b"[..])));
    assert_eq!(decoder.held_bytes(), 0);
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
        cuts in prop::collection::vec(1usize..20, 1..100),
        long in any::<bool>(),
        in_place in any::<bool>(),
    ) {
        let length_field = if long { LengthField::Long } else { LengthField::Short };
        let bytes = framed(length_field, &payloads);
        let mut decoder = Decoder::new(length_field);
        let (mut found, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(*cut));
            rest = later;
            if in_place {
                decoder.buffer_mut().extend_from_slice(now);
            } else {
                decoder.push(now);
            }
            found.extend(all(&mut decoder));
            if decoder.missing_bytes() == 0 {
                prop_assert_eq!(decoder.held_bytes(), 0);
            }
            decoder.release();
        }
        prop_assert_eq!(found, payloads);
    }
}
