//! A simulated world that runs the real replica, paxos, wal and store from one seed.
