//! What the integration tests share.

pub(crate) mod connector;
pub(crate) mod legacy;
