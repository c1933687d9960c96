//! What `authferry demo` runs.
