//! Errors as the API shows them: problem+json (RFC 9457). The one place here that gives errors their status.

use std::error::Error;

use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::attempts::INTERVAL;
use super::operate::OperateError;
use crate::service::people::NotDone;
use crate::service::ports::StoreError;
use crate::telemetry::WithCauses;

/// A problem, read by the CLI too. `detail` says what to do; a cause is in the log only.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What the status means.
    pub title: String,
    /// What happened, and what to do.
    pub detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { status: status.as_u16(), title, detail: detail.into() }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Send the token of `[admin] token` as `Authorization: Bearer <token>`.")
    }

    pub(super) fn too_many_wrong_tokens() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many wrong tokens came from this address. Until it has been quiet for a while no token is looked at.",
        )
    }

    pub(super) fn no_token_configured() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "No admin token is configured, so nobody can sign in. Set one, as in \
             `[admin] token = { file = \"/run/secrets/authferry-admin\" }`, and start again.",
        )
    }
}

impl Problem {
    fn of_store(error: &StoreError) -> Self {
        tracing::error!(error = %WithCauses(error), "the store failed an operator");
        match error {
            StoreError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "The store is unavailable."),
            StoreError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "The store is busy."),
            StoreError::Corrupt(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The store holds a record that cannot be read.")
            }
            StoreError::OutcomeUnknown(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "It is not known whether the change was written. Look before you try again.",
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"authferry admin\""));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from(INTERVAL.as_secs()));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::NoSuchUser | OperateError::NotDone(NotDone::NoSuchUser) => {
                Self::new(StatusCode::NOT_FOUND, "There is no user with this id.")
            }
            OperateError::NotDone(NotDone::NoSuchConflict) => {
                Self::new(StatusCode::NOT_FOUND, "There is no conflict with this number.")
            }
            OperateError::NotDone(stale @ NotDone::Stale) => {
                Self::new(StatusCode::PRECONDITION_FAILED, sentence(&stale))
            }
            OperateError::NotDone(bad @ NotDone::BadName(_)) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, sentence(&bad))
            }
            OperateError::NotDone(why @ (NotDone::IsDeleted | NotDone::Refused(_) | NotDone::WouldLockOut)) => {
                Self::new(StatusCode::CONFLICT, sentence(&why))
            }
            OperateError::Unconfirmed(needs) => Self::new(StatusCode::CONFLICT, format!("{needs}.")),
            OperateError::Store(error) | OperateError::NotDone(NotDone::Store(error)) => Self::of_store(&error),
        }
    }
}

/// An error with its causes, written as a sentence.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    text + "."
}

/// What axum's extractors refuse, in the same form.
macro_rules! from_rejection {
    ($($rejection:ty),+) => {$(
        impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Self {
                Self::new(rejection.status(), rejection.body_text())
            }
        }
    )+};
}

from_rejection!(FormRejection, JsonRejection, PathRejection, QueryRejection);

pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("There is nothing at {}.", uri.path()))
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "This path does not take this method.")
}
