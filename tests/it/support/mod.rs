//! What the topics share.

pub(crate) mod memory_store;
pub(crate) mod raw_client;
