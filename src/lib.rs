//! authferry

pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod http;
pub mod legacy;
pub mod limits;
pub mod net;
pub mod password;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod template;
pub mod token;
