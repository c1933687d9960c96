//! Structured logs: text on a terminal, JSON lines elsewhere.
