//! What socket tests are made of: a proxy on port 0, upstreams that behave or misbehave, and clients that show every byte.

#![allow(dead_code, reason = "each topic uses its part")]

pub mod client;
pub mod proxy;
pub mod upstream;

use std::time::Duration;

/// Ends a test that waits for something that never comes. Never used to wait for something.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("waited too long for {what}"),
    }
}
