//! Snapshots as a sender and a receiver would handle them.

use bytes::Bytes;
use store::{Cursor, Engine, Import, MemoryDisk, Snapshot, Store, View};

/// All chunks of a snapshot, in order.
pub fn pull<V: View>(snapshot: &Snapshot<V>, bytes_max: usize) -> Vec<Bytes> {
    let mut import = Import::begin(MemoryDisk::new().engine()).expect("begun");
    let mut chunks = Vec::new();
    while !import.progress().is_complete {
        let chunk = snapshot.chunk(&import.progress().cursor, bytes_max).expect("chunk");
        import.add(&chunk).expect("taken");
        chunks.push(chunk);
    }
    chunks
}

/// A store made of a snapshot.
pub fn import_all<V: View, E: Engine>(
    snapshot: &Snapshot<V>,
    engine: E,
    bytes_max: usize,
) -> Store<E> {
    let mut import = Import::begin(engine).expect("begun");
    let mut cursor = Cursor::start();
    while !import.progress().is_complete {
        let chunk = snapshot.chunk(&cursor, bytes_max).expect("chunk");
        cursor = import.add(&chunk).expect("taken").cursor.clone();
    }
    import.finish().expect("finished")
}
