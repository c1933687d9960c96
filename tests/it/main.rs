//! The integration tests: one binary, a file a topic.

mod admin;
mod support;
