//! The `mondongo` binary.
fn main() {}
