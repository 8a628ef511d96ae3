//! The consensus core: leader-based Multi-Paxos without I/O, clock or randomness of its own.
