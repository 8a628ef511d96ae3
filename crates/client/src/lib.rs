//! Client library: connections, failover, references.
