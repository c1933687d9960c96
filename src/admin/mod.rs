//! The admin listener: metrics, health, the API and the console, on a socket of its own (R106).
//!
//! ```text
//! server    accepts, bounds connections and time         gate      Host, Origin, headers, deadline, panics
//! attempts  how often a wrong token may be shown
//! permit    the token, and the proof that it was shown   session   the console's sessions
//! probes    /metrics and /health, without a token        api       /api/v1, JSON, behind the token
//! operate   what both doors do                           console   HTML, behind a session
//! people    users changed, conflicts, logins explained
//! backups   of the store that is being served
//! view      the wire structs, read by the CLI too        problem   errors as problem+json
//! import    rows of an import: hashes come in, and never go out
//! ```
//!
//! Never shows a hash, never decides about a user, never speaks to legacy. Made by `app`, which serves [`router`] with [`serve`].

mod api;
mod attempts;
mod backups;
mod console;
mod gate;
pub mod import;
mod operate;
mod people;
pub mod people_view;
mod permit;
mod probes;
mod problem;
mod readiness;
mod search;
mod server;
mod session;
pub mod settings;
mod state;
pub mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};

pub use backups::BackupWish;
pub use permit::AdminPermit;
pub use problem::Problem;
pub use readiness::Readiness;
pub use server::serve;
pub use settings::AdminSettings;
pub use state::{AdminParts, AdminState};

/// The largest body that any request here may have, in bytes: a token or a mode, as JSON or as a form.
const MAX_BODY_BYTES: usize = 8 * 1024;

/// Everything that the admin listener answers.
pub fn router(state: AdminState) -> Router {
    let state = Arc::new(state);
    // Probes come under whatever name a cluster gives a process, and learn nothing but whether it is well.
    let named = Router::new()
        .merge(probes::metrics())
        .merge(api::routes())
        .merge(people::routes())
        .merge(backups::routes())
        .merge(console::routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&state), gate::only_known_hosts));
    named
        .merge(probes::health())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(&state), gate::deadline_and_panics))
        .layer(from_fn(gate::protective_headers))
        .with_state(state)
}
