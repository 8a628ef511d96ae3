//! Dotted paths into documents.
