//! One node's whole brain without I/O: requests, references, reads and membership over paxos and store.
