//! The public edge: sockets, the request gate, routing, interception, forwarding.

pub mod client_addr;
pub mod decode;
pub mod gate;
pub mod path;
pub mod problem;
pub mod router;
pub mod settings;
mod spellings;
