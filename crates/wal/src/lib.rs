//! Segmented write-ahead log over a small Disk trait.
