//! The running node: event loop, peer transport, log and apply threads.
