//! `/api/v1/store/backup`: backups of the store that is being served, each into the one folder that the configuration names.
//!
//! A request chooses a file's name there and no more; what is asked for is in the log with who may ask it. Behind the token.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};

use super::operate::OperateError;
use super::permit::AdminPermit;
use super::problem::Problem;
use super::state::AdminState;
use crate::service::backup::{BackupName, BackupStart, BackupView};

/// The body of `POST /api/v1/store/backup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupWish {
    /// What the file should be called; none for a name with the time in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

type Shared = State<Arc<AdminState>>;

pub(super) fn routes() -> Router<Arc<AdminState>> {
    Router::new().route("/api/v1/store/backup", get(latest).post(start))
}

async fn latest(State(state): Shared, _permit: AdminPermit) -> Result<Json<BackupView>, Problem> {
    let latest = state.store.backup().await.map_err(OperateError::from)?;
    let none = || Problem::new(StatusCode::NOT_FOUND, "No backup was started since the store was opened.");
    latest.map(Json).ok_or_else(none)
}

async fn start(
    State(state): Shared,
    permit: AdminPermit,
    wish: Result<Json<BackupWish>, JsonRejection>,
) -> Result<(StatusCode, Json<BackupView>), Problem> {
    let Json(wish) = wish?;
    let name = wish.name.as_deref().map(BackupName::parse).transpose();
    let name = name.map_err(|bad| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{bad}.")))?;
    match state.store.start_backup(name).await.map_err(OperateError::from)? {
        BackupStart::Started(view) => {
            tracing::warn!(
                target: "authferry::audit",
                by = "operator", via = permit.door().as_str(), file = %view.file, "an operator had a backup started"
            );
            Ok((StatusCode::ACCEPTED, Json(view)))
        }
        BackupStart::Busy(other) => {
            Err(Problem::new(StatusCode::CONFLICT, format!("The backup {} is being made; wait for it.", other.file)))
        }
        BackupStart::Exists(file) => {
            Err(Problem::new(StatusCode::CONFLICT, format!("{file} is there already, and is not overwritten.")))
        }
    }
}
