//! Frames of the native protocol: bytes in, payloads out.
