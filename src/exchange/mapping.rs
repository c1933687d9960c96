//! What `--map` and `--hash-template` say of a file whose fields are the operator's own: which column or key is what.

/// Which field of a record is what. Empty where nothing was said: the format guesses then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// What was said, in order: what it becomes (`email`, `password`, `profile.name`), and the column or key that it is read from.
    pub pairs: Vec<(String, String)>,
}
