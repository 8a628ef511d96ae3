//! The JSON form of values, requests and replies.
