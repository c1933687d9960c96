//! The console's pages about one user, about conflicts and about a login to come, and the forms on them. Every write is a form of
//! these pages, sent by POST (R109); what cannot be undone asks for a word.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Form, Path, Query, RawForm, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use form_urlencoded::parse;

use super::super::operate::{self, OperateError};
use super::super::people::{self, ConflictsRequest};
use super::super::people_view::{ChoiceWord, ConflictChoice, PatchWord, UserPatch};
use super::super::problem::Problem;
use super::super::state::AdminState;
use super::{FromThisConsole, Session, Shared, pages};
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::Version;
use crate::service::people::{NotDone, Note};

pub(super) fn routes() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/console/users/{id}", get(user).post(change))
        .route("/console/conflicts", get(conflicts))
        .route("/console/conflicts/{number}", post(resolve))
        .route("/console/explain", get(explain))
}

/// What a change before this page came to.
#[derive(Default, serde::Deserialize)]
struct DoneRequest {
    /// Words of [`Note`]; others are passed over.
    #[serde(default)]
    done: Option<String>,
}

async fn user(
    State(state): Shared,
    session: Session,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<DoneRequest>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id?;
    let done = query.map(|Query(request)| request.done).unwrap_or_default();
    let said: Vec<&str> = done.iter().flat_map(|done| done.split(',')).filter_map(sentence_of).collect();
    match operate::show_user(&state, &session.permit, &id).await {
        Ok(user) => Ok(pages::user(StatusCode::OK, &user, &said, None)),
        Err(OperateError::NoSuchUser) => Ok(pages::no_such_user(&id)),
        Err(
            other @ (OperateError::Store(_)
            | OperateError::Unconfirmed(_)
            | OperateError::NotDone(_)
            | OperateError::TooManyAtOnce(_)),
        ) => Err(other.into()),
    }
}

/// A form of the user's page.
#[derive(serde::Deserialize)]
struct ChangeForm {
    version: u64,
    change: PatchWord,
    #[serde(default)]
    kind: Option<IdentifierKind>,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    free: Option<String>,
    #[serde(default)]
    confirm: String,
}

async fn change(
    State(state): Shared,
    FromThisConsole(_): FromThisConsole,
    session: Session,
    id: Result<Path<String>, PathRejection>,
    form: Result<Form<ChangeForm>, FormRejection>,
) -> Result<Response, Problem> {
    let (Path(id), Form(form)) = (id?, form?);
    let seen = Version(form.version);
    let refused = match (word_for(form.change), form.confirm.trim()) {
        (Some(word), typed) if typed != word => Some(format!("Type {word} to confirm.")),
        (Some(_) | None, _) => None,
    };
    let ChangeForm { change, kind, value, free, .. } = form;
    let patch = UserPatch { change, version: None, kind, value, free: free.is_some(), anyway: false };
    let refused = match (refused, patch.into_change()) {
        (Some(refused), _) => refused,
        (None, Err(bad)) => format!("{bad}."),
        (None, Ok(change)) => match people::change_user(&state, &session.permit, &id, seen, change).await {
            Ok(changed) => {
                let notes: Vec<&str> =
                    std::iter::once(DONE).chain(changed.notes.iter().map(|note| word_of(*note))).collect();
                return Ok(see(format!("/console/users/{}?done={}", changed.user.id, notes.join(","))));
            }
            Err(OperateError::NotDone(why)) => match why {
                gone @ (NotDone::NoSuchUser | NotDone::NoSuchConflict | NotDone::Store(_)) => {
                    return Err(OperateError::from(gone).into());
                }
                why @ (NotDone::Stale
                | NotDone::IsDeleted
                | NotDone::BadName(_)
                | NotDone::Refused(_)
                | NotDone::WouldLockOut) => Problem::from(OperateError::from(why)).detail,
            },
            Err(
                other @ (OperateError::NoSuchUser
                | OperateError::Unconfirmed(_)
                | OperateError::TooManyAtOnce(_)
                | OperateError::Store(_)),
            ) => return Err(other.into()),
        },
    };
    let user = operate::show_user(&state, &session.permit, &id).await?;
    Ok(pages::user(StatusCode::CONFLICT, &user, &[], Some(&refused)))
}

/// What has to be typed for a change that cannot be undone.
fn word_for(change: PatchWord) -> Option<&'static str> {
    match change {
        PatchWord::Delete => Some("delete"),
        PatchWord::ResetPassword => Some("reset"),
        PatchWord::Disable | PatchWord::Enable | PatchWord::Undelete | PatchWord::AddAlias | PatchWord::RemoveAlias => {
            None
        }
    }
}

async fn conflicts(
    State(state): Shared,
    session: Session,
    query: Result<Query<ConflictsRequest>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(request) = query?;
    let list = people::list_conflicts(&state, &session.permit, &request).await?;
    Ok(pages::conflicts(StatusCode::OK, &list, request.decided, None))
}

async fn resolve(
    State(state): Shared,
    FromThisConsole(_): FromThisConsole,
    session: Session,
    number: Result<Path<u64>, PathRejection>,
    RawForm(form): RawForm,
) -> Result<Response, Problem> {
    let Path(number) = number?;
    let refused = match choice_of(&form).map(ConflictChoice::into_resolution) {
        None => "The form says no choice.".to_owned(),
        Some(Err(bad)) => format!("{bad}."),
        Some(Ok(resolution)) => match people::resolve_conflict(&state, &session.permit, number, resolution).await {
            Ok(_) => return Ok(see("/console/conflicts".to_owned())),
            Err(error) => {
                let problem = Problem::from(error);
                if problem.status != StatusCode::CONFLICT.as_u16() {
                    return Err(problem);
                }
                problem.detail
            }
        },
    };
    let list = people::list_conflicts(&state, &session.permit, &ConflictsRequest::default()).await?;
    Ok(pages::conflicts(StatusCode::CONFLICT, &list, false, Some(&refused)))
}

/// A form may name several names, which serde's form reader does not take.
fn choice_of(form: &[u8]) -> Option<ConflictChoice> {
    let values = |wanted: &'static str| parse(form).filter(move |(name, _)| name == wanted).map(|(_, value)| value);
    let choice = match &*values("choice").next()? {
        "keep" => ChoiceWord::Keep,
        "give" => ChoiceWord::Give,
        "disable_holder" => ChoiceWord::DisableHolder,
        _ => return None,
    };
    Some(ConflictChoice { choice, names: values("names").map(|name| name.into_owned()).collect() })
}

/// Which login to explain; none asks for the form alone.
#[derive(serde::Deserialize)]
struct AskedFor {
    #[serde(default)]
    identifier: Option<String>,
    /// An address; what is none is told to be none.
    #[serde(default)]
    from: String,
}

async fn explain(
    State(state): Shared,
    session: Session,
    query: Result<Query<AskedFor>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(AskedFor { identifier, from }) = query?;
    let asked = pages::Asked { identifier: identifier.as_deref().unwrap_or_default(), from: from.trim() };
    if asked.identifier.is_empty() {
        return Ok(pages::explain(StatusCode::OK, asked, None));
    }
    let address = match asked.from {
        "" => None,
        text => match text.parse::<IpAddr>() {
            Ok(address) => Some(address),
            Err(_) => return Ok(pages::explain(StatusCode::BAD_REQUEST, asked, None)),
        },
    };
    let told = people::explain(&state, &session.permit, asked.identifier, address).await?;
    Ok(pages::explain(StatusCode::OK, asked, Some(&told)))
}

/// What a page is told by its address: words of ours alone, so that no link can put text on it.
const DONE: &str = "done";

fn sentence_of(word: &str) -> Option<&'static str> {
    match word {
        DONE => Some("Done."),
        word => Note::ALL.into_iter().find(|note| word_of(*note) == word).map(Note::as_str),
    }
}

fn word_of(note: Note) -> &'static str {
    match note {
        Note::AsBefore => "as_before",
        Note::LegacyIsAsked => "legacy_is_asked",
        Note::NobodyCanBeAsked => "nobody_can_be_asked",
        Note::NameStaysReserved => "name_stays_reserved",
        Note::NameIsFree => "name_is_free",
        Note::TokensLiveOn => "tokens_live_on",
        Note::LegacyLetsHimIn => "legacy_lets_him_in",
        Note::HasNoName => "has_no_name",
    }
}

/// 303: the browser asks for this with GET, so that reloading sends no form again.
fn see(place: String) -> Response {
    // A path of ours, our own keys and words: always a valid header value.
    let place = HeaderValue::from_str(&place).unwrap_or(HeaderValue::from_static("/console"));
    (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
}
