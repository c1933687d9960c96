//! One exchange with a target: admitted by the breaker and the places in flight, sent once, answered within a deadline and a
//! number of bytes (R83). Never follows a redirect (R80): an answer is an answer. Called by `http`.

use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::sync::Arc;

use ::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::breaker::{Admission, Breaker, Health};
use crate::domain::clock::Clock;
use crate::net::{BodyError, Client, ProxyBody, SendErrorKind, read_bounded};
use crate::service::ports::Outage;
use crate::telemetry::{Metrics, WithCauses};

/// A whole answer.
pub(super) struct Received {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// How much of an answer is waited for.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_bytes: usize,
    pub(super) deadline: Instant,
}

/// Connections to one target, and how many questions it is asked.
pub(super) struct Exchange {
    client: Client,
    places: Semaphore,
    /// None where nothing of ours may stand in the way.
    breaker: Option<Breaker>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

/// A question's place. One question may take several requests: a login, then who it was.
pub(super) struct Place<'a> {
    exchange: &'a Exchange,
    admission: Admission,
    _permit: SemaphorePermit<'a>,
}

impl Exchange {
    pub(super) fn new(
        client: Client,
        max_in_flight: NonZeroUsize,
        breaker: Option<Breaker>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let places = Semaphore::new(max_in_flight.get().min(Semaphore::MAX_PERMITS));
        Self { client, places, breaker, metrics, clock }
    }

    /// The path that every path is appended to.
    pub(super) fn base_path(&self) -> &str {
        &self.client.target().base_path
    }

    /// A place for one question, or why there is none. Waits for nothing.
    pub(super) fn admit(&self) -> Result<Place<'_>, Outage> {
        let permit = self.places.try_acquire().map_err(|_all_taken| Outage::TooManyInFlight)?;
        let admission = match &self.breaker {
            Some(breaker) => breaker.admit(self.clock.monotonic()),
            None => Admission::Normal,
        };
        if admission == Admission::Refused {
            return Err(Outage::BreakerOpen);
        }
        self.metrics.legacy_in_flight().inc();
        Ok(Place { exchange: self, admission, _permit: permit })
    }
}

impl Place<'_> {
    /// Sends one request and reads its answer whole.
    pub(super) async fn send(&mut self, request: Request<ProxyBody>, bounds: Bounds) -> Result<Received, Outage> {
        let exchange = async {
            let answer =
                self.exchange.client.send(request).await.map_err(|error| log(of_sending(error.kind), &error))?;
            let (head, body) = answer.into_parts();
            if head.status.is_informational() {
                return Err(Outage::Broken);
            }
            let body = read_bounded(body, bounds.max_bytes, bounds.deadline.into_std()).await;
            let body = body.map_err(|error| log(of_reading(&error), &error))?;
            Ok(Received { status: head.status, headers: head.headers, body })
        };
        let received = match tokio::time::timeout_at(bounds.deadline, exchange).await {
            Ok(received) => received,
            Err(_elapsed) => Err(Outage::Timeout),
        };
        self.note(health(&received));
        received
    }

    fn note(&mut self, health: Health) {
        if let Some(breaker) = &self.exchange.breaker {
            let now = self.exchange.clock.monotonic();
            self.exchange.metrics.breaker_open(breaker.note(self.admission, health, now));
        }
        // What follows in this place is no trial any more.
        self.admission = Admission::Normal;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.exchange.metrics.legacy_in_flight().dec();
        if self.admission == Admission::Trial {
            self.note(Health::Unknown);
        }
    }
}

/// What an exchange says of the backend, rather than of one question: otherwise whoever knows an input that makes legacy fail
/// could keep the breaker open for everybody. A gateway's 502 to 504 speaks for what is behind it; 500 and 429 do not.
fn health(received: &Result<Received, Outage>) -> Health {
    match received {
        Ok(answer) => match answer.status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Health::Dead,
            _ => Health::Alive,
        },
        Err(Outage::Connect | Outage::Tls | Outage::Timeout | Outage::Broken) => Health::Dead,
        Err(Outage::TooLarge | Outage::ServerError | Outage::RateLimited | Outage::Redirect | Outage::Unrecognised) => {
            Health::Alive
        }
        Err(Outage::BreakerOpen | Outage::TooManyInFlight | Outage::Template) => Health::Unknown,
    }
}

fn of_sending(kind: SendErrorKind) -> Outage {
    match kind {
        SendErrorKind::Connect => Outage::Connect,
        SendErrorKind::NoRoom => Outage::TooManyInFlight,
        SendErrorKind::Tls => Outage::Tls,
        SendErrorKind::Timeout => Outage::Timeout,
        SendErrorKind::Broken | SendErrorKind::RequestBody | SendErrorKind::Cancelled => Outage::Broken,
    }
}

fn of_reading(error: &BodyError) -> Outage {
    match error {
        BodyError::TooLarge => Outage::TooLarge,
        BodyError::Timeout => Outage::Timeout,
        BodyError::Broken(_) => Outage::Broken,
    }
}

/// The cause goes to the log here, once; from here on only the word for it is known.
fn log(outage: Outage, error: &(dyn StdError + 'static)) -> Outage {
    tracing::warn!(outage = outage.as_str(), error = %WithCauses(error), "legacy gave no usable answer");
    outage
}
