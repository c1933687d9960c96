//! Sees to it that memory which a burst of work took goes back to the system when the process has nothing to do. Called by
//! [`super::running`]; knows of nothing else.

use std::convert::Infallible;
use std::time::Duration;

/// Longer than mimalloc keeps pages that nobody uses, which is a second.
const EVERY: Duration = Duration::from_secs(2);
/// The least that has a page of its own, which goes when it goes. It may lie where something else lay before, and keep that from going
/// back: so it is not larger.
const OWN_PAGE: usize = 513 * 1024;

/// mimalloc lets go of pages that have been free for a second, but only when it is given one, or asked for one: where ten thousand
/// connections have been parked and nothing happens afterwards, that is never. So it is asked for one, of which no byte is touched.
pub(super) async fn goes_back() -> Infallible {
    loop {
        tokio::time::sleep(EVERY).await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(OWN_PAGE)));
    }
}
