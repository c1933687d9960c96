//! Outbound connections: addresses, TLS, a pooled HTTP/1.1 client and bounded bodies. A leaf that forwarding and the legacy
//! connector share; knows nothing of users or routes.

pub mod target;

pub use target::Target;
