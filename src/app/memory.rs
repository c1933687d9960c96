//! Sees to it that memory which a burst of work took goes back to the system when the process has nothing to do. Called by
//! [`super::running`]; knows of nothing else.

use std::convert::Infallible;
use std::time::Duration;

/// How often.
const EVERY: Duration = Duration::from_secs(2);
/// More than the allocator keeps at hand for a thread.
const LARGE: usize = 1024 * 1024;

/// mimalloc lets go of pages that have been free for a second, but only when it is given back a page: where ten thousand connections
/// have been parked and nothing happens afterwards, that is never. So it is given one, of which no byte is ever touched.
pub(super) async fn goes_back() -> Infallible {
    loop {
        tokio::time::sleep(EVERY).await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
