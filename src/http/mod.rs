//! The public edge: sockets, the request gate, routing, interception, forwarding.

pub mod access;
pub mod connection;
pub mod forward;
pub mod headers;
mod io;
pub mod listener;
pub mod problem;
mod proxy_protocol;
pub mod server;
pub mod settings;
pub mod tls;
mod upgrade;
mod worker;
