//! What is seen from outside: metrics and logs. Used by the service and the adapters; never sees a password, and labels a
//! metric with nothing that a client chose.

mod json_lines;
mod lines;
pub mod logging;
pub mod metrics;

pub use logging::WithCauses;
pub use metrics::Metrics;
