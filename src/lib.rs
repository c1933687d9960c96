//! authferry

pub mod domain;
pub mod service;
pub mod telemetry;
pub mod template;
