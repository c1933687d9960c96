//! `/metrics` and `/health/{started,live,ready}`: what a scraper and an orchestrator ask, without a token. Neither shows
//! anything of a user or of a configuration but route names, and a probe that needs a secret is a probe that is left out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use super::operate::health as health_of;
use super::roster;
use super::state::AdminState;
use crate::domain::user::Origin;
use crate::service::ports::StoreHealth;

/// OpenMetrics 1.0, which Prometheus asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn metrics() -> Router<Arc<AdminState>> {
    Router::new().route("/metrics", get(scrape))
}

pub(super) fn health() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/health/started", get(started))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
}

/// The gauges that mirror somebody else's state are set when they are looked at.
async fn scrape(State(state): State<Arc<AdminState>>) -> impl IntoResponse {
    if let Ok(counts) = state.store.counts().await {
        for origin in Origin::ALL {
            state.metrics.users(origin.as_str(), counts.of(origin));
        }
    }
    roster::show_gauges(&state).await;
    state.metrics.mode(state.mode.current());
    state.metrics.store_ready(state.store.health() == StoreHealth::Ready);
    ([(CONTENT_TYPE, OPENMETRICS)], state.metrics.encode())
}

/// Whether the start is over; until then an orchestrator waits with the other two.
async fn started(State(state): State<Arc<AdminState>>) -> impl IntoResponse {
    let health = health_of(&state.readiness, state.store.health());
    (status(health.started), Json(health))
}

/// That this is answered is the answer: whatever else is wrong, a restart would not mend it.
async fn live(State(state): State<Arc<AdminState>>) -> impl IntoResponse {
    (StatusCode::OK, Json(health_of(&state.readiness, state.store.health())))
}

/// Whether requests should be sent here.
async fn ready(State(state): State<Arc<AdminState>>) -> impl IntoResponse {
    let health = health_of(&state.readiness, state.store.health());
    (status(health.ready), Json(health))
}

fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
