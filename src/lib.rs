//! authferry: a reverse proxy that moves an app's users out of a legacy auth backend, one login at a time.
//!
//! # The house
//!
//! Arrows point one way, and adapters never import each other; `tests/it/house.rs` holds both.
//!
//! ```text
//!                                        ┌─ store     redb, one writer thread, group commit
//!                                        ├─ legacy    questions to the backend that is to be retired
//!   domain  ◄──  service  ◄── (ports) ───┼─ password  the bounded hash pool
//!   (pure)       (use cases)             ├─ limits    attempts by address and by account
//!                                        ├─ token     the JWTs that the app already accepts
//!                                        ├─ http      the public edge
//!                                        └─ admin     metrics, health, API, console
//!                                                 ▲
//!                                   app ──────────┘  puts it together      ◄── cli ◄── main
//!
//!   leaves, usable by every adapter:  net (outbound HTTP, TLS, bounded bodies)   template   telemetry
//!   config: imported whole by app and cli only
//! ```
//!
//! | module | owns | never |
//! | --- | --- | --- |
//! | [`domain`] | what a login, a registration, a change comes to; the types that prove a step happened | async, I/O, a clock, a status code |
//! | [`service`] | the order of effects: each use case one straight line over the [`service::ports`] | HTTP, templates, files |
//! | [`store`] | users on disk; says "saved" only after a durable commit | hashes, asks legacy |
//! | [`legacy`] | asking the old backend and judging its answer by the operator's rules | follows a redirect, reads without a bound |
//! | [`password`] | every Argon2id computation, in as much memory as was configured | runs on an I/O thread |
//! | [`limits`] | how often an address or an account may try | grows with the number of attackers |
//! | [`token`] | minting and reading tokens | accepts an algorithm that is not the configured one |
//! | [`http`] | sockets, the request gate, routes, decoding, forwarding, rendering | decides about a user |
//! | [`admin`] | what operators see, on a socket of its own | shows a hash, serves the public listener |
//! | [`config`] | proxy.toml to valid settings, all problems in one run | is seen by an adapter as a whole |
//! | [`net`], [`template`], [`telemetry`] | outbound connections; templates and expressions; metrics and logs | know of users |
//! | [`keys`] | the operator's named keys: what each is for, and how a wrong one is found | reads a file |
//! | [`exchange`] | users in files: other products' exports and imports | knows of a store |
//! | [`takeover`] | one process in the place of another: sockets, and whose turn the store is | decides when |
//! | [`notify`] | what the service manager is told | waits for it |
//! | [`demo`] | a small legacy app to try everything against | is part of a deployment |
//! | `fuzzing` | what must hold for every input, for `fuzz/` and for tests | is in the product |
//!
//! # The walk of one login
//!
//! 1. `http::worker` accepts a connection, on one of the I/O threads that `http::server` started, each a runtime of its own, and hands
//!    each request to `http::intercept`, which follows it to its reply from top to bottom:
//! 2. `http::framing` has judged the raw bytes before hyper read them; `http::gate` refuses what else no edge should let through;
//!    `http::client_addr` finds the client behind trusted proxies; `http::path` makes the target canonical, the same for routing and
//!    forwarding; `http::router` finds the route. A request that no route takes goes through `http::forward` to the app, streamed both
//!    ways by [`net`]'s own HTTP/1.1 client in the request's own task, and that is all.
//! 3. On a route (`http::intercept::taken`) the address is counted ([`limits`]) before the body is read, bounded; `http::decode` reads it
//!    strictly: what it cannot read in exactly one way is refused. What is left is handed to its use case (`http::intercept::use_case`).
//! 4. [`service::login`] asks who answers in the mode in force ([`domain::mode`]), looks the user up ([`store`]), takes a permit for the
//!    account ([`limits`]), and follows [`domain::login`]: verify in the hash pool ([`password`]), or ask legacy ([`legacy`]).
//! 5. What legacy proves is hashed and saved in one durable commit (`service::saving`); a save that fails never fails the login.
//! 6. The reply is rendered (`http::intercept::render`) from the route's templates with a fresh token ([`token`]), or legacy's own answer
//!    is handed on.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod exchange;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod keys;
pub mod legacy;
pub mod limits;
pub mod net;
pub mod notify;
pub mod password;
pub mod service;
pub mod store;
pub mod takeover;
pub mod telemetry;
pub mod template;
pub mod token;
