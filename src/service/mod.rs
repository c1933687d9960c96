//! The use cases: each one a straight line from a request's meaning to its reply, over the ports in [`ports`].
//!
//! Knows nothing of HTTP routes, templates, files or sockets; the adapters behind the ports do. Called by `http::intercept`
//! and by `admin`.

pub mod ports;
