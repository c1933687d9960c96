//! The rules of lazy migration, and nothing else: no async, no I/O, no clock of its own, no status codes.
//!
//! Every other layer may use this one; it uses none of them. What a login or a registration comes to is decided here
//! by pure functions over closed enums ([`login`], [`registration`], [`password_life`]), and what must have happened
//! before a step is a type that only that step makes ([`proof`]).

pub mod client_addr;
pub mod clock;
pub mod coarse_name;
pub mod conflict;
pub mod credential;
pub mod identifier;
pub mod import;
pub mod json;
pub mod login;
pub mod mode;
pub mod outlook;
pub mod password;
pub mod password_life;
pub mod portable;
pub mod proof;
pub mod registration;
pub mod user;
