//! The public edge: sockets, the request gate, routing, interception, forwarding.

pub mod access;
pub mod client_addr;
pub mod connection;
pub mod decode;
pub mod descriptors;
pub mod forward;
mod frames;
pub mod framing;
pub mod gate;
pub mod headers;
pub mod hosts;
pub mod intercept;
mod io;
pub mod listener;
mod parking;
pub mod path;
mod places;
pub mod problem;
pub(crate) mod proxy_protocol;
pub mod router;
pub mod server;
pub mod settings;
mod spellings;
pub mod tls;
mod upgrade;
mod worker;
