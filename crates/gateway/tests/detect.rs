//! Telling protocols apart, and refusing those that are not spoken.

use gateway::detect::{Detected, PEER_MAGIC, detect, sniff};
use gateway::refuse::refuse;
use proptest::prelude::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn mongo_header(code: u32) -> Vec<u8> {
    [58u32, 7, 0, code].iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn starts() -> Vec<(Vec<u8>, Detected)> {
    vec![
        (b"\x00\x0a[\"status\"]".to_vec(), Detected::Native),
        (b"\x00\x0b [\"status\"]".to_vec(), Detected::Native),
        (b"\x00\x07\n\t {}  ".to_vec(), Detected::Native),
        (b"\x47\x45[".to_vec(), Detected::Native),
        (b"\x16\x03[".to_vec(), Detected::Native),
        (b"\x00\x00".to_vec(), Detected::Native),
        (b"\x00\x02  ".to_vec(), Detected::Native),
        (PEER_MAGIC.to_vec(), Detected::Peer),
        (b"GET / HTTP/1.1\r\n".to_vec(), Detected::Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Detected::Http),
        (b"\x16\x03\x01\x02\x00\x01".to_vec(), Detected::Tls),
        (mongo_header(2013), Detected::Mongo),
        (mongo_header(2004), Detected::Mongo),
        (mongo_header(9), Detected::Unknown),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), Detected::Unknown),
        (b"hello there\r\n".to_vec(), Detected::Unknown),
        (b"\xffMONDAY\n\n\n".to_vec(), Detected::Unknown),
    ]
}

#[test]
fn first_bytes_tell_the_protocol_and_every_part_of_them_needs_more_or_agrees() {
    for (bytes, expected) in starts() {
        assert_eq!(detect(&bytes), expected, "{bytes:?}");
        for length in 0..bytes.len() {
            let found = detect(&bytes[..length]);
            assert!(
                found == Detected::NeedMore || found == expected,
                "{length} of {bytes:?}: {found:?}"
            );
        }
    }
    assert_eq!(detect(b""), Detected::NeedMore);
}

proptest! {
    #[test]
    fn sixty_four_bytes_always_suffice(bytes in prop::collection::vec(any::<u8>(), 64..70)) {
        prop_assert_ne!(detect(&bytes), Detected::NeedMore);
    }

    #[test]
    fn even_sixty_four_blanks_suffice(length in any::<u16>(), blanks in "[ \t\r\n]{62}") {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(blanks.as_bytes());
        prop_assert_ne!(detect(&bytes), Detected::NeedMore);
    }
}

#[tokio::test(start_paused = true)]
async fn sniffing_waits_for_ever_for_the_first_byte_and_not_for_the_second() {
    let (mut client, mut server) = tokio::io::duplex(64);
    let sniffed = tokio::spawn(async move { sniff(&mut server, Duration::from_secs(30)).await });
    tokio::time::sleep(Duration::from_secs(1_000_000)).await;
    assert!(!sniffed.is_finished());
    client.write_all(b"G").await.expect("sent");
    let (found, first) = sniffed.await.expect("no panic").expect("no error");
    assert_eq!((found, &first[..]), (Detected::Unknown, &b"G"[..]));

    let (client, mut server) = tokio::io::duplex(64);
    drop(client);
    let ended = sniff(&mut server, Duration::from_secs(30)).await.expect("no error");
    assert_eq!(ended, (Detected::NeedMore, Vec::new()));
}

#[tokio::test]
async fn sniffing_reads_byte_by_byte_if_need_be() {
    let (mut client, mut server) = tokio::io::duplex(1);
    let sniffed = tokio::spawn(async move { sniff(&mut server, Duration::from_secs(30)).await });
    client.write_all(PEER_MAGIC).await.expect("sent");
    let (found, first) = sniffed.await.expect("no panic").expect("no error");
    assert_eq!((found, &first[..]), (Detected::Peer, &PEER_MAGIC[..]));
}

async fn refusal(first: &[u8], detected: Detected) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(4096);
    let first = first.to_vec();
    let refused = tokio::spawn(async move { refuse(server, detected, &first).await });
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("read");
    drop(client);
    refused.await.expect("no panic").expect("no error");
    answer
}

#[tokio::test]
async fn refusals_speak_the_language_of_the_client() {
    let http = String::from_utf8(refusal(b"GET /", Detected::Http).await).expect("text");
    assert!(http.starts_with("HTTP/1.1 501 Not Implemented\r\n"), "{http}");
    let (head, body) = http.split_once("\r\n\r\n").expect("a body");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{http}");

    assert_eq!(refusal(b"\x16\x03\x01", Detected::Tls).await, [21, 3, 1, 0, 2, 2, 40]);

    for (code, reply_code, skipped) in [(2013u32, 2013u32, 21), (2004, 1, 36)] {
        let answer = refusal(&mongo_header(code), Detected::Mongo).await;
        let word = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!((word(0) as usize, word(8), word(12)), (answer.len(), 7, reply_code));
        let document = bson::Document::from_reader(&answer[skipped..]).expect("BSON");
        assert_eq!(document.get_f64("ok").expect("a number"), 0.0);
    }

    let native = refusal(b"SSH-", Detected::Unknown).await;
    assert_eq!(usize::from(u16::from_be_bytes([native[0], native[1]])), native.len() - 2);
    assert!(native[2..].starts_with(b"[\"ko\",\"bad_request: the first bytes"));
}
