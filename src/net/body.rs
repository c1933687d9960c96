//! Bodies as they pass through: one type for everything that is sent to a client or an upstream, and the one way to read a body
//! whole. A stream is handed on frame by frame without a copy or an allocation; trailers are dropped on the way (R13). Never
//! collects without a limit.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::answer::Arriving;
use super::error::Cause;
use super::received::Received;
use super::wire::Switched;

/// A body on its way to a client or an upstream.
#[derive(Default)]
pub struct ProxyBody(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    /// A client's.
    Stream(Stream),
    /// An app's.
    Answer(Box<Arriving>),
    /// None, but the connection itself.
    Switched(Switched),
}

/// A body that arrives while it is sent on.
struct Stream {
    /// What was read of it already.
    ahead: Bytes,
    incoming: Received,
    /// Tells somebody else how far the body has come.
    progress: Option<Arc<Progress>>,
}

impl ProxyBody {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is there as a whole.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self(Kind::Empty) } else { Self(Kind::Full(bytes)) }
    }

    /// The body of an answer that is still arriving.
    pub(super) fn arriving(answer: Arriving) -> Self {
        if answer.is_end() { Self(Kind::Empty) } else { Self(Kind::Answer(Box::new(answer))) }
    }

    /// What follows an answer that switches protocols.
    pub(super) fn switched(connection: Switched) -> Self {
        Self(Kind::Switched(connection))
    }

    /// The connection to the other side, if its answer switched protocols.
    #[must_use]
    pub fn into_switched(self) -> Option<Switched> {
        match self.0 {
            Kind::Switched(connection) => Some(connection),
            Kind::Empty | Kind::Full(_) | Kind::Stream(_) | Kind::Answer(_) => None,
        }
    }

    /// How a client's body comes, where somebody watches it.
    pub(super) fn progress(&self) -> Option<&Progress> {
        match &self.0 {
            Kind::Empty | Kind::Full(_) | Kind::Answer(_) | Kind::Switched(_) => None,
            Kind::Stream(stream) => stream.progress.as_deref(),
        }
    }

    /// Lets somebody else watch how far a streamed body has come, and whether it comes as fast as it must. `None` when there is
    /// nothing left to arrive.
    #[must_use]
    pub fn watch(&mut self, least: LeastPace) -> Option<Arc<Progress>> {
        match &mut self.0 {
            Kind::Empty | Kind::Full(_) | Kind::Answer(_) | Kind::Switched(_) => None,
            Kind::Stream(stream) if stream.is_end() => None,
            Kind::Stream(stream) => Some(stream.progress.get_or_insert_with(|| Arc::new(Progress::new(least))).clone()),
        }
    }
}

impl From<Received> for ProxyBody {
    fn from(incoming: Received) -> Self {
        if incoming.is_end_stream() {
            Self(Kind::Empty)
        } else {
            Self(Kind::Stream(Stream { ahead: Bytes::new(), incoming, progress: None }))
        }
    }
}

impl From<Bytes> for ProxyBody {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

/// A streamed body broke off.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
pub struct StreamError(#[source] Cause);

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        match &mut this.0 {
            Kind::Empty | Kind::Switched(_) => Poll::Ready(None),
            Kind::Answer(answer) => {
                let part = ready!(answer.poll_part(cx));
                Poll::Ready(part.map(|part| part.map(Frame::data).map_err(|fault| StreamError(fault.into()))))
            }
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty | Kind::Switched(_) => true,
            Kind::Full(_) => false,
            Kind::Answer(answer) => answer.is_end(),
            Kind::Stream(stream) => stream.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty | Kind::Switched(_) => SizeHint::with_exact(0),
            Kind::Answer(answer) => answer.length().map_or_else(SizeHint::new, SizeHint::with_exact),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

impl Stream {
    fn is_end(&self) -> bool {
        self.ahead.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (ahead, rest) = (self.ahead.len() as u64, self.incoming.size_hint());
        let mut whole = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
            whole.set_upper(upper);
        }
        whole.set_lower(rest.lower().saturating_add(ahead));
        whole
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.ahead)))));
        }
        loop {
            let polled = Pin::new(&mut self.incoming).poll_frame(cx);
            if let Some(progress) = &self.progress {
                match &polled {
                    Poll::Pending => progress.starves(progress.now()),
                    Poll::Ready(Some(Ok(frame))) => {
                        progress.came(progress.now(), frame.data_ref().map_or(0, Bytes::len))
                    }
                    Poll::Ready(Some(Err(_)) | None) => progress.came(progress.now(), 0),
                }
            }
            match ready!(polled) {
                Some(Ok(frame)) if frame.is_data() => {
                    // Whoever sends this on may not ask again once the end is known.
                    if self.incoming.is_end_stream() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Ok(_trailers)) => {}
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(StreamError(error))));
                }
                None => {
                    self.finish();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn finish(&mut self) {
        if let Some(progress) = &self.progress {
            progress.done.store(true, Ordering::Relaxed);
        }
    }
}

/// How slowly a body may come: its sender may keep us waiting for `patience` in all, and wins back a second of it, up to the whole,
/// with every `rate` of bytes. Only the time in which nothing is there to be sent on counts, not the receiver's (Apache's
/// `RequestReadTimeout` with `MinRate` is such a rule).
#[derive(Debug, Clone, Copy)]
pub struct LeastPace {
    /// How long nothing may come.
    pub patience: Duration,
    /// Bytes a second.
    pub rate: usize,
}

/// How far a streamed body has come, for whoever waits for what follows it. Times are milliseconds after `since`.
pub struct Progress {
    since: Instant,
    least: LeastPace,
    /// When the last frame passed.
    last: AtomicU64,
    /// Since when its sender, rather than its receiver, is being waited for; from 1, 0 for not at all.
    starved_since: AtomicU64,
    /// How much patience with the sender has been used up.
    waited: AtomicU64,
    done: AtomicBool,
}

impl Progress {
    fn new(least: LeastPace) -> Self {
        let (last, starved_since, waited, done) = Default::default();
        Self { since: Instant::now(), least, last, starved_since, waited, done }
    }

    /// When the last part of the body passed.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Whether the body has not ended and its sender is who keeps everybody waiting.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.starved_since.load(Ordering::Relaxed) != 0 && !self.done.load(Ordering::Relaxed)
    }

    /// Since when its sender has kept everybody waiting, if he does.
    #[must_use]
    pub fn starved_since(&self) -> Option<Instant> {
        let since = self.starved_since.load(Ordering::Relaxed);
        self.is_starved().then(|| self.since + Duration::from_millis(since))
    }

    /// When patience with the sender ends if nothing comes from now on; `None` when the body has ended.
    #[must_use]
    pub fn patience_ends(&self) -> Option<Instant> {
        let end = self.end_of_patience(self.now());
        (!self.done.load(Ordering::Relaxed)).then(|| self.since + Duration::from_millis(end))
    }

    fn end_of_patience(&self, now: u64) -> u64 {
        let (starved_since, waited) = (self.starved_since.load(Ordering::Relaxed), self.waited.load(Ordering::Relaxed));
        let from = if starved_since == 0 { now } else { starved_since };
        from.saturating_add(millis(self.least.patience).saturating_sub(waited))
    }

    /// Nothing is there to be sent on.
    fn starves(&self, now: u64) {
        if self.starved_since.load(Ordering::Relaxed) == 0 {
            self.starved_since.store(now, Ordering::Relaxed);
        }
    }

    /// What came already cannot be sent on: whoever takes it keeps everybody waiting, and not its sender.
    pub(super) fn is_held_up(&self) {
        let waited = match self.starved_since.swap(0, Ordering::Relaxed) {
            0 => return,
            since => self.now().saturating_sub(since),
        };
        self.waited.fetch_add(waited, Ordering::Relaxed);
    }

    /// So many bytes came.
    fn came(&self, now: u64, bytes: usize) {
        self.last.store(now, Ordering::Relaxed);
        let waited = match self.starved_since.swap(0, Ordering::Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
        };
        let won = (bytes as u64).saturating_mul(1000) / (self.least.rate.max(1) as u64);
        let before = self.waited.load(Ordering::Relaxed);
        self.waited.store(before.saturating_add(waited).saturating_sub(won), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        millis(self.since.elapsed()).max(1)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than the limit.
    #[error("the body is larger than may be read")]
    TooLarge,
    /// Not complete at the deadline.
    #[error("the body took too long")]
    Timeout,
    /// It broke off, or its framing is wrong.
    #[error("the body broke off")]
    Broken(#[source] Cause),
}

/// A body that was read as far as it may be.
pub enum ReadAhead {
    /// It was no longer.
    Whole(Bytes),
    /// There is more of it. Not a byte is lost: what was read comes first.
    Longer(ProxyBody),
}

/// Reads a body to its end or a little past `limit_bytes`, until `deadline`, for who sends on what is too long to be looked at. Holds at
/// most the limit and one frame more.
pub async fn read_ahead(
    mut incoming: Received,
    limit_bytes: usize,
    deadline: std::time::Instant,
) -> Result<ReadAhead, BodyError> {
    let mut ahead = BytesMut::new();
    let reading = async {
        if incoming.size_hint().lower() > limit_bytes as u64 {
            return Ok(false);
        }
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await;
            let Some(frame) = frame else { return Ok(true) };
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
            ahead.extend_from_slice(&data);
            if ahead.len() > limit_bytes {
                return Ok(false);
            }
        }
    };
    match tokio::time::timeout_at(Instant::from_std(deadline), reading).await {
        Ok(Ok(true)) => Ok(ReadAhead::Whole(ahead.freeze())),
        Ok(Ok(false)) => {
            let stream = Stream { ahead: ahead.freeze(), incoming, progress: None };
            Ok(ReadAhead::Longer(ProxyBody(Kind::Stream(stream))))
        }
        Ok(Err(error)) => Err(error),
        Err(_elapsed) => Err(BodyError::Timeout),
    }
}

/// Reads a body whole: at most `limit_bytes`, until `deadline`. A body that announces more is refused before it is read.
pub async fn read_bounded<B>(mut body: B, limit_bytes: usize, deadline: std::time::Instant) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Cause>,
{
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout_at(Instant::from_std(deadline), read(&mut body, limit_bytes)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(BodyError::Timeout),
    }
}

async fn read<B>(body: &mut B, limit_bytes: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Cause>,
{
    // Nearly every body that is read whole comes in one piece, which is then not copied.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else { continue };
        if data.len() > limit_bytes - first.len() - whole.len() {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::clock::{Clock, SystemClock};

    fn pieces(pieces: Vec<Vec<u8>>) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        StreamBody::new(stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from(piece))))))
    }

    fn soon() -> std::time::Instant {
        SystemClock.monotonic() + Duration::from_secs(60)
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
    }

    proptest! {
        #[test]
        fn a_body_is_read_whole_up_to_its_limit_and_not_a_byte_further(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            limit in 0_usize..160,
        ) {
            let whole: Vec<u8> = parts.concat();
            match block_on(read_bounded(pieces(parts), limit, soon())) {
                Ok(bytes) => {
                    prop_assert!(whole.len() <= limit);
                    prop_assert_eq!(bytes, whole);
                }
                Err(BodyError::TooLarge) => prop_assert!(whole.len() > limit),
                Err(BodyError::Timeout | BodyError::Broken(_)) => prop_assert!(false, "neither late nor broken"),
            }
        }
    }

    #[test]
    fn a_body_that_announces_too_much_is_not_read() {
        let read = block_on(read_bounded(Full::new(Bytes::from_static(b"12345")), 4, soon()));
        assert!(matches!(read, Err(BodyError::TooLarge)));
    }

    #[test]
    fn a_body_that_never_ends_is_given_up_at_the_deadline() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let read = block_on(read_bounded(never, 4, SystemClock.monotonic() + Duration::from_millis(5)));
        assert!(matches!(read, Err(BodyError::Timeout)));
    }

    const LEAST: LeastPace = LeastPace { patience: Duration::from_secs(10), rate: 500 };

    #[tokio::test]
    async fn r22_a_sender_at_the_least_pace_is_waited_for_and_a_slower_one_runs_out_of_patience() {
        for (bytes, lasts) in [(500, 3600), (5_000, 3600), (490, 451), (250, 19), (1, 11)] {
            let (progress, mut seconds) = (Progress::new(LEAST), 0_u64);
            while seconds < 3600 {
                progress.starves(seconds * 1000 + 1);
                seconds += 1;
                if progress.end_of_patience(seconds * 1000 + 1) < seconds * 1000 + 1 {
                    break;
                }
                progress.came(seconds * 1000 + 1, bytes);
            }
            assert!(seconds.abs_diff(lasts) <= 2, "{bytes} bytes a second for {seconds} s");
        }
    }

    #[tokio::test]
    async fn a_receiver_that_takes_its_time_costs_the_sender_nothing() {
        let progress = Progress::new(LEAST);
        for minute in 1..100 {
            progress.came(minute * 60_000, 1);
            assert!(!progress.is_starved());
            assert_eq!(progress.end_of_patience(minute * 60_000 + 59_000), minute * 60_000 + 69_000);
        }
        progress.starves(6_000_000);
        assert!(progress.is_starved());
        assert_eq!(progress.end_of_patience(6_003_000), 6_010_000);
        progress.is_held_up();
        assert!(!progress.is_starved(), "it is the receiver who keeps everybody waiting");
        progress.done.store(true, Ordering::Relaxed);
        assert!(!progress.is_starved() && progress.patience_ends().is_none());
    }

    #[test]
    fn a_body_that_breaks_off_is_no_shorter_body() {
        let frames = vec![Ok(Frame::data(Bytes::from_static(b"half"))), Err(std::io::Error::other("reset"))];
        let read = block_on(read_bounded(StreamBody::new(stream::iter(frames)), 100, soon()));
        assert!(matches!(read, Err(BodyError::Broken(_))));
    }
}
