//! The cases of the corpora in which this edge and the authors differ, each with the reason. A case that is listed and no
//! exception fails the test as much as one that is an exception and not listed.

/// Valid, say the authors, and we refuse: corpus, case, why.
pub(super) const REFUSED_THOUGH_VALID: &[(&str, &str, &str)] = &[];

/// Invalid, say the authors, and something of it arrives, in canonical form, where nobody can misread it: corpus, case, why.
pub(super) const NEUTRALIZED: &[(&str, &str, &str)] = &[];
