//! Nodes as real processes: what they serve, what they refuse, and what survives their crashes.

mod crashes;
mod group;
mod serve;
