//! What the topics share.

pub(crate) mod app;
pub(crate) mod connector;
pub(crate) mod legacy;
pub(crate) mod memory_store;
pub(crate) mod process;
pub(crate) mod raw_client;
