//! Outbound connections: addresses, TLS, a pooled HTTP/1.1 client and bounded bodies. A leaf that forwarding and the legacy
//! connector share; knows nothing of users or routes.

mod answer;
pub mod body;
pub mod client;
mod connect;
pub mod error;
pub mod field_value;
mod guard;
pub mod hop_by_hop;
pub mod pem;
mod pool;
mod received;
pub mod target;
pub mod tls;
mod wire;

pub use body::{BodyError, ProxyBody, read_bounded};
pub use client::{Client, ClientSettings};
pub use error::{SendError, SendErrorKind};
pub use received::Received;
pub use target::Target;
pub use wire::Switched;
