//! Users changed, conflicts resolved, logins explained: what an operator does through the API or the console, and the API's own
//! handlers for it. Each function asks for his permit; what is decided is decided in `service`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, patch};
use axum::{Json, Router};

use super::operate::OperateError;
use super::people_view::{ConflictChoice, ConflictList, ConflictView, ExplainView, UserChanged, UserPatch};
use super::permit::AdminPermit;
use super::problem::Problem;
use super::state::AdminState;
use super::view::UserDetail;
use crate::domain::conflict::Resolution;
use crate::domain::user::{User, Version};
use crate::service::people::{Changed, OperatorChange};
use crate::service::ports::ConflictQuery;

/// Conflicts on a page unless the request says otherwise.
const DEFAULT_PAGE: usize = 50;

/// Conflicts on a page at most; each is shown with both of its sides.
const MAX_PAGE: usize = 200;

/// Which conflicts to list, as a query string says it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConflictsRequest {
    /// Where the last page ended.
    #[serde(default)]
    pub(super) before: Option<u64>,
    /// Those that are decided too.
    #[serde(default)]
    pub(super) decided: bool,
    /// 1 to [`MAX_PAGE`]; what is over is cut.
    #[serde(default)]
    pub(super) limit: Option<usize>,
}

/// Which login to explain, as a query string says it.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainRequest {
    /// As a user would type it.
    pub(super) identifier: String,
    /// Where a login would come from.
    #[serde(default)]
    pub(super) from: Option<IpAddr>,
}

// ----------------------------------------------------------------------------------------------------- through both doors

/// A user with all that is shown of him.
pub(super) async fn detail(state: &AdminState, user: &User) -> Result<UserDetail, OperateError> {
    let last_login = state.store.last_login(&[user.id]).await?.into_iter().next().flatten();
    Ok(UserDetail::of(user, state.explainer.hashes.look(&user.credential), last_login))
}

pub(super) async fn change_user(
    state: &AdminState,
    permit: &AdminPermit,
    id: &str,
    seen: Version,
    change: OperatorChange,
) -> Result<Changed, OperateError> {
    Ok(state.people.change(permit.door(), id, seen, change).await?)
}

pub(super) async fn list_conflicts(
    state: &AdminState,
    _: &AdminPermit,
    request: &ConflictsRequest,
) -> Result<ConflictList, OperateError> {
    let limit = request.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let query = ConflictQuery { with: None, before: request.before, decided_too: request.decided, limit: limit + 1 };
    let mut sides = state.people.conflicts(query).await?;
    let is_last = sides.len() <= limit;
    sides.truncate(limit);
    let next = if is_last { None } else { sides.last().map(|last| last.conflict.number) };
    Ok(ConflictList { conflicts: sides.iter().map(ConflictView::of).collect(), next })
}

pub(super) async fn show_conflict(
    state: &AdminState,
    _: &AdminPermit,
    number: u64,
) -> Result<ConflictView, OperateError> {
    Ok(ConflictView::of(&state.people.conflict(number).await?))
}

pub(super) async fn resolve_conflict(
    state: &AdminState,
    permit: &AdminPermit,
    number: u64,
    resolution: Resolution,
) -> Result<ConflictView, OperateError> {
    Ok(ConflictView::of(&state.people.resolve(permit.door(), number, resolution).await?))
}

pub(super) async fn explain(
    state: &AdminState,
    _: &AdminPermit,
    identifier: &str,
    from: Option<IpAddr>,
) -> Result<ExplainView, OperateError> {
    Ok(state.explainer.explain(identifier, from).await?.into())
}

// ---------------------------------------------------------------------------------------------------------------- the API

type Shared = State<Arc<AdminState>>;

pub(super) fn routes() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/api/v1/users/{id}", patch(change).get(user))
        .route("/api/v1/conflicts", get(conflicts))
        .route("/api/v1/conflicts/{number}", get(conflict).post(resolve))
        .route("/api/v1/explain", get(explain_login))
}

/// A user, and the version that a change of him has to name, as an entity tag (RFC 9110, section 8.8.3).
async fn user(
    State(state): Shared,
    permit: AdminPermit,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path(id) = id?;
    let user = super::operate::show_user(&state, &permit, &id).await?;
    Ok(([(ETAG, etag(user.version))], Json(user)))
}

async fn change(
    State(state): Shared,
    permit: AdminPermit,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Json<UserPatch>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let (Path(id), Json(body)) = (id?, body?);
    let seen = seen_version(&headers, body.version)?;
    let change = body.into_change().map_err(|bad| unprocessable(&bad))?;
    let changed = change_user(&state, &permit, &id, seen, change).await?;
    let shown = UserChanged::of(&changed, detail(&state, &changed.user).await?);
    Ok(([(ETAG, etag(shown.user.version))], Json(shown)))
}

async fn conflicts(
    State(state): Shared,
    permit: AdminPermit,
    query: Result<Query<ConflictsRequest>, QueryRejection>,
) -> Result<Json<ConflictList>, Problem> {
    let Query(request) = query?;
    Ok(Json(list_conflicts(&state, &permit, &request).await?))
}

async fn conflict(
    State(state): Shared,
    permit: AdminPermit,
    number: Result<Path<u64>, PathRejection>,
) -> Result<Json<ConflictView>, Problem> {
    let Path(number) = number?;
    Ok(Json(show_conflict(&state, &permit, number).await?))
}

async fn resolve(
    State(state): Shared,
    permit: AdminPermit,
    number: Result<Path<u64>, PathRejection>,
    body: Result<Json<ConflictChoice>, JsonRejection>,
) -> Result<Json<ConflictView>, Problem> {
    let (Path(number), Json(choice)) = (number?, body?);
    let resolution = choice.into_resolution().map_err(|bad| unprocessable(&bad))?;
    Ok(Json(resolve_conflict(&state, &permit, number, resolution).await?))
}

async fn explain_login(
    State(state): Shared,
    permit: AdminPermit,
    query: Result<Query<ExplainRequest>, QueryRejection>,
) -> Result<Json<ExplainView>, Problem> {
    let Query(ExplainRequest { identifier, from }) = query?;
    Ok(Json(explain(&state, &permit, &identifier, from).await?))
}

fn unprocessable(bad: &dyn std::error::Error) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("It cannot be done so: {bad}."))
}

fn etag(version: u64) -> HeaderValue {
    // Quotes and digits are always a valid header value.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// The version that the operator saw: by `If-Match` (RFC 9110, section 13.1.1) or in the body; if both, the same.
fn seen_version(headers: &HeaderMap, body: Option<u64>) -> Result<Version, Problem> {
    let unreadable = || {
        let detail = "If-Match has to be the one ETag of the user as you saw him, such as `\"12\"`.";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    };
    let mut lines = headers.get_all(IF_MATCH).iter();
    let header = match (lines.next(), lines.next()) {
        (None, _) => None,
        (Some(line), None) => {
            let text = line.to_str().ok().and_then(|line| line.trim().strip_prefix('"')?.strip_suffix('"'));
            Some(text.and_then(|digits| digits.parse::<u64>().ok()).ok_or_else(unreadable)?)
        }
        (Some(_), Some(_)) => return Err(unreadable()),
    };
    match (header, body) {
        (Some(header), Some(body)) if header != body => Err(unreadable()),
        (Some(seen), _) | (None, Some(seen)) => Ok(Version(seen)),
        (None, None) => Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "Say which version of the user you saw, as `version` or by If-Match, so that a later change is not overwritten.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_was_seen_is_said_once_or_twice_alike() {
        let seen = |lines: &[&'static str], body| {
            let mut headers = HeaderMap::new();
            headers.extend(lines.iter().map(|line| (IF_MATCH, HeaderValue::from_static(line))));
            seen_version(&headers, body).map_err(|problem| problem.status)
        };
        for (lines, body, expected) in [
            (&["\"12\""][..], None, Ok(Version(12))),
            (&[], Some(12), Ok(Version(12))),
            (&["\"12\""], Some(12), Ok(Version(12))),
            (&["\"12\""], Some(13), Err(400)),
            (&["12"], None, Err(400)),
            (&["*"], None, Err(400)),
            (&["W/\"12\""], None, Err(400)),
            (&["\"12\", \"13\""], None, Err(400)),
            (&["\"12\"", "\"12\""], None, Err(400)),
            (&[], None, Err(428)),
        ] {
            assert_eq!(seen(lines, body), expected, "{lines:?} {body:?}");
        }
    }
}
