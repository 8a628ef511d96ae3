//! The limits that clients meet, each stated once (spec §7; `docs/design/protocols.md`).

/// Longest key of the key-value map, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;
/// Largest document or key-value value, in bytes of BSON.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Deepest nesting of documents and lists; the outermost document is level 1.
pub const NESTING_MAX: usize = 100;
/// Longest name of a collection, a field or an index, in bytes.
pub const NAME_BYTES_MAX: usize = 120;
/// Most indexes of one collection, beside that on `_id`.
pub const INDEXES_PER_COLLECTION_MAX: usize = 64;
/// Most requests of one batch.
pub const BATCH_REQUESTS_MAX: usize = 1_000;
/// Most documents of one part of a long result, and most events of one answer of a watch.
pub const PAGE_ITEMS_MAX: u64 = 100_000;
/// Documents of one part of a long result, and events of one answer of a watch, if the request does
/// not say how many.
pub const PAGE_ITEMS_DEFAULT: u64 = 1_000;
/// Longest name of a cursor, in bytes.
pub const CURSOR_BYTES_MAX: usize = 128;
/// Most fields of one index.
pub const INDEX_KEYS_MAX: usize = 32;
/// Longest client part of a [`crate::Reference`], in bytes.
pub const REFERENCE_CLIENT_BYTES_MAX: usize = 128;
/// Longest payload of a frame with a 2-byte length, in bytes.
pub const SHORT_FRAME_BYTES_MAX: usize = 65_535;
/// Longest payload of a frame with a 4-byte length, in bytes.
pub const LONG_FRAME_BYTES_MAX: usize = 16 * 1024 * 1024 + 64 * 1024;
/// Longest time a request may be given, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 600_000;
/// Time a request is given when it names none, in milliseconds.
pub const TIMEOUT_MS_DEFAULT: u64 = 10_000;

const _: () = assert!(LONG_FRAME_BYTES_MAX > DOCUMENT_BYTES_MAX);
const _: () = assert!(PAGE_ITEMS_DEFAULT <= PAGE_ITEMS_MAX);
const _: () = assert!(TIMEOUT_MS_DEFAULT <= TIMEOUT_MS_MAX);
