//! `/api/v1`: JSON for the CLI and for scripts, each handler behind the token. What concerns one user or a conflict is in `people`.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::routing::get;
use axum::{Json, Router};

use super::import;
use super::operate::{self, ListRequest};
use super::permit::AdminPermit;
use super::problem::Problem;
use super::state::AdminState;
use super::view::{ModeChange, ModeView, Status, UserList};

type Answer<T> = Result<Json<T>, Problem>;
type Shared = State<Arc<AdminState>>;

pub(super) fn routes() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/users", get(users))
        .route(
            "/api/v1/users/import",
            get(import::terms).post(import::take).layer(DefaultBodyLimit::max(import::MAX_BYTES)),
        )
        .route("/api/v1/mode", get(mode).put(set_mode))
}

async fn status(State(state): Shared, permit: AdminPermit) -> Json<Status> {
    Json(operate::status(&state, &permit).await)
}

async fn users(
    State(state): Shared,
    permit: AdminPermit,
    query: Result<Query<ListRequest>, QueryRejection>,
) -> Answer<UserList> {
    let Query(request) = query?;
    Ok(Json(operate::list_users(&state, &permit, request).await?))
}

async fn mode(State(state): Shared, permit: AdminPermit) -> Json<ModeView> {
    Json(operate::mode(&state, &permit).await)
}

async fn set_mode(
    State(state): Shared,
    permit: AdminPermit,
    change: Result<Json<ModeChange>, JsonRejection>,
) -> Answer<ModeView> {
    let Json(change) = change?;
    Ok(Json(operate::set_mode(&state, &permit, &change).await?))
}
