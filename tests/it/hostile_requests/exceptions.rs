//! The cases of the corpora in which this edge and the authors differ, each with the reason. A case that is listed and no
//! exception fails the test as much as one that is an exception and not listed.

/// Valid, say the authors, and we refuse: corpus, case, why.
pub(super) const REFUSED_THOUGH_VALID: &[(&str, &str, &str)] = &[
    (G, "valid/002", HOST),
    (G, "valid/003", HOST),
    (G, "valid/005", FRAGMENT),
    (G, "valid/014", "a bare quotation mark in a query, which no URI may have (RFC 3986, section 3.4)"),
    (G, "valid/024", "a target of 8 KiB: the authors raise the limit for it"),
    (G, "valid/025", CODING),
    (G, "valid/025_line", CODING),
    (G, "valid/028", "a blank before the colon, for which the authors have a switch"),
    (G, "valid/029", CODING),
    (G, "valid/030", CODING),
    (G, "valid/031", METHOD),
    (G, "valid/031compat", METHOD),
    (G, "valid/031compat2", METHOD),
    (G, "valid/040", UNDERSCORE),
    (G, "valid/040_compat", UNDERSCORE),
    (G, "valid/099", "its body is shorter than its length: a server that does not read it does not mind"),
    (G, "valid/100", "empty segments in the path (R28)"),
    (G, "valid/compat_obs_fold", FOLD),
    (G, "valid/compat_obs_fold_huge", FOLD),
    (G, "valid/pp_03", "no PROXY header on a listener that wants one: here it is mandatory (R72)"),
    (G, "valid/rfc9112_smuggle_gzip_chunked_01", CODING),
    (G, "valid/rfc9112_smuggle_te_identity_chunked_01", CODING),
    (
        G,
        "valid/rfc9112_target_absolute_userinfo_01",
        "a user name in the target: http URIs have none (RFC 9110, section 4.2.4)",
    ),
    (G, "valid/rfc9112_target_authority_connect_01", "CONNECT (R10)"),
    (G, "valid/rfc9112_target_authority_ipv6_01", "CONNECT (R10)"),
    (D, "more-compliant-tests/6", CODING),
    (D, "more-compliant-tests/8", CODING),
    (D, "more-compliant-tests/9", CODING),
    (D, "more-compliant-tests/10", CODING),
    (D, "rfc-compliant/5", UNDERSCORE),
    (D, "rfc-compliant/6", UNDERSCORE),
    (D, "rfc-compliant/9", CODING),
    (D, "rfc-compliant/10", CODING),
    (D, "rfc-compliant/11", CODING),
    (D, "rfc-compliant/12", FRAGMENT),
    (D, "rfc-compliant/13", "raw bytes over 127 in the path (R28)"),
    (D, "rfc-compliant/14", "no target at all (RFC 9112, section 3.2)"),
];

/// Invalid, say the authors, and something of it arrives, in canonical form, where nobody can misread it: corpus, case, why.
pub(super) const NEUTRALIZED: &[(&str, &str, &str)] = &[
    (G, "invalid/006", LIMIT),
    (G, "invalid/007", LIMIT),
    (G, "invalid/008", LIMIT),
    (G, "invalid/010", LIMIT),
    (G, "invalid/017", LIMIT),
    (
        G,
        "invalid/019",
        "X-Forwarded-Proto and X-Forwarded-Ssl disagree: both are the client's own, and replaced (R125)",
    ),
    (
        G,
        "invalid/041",
        "two Content-Types: no matter of framing; both go on as they are, and on a route it is refused (R32)",
    ),
    (G, "invalid/limit_header_default_01", LIMIT),
    (D, "acceptable/5", GET_BODY),
    (D, "acceptable/6", GET_BODY),
    (D, "ambiguous/13", GET_BODY),
    (D, "ambiguous/14", GET_BODY),
    (D, "ambiguous/15", GET_BODY),
    (D, "ambiguous/16", GET_BODY),
    (
        D,
        "ambiguous/31",
        "Transfer---Encoding: another header, which no gateway takes for the real one; there is no body",
    ),
    (D, "real-life-test-cases/1", GET_BODY),
    (D, "real-life-test-cases/2", GET_BODY),
];

const G: &str = "gunicorn";
const D: &str = "http_desync_guardian";

const CODING: &str = "a transfer coding besides chunked (R2): the upstream would get what nobody has undone";
const FOLD: &str = "a folded header (RFC 9112, section 5.2), for which the authors have a switch";
const FRAGMENT: &str = "a fragment in the target (R28)";
const GET_BODY: &str = "a GET or HEAD with a body: it goes on with its one length, and its body with it";
const HOST: &str = "a Host that is none: 0.0.0.0=5000 (R7)";
const LIMIT: &str = "over a limit that the authors lowered for it or that is lower than ours (R21)";
const METHOD: &str = "a method that nobody knows (R10)";
const UNDERSCORE: &str = "an underscore in a header's name (R14; there is a switch)";
