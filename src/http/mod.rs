//! The public edge: sockets, the request gate, routing, interception, forwarding.

pub mod settings;
