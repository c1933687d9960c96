//! What the topics share: a proxy on port 0, apps and legacy backends that behave or misbehave, clients that show every byte.

#![allow(dead_code, reason = "each topic uses its part")]

pub(crate) mod app;
pub(crate) mod call_login;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod configs;
pub(crate) mod connector;
pub(crate) mod h2;
pub(crate) mod legacy;
pub(crate) mod load;
pub(crate) mod memory_store;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw_client;
pub(crate) mod real;
pub(crate) mod service;
pub(crate) mod upstream;

use std::time::Duration;

/// Ends a test that waits for something that never comes. Never used to wait for something.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("waited too long for {what}"),
    }
}
