//! What a client can say to MondongoDB: values and their order, JSON and BSON, requests, replies, errors, frames.
