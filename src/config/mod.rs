//! proxy.toml: raw text to valid settings, every problem in one run.
