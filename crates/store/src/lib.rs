//! The deterministic state machine: collections, indexes, key-value map and references over an embedded ordered engine.
