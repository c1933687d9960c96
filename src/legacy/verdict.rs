//! How an answer is judged: exactly one of the operator's rules has to hold, and an answer that proves nothing is never a "no".
//! Pure. Called by `http`.

use std::sync::Arc;

use ::http::StatusCode;

use super::answer::Answer;
use super::settings::{UserRules, VerdictRules};
use crate::domain::login::AskedBy;
use crate::service::ports::{Outage, Unrecognised};
use crate::template::{Expression, Judgement};

/// What an answer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Accepted, created, done.
    Success,
    /// No.
    Denied,
    /// More is wanted.
    Challenge,
    /// A live answer that proves nothing.
    Unrecognised(Unrecognised),
    /// No usable answer.
    Unavailable(Outage),
}

/// What an answer says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knows {
    Found,
    NotFound,
    Unknown(Outage),
}

/// Judges an answer to a question that somebody asked to have answered yes or no.
pub(super) fn judge(rules: &VerdictRules, answer: &Arc<Answer>, asked_by: AskedBy) -> Verdict {
    let success = weigh(&rules.success, answer, Weight::Proof);
    let denied = weigh(&rules.denied, answer, Weight::Denial);
    let challenge =
        rules.challenge.as_ref().map_or(Judgement::Fails, |challenge| weigh(challenge, answer, Weight::Challenge));
    let holding = [(success, Verdict::Success), (denied, Verdict::Denied), (challenge, Verdict::Challenge)];
    if holding.iter().any(|(judgement, _)| *judgement == Judgement::Exhausted) {
        return Verdict::Unrecognised(Unrecognised::NoRule);
    }
    let mut holding = holding.into_iter().filter(|(judgement, _)| *judgement == Judgement::Holds);
    match (holding.next(), holding.next()) {
        (Some((_, verdict)), None) => verdict,
        (Some(_), Some(_)) => Verdict::Unrecognised(Unrecognised::SeveralRules),
        (None, _) => unruled(answer.status(), asked_by),
    }
}

/// Judges an answer of `get_user`.
pub(super) fn judge_user(rules: &UserRules, answer: &Arc<Answer>) -> Knows {
    let found = weigh(&rules.found, answer, Weight::Proof);
    let not_found = weigh(&rules.not_found, answer, Weight::Denial);
    match (found, not_found) {
        (Judgement::Holds, Judgement::Fails) => Knows::Found,
        (Judgement::Fails, Judgement::Holds) => Knows::NotFound,
        (Judgement::Holds | Judgement::Exhausted, Judgement::Holds | Judgement::Exhausted)
        | (Judgement::Fails, Judgement::Exhausted)
        | (Judgement::Exhausted, Judgement::Fails) => Knows::Unknown(Outage::Unrecognised),
        (Judgement::Fails, Judgement::Fails) => Knows::Unknown(outage_of(answer.status())),
    }
}

/// What follows where no rule holds.
fn unruled(status: StatusCode, asked_by: AskedBy) -> Verdict {
    match (outage_of(status), asked_by) {
        // In `forward` a live answer is legacy's own affair: it goes to the client.
        (Outage::Redirect | Outage::Unrecognised, AskedBy::Forward) => Verdict::Unrecognised(Unrecognised::NoRule),
        (outage, AskedBy::Call | AskedBy::Forward) => Verdict::Unavailable(outage),
    }
}

fn outage_of(status: StatusCode) -> Outage {
    if status.is_server_error() {
        Outage::ServerError
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        Outage::RateLimited
    } else if status.is_redirection() {
        Outage::Redirect
    } else {
        Outage::Unrecognised
    }
}

/// What hangs on a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// A yes: somebody is let in and saved.
    Proof,
    /// A no: somebody is told that his password is wrong, or that a name is free.
    Denial,
    /// Nothing is concluded.
    Challenge,
}

/// Whether a rule holds. More cautious than the rule alone in two things. A rule that speaks of `json` or `body` holds only
/// over an answer that has one: `not json.error` is true of a maintenance page. And an answer that says of itself that the
/// server failed or refuses to work is never a yes (R78), and a no only by a rule that looks at more than its status: `status
/// >= 400` is true of every outage (R82).
fn weigh(rule: &Expression, answer: &Arc<Answer>, weight: Weight) -> Judgement {
    let speaks_of = |name: &str| rule.variables().iter().any(|variable| variable == name);
    if speaks_of("json") && answer.json().is_none() || speaks_of("body") && !answer.is_readable() {
        return Judgement::Fails;
    }
    let failing = answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS;
    let looks_closer = ["json", "body", "headers", "set_cookies"].into_iter().any(speaks_of);
    match (failing, weight) {
        (true, Weight::Proof) => Judgement::Fails,
        (true, Weight::Denial) if !looks_closer => Judgement::Fails,
        (true, Weight::Denial | Weight::Challenge) | (false, _) => rule.judge(&answer.context()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::answer;
    use super::*;

    fn rules(success: &str, denied: &str, challenge: &str) -> VerdictRules {
        let compile = |source: &str| Expression::compile(source).expect("an expression");
        let challenge = (!challenge.is_empty()).then(|| compile(challenge));
        VerdictRules { success: compile(success), denied: compile(denied), challenge }
    }

    const NO_RULE: Verdict = Verdict::Unrecognised(Unrecognised::NoRule);

    fn unavailable(outage: Outage) -> Verdict {
        Verdict::Unavailable(outage)
    }

    #[test]
    fn r78_r82_the_table_of_composed_calls_and_forwarded_requests() {
        let json =
            rules("status == 200 and json.user.id is defined", "status in [401, 403]", "json.mfa_required is defined");
        for (status, body, by_call, by_forward) in [
            (200, r#"{"user":{"id":7}}"#, Verdict::Success, Verdict::Success),
            (401, "", Verdict::Denied, Verdict::Denied),
            (403, "<p>", Verdict::Denied, Verdict::Denied),
            (200, r#"{"mfa_required":true}"#, Verdict::Challenge, Verdict::Challenge),
            (200, r#"{"error":"wrong"}"#, unavailable(Outage::Unrecognised), NO_RULE),
            (200, "<p>Maintenance</p>", unavailable(Outage::Unrecognised), NO_RULE),
            (200, "", unavailable(Outage::Unrecognised), NO_RULE),
            (200, r#"{"user":{"id":7"#, unavailable(Outage::Unrecognised), NO_RULE),
            (302, "", unavailable(Outage::Redirect), NO_RULE),
            (404, "", unavailable(Outage::Unrecognised), NO_RULE),
            (429, "", unavailable(Outage::RateLimited), unavailable(Outage::RateLimited)),
            (500, "", unavailable(Outage::ServerError), unavailable(Outage::ServerError)),
            (503, r#"{"user":{"id":7}}"#, unavailable(Outage::ServerError), unavailable(Outage::ServerError)),
        ] {
            let answer = answer(status, &[], body);
            assert_eq!(judge(&json, &answer, AskedBy::Call), by_call, "{status} {body}");
            assert_eq!(judge(&json, &answer, AskedBy::Forward), by_forward, "{status} {body}");
        }
    }

    #[test]
    fn several_rules_at_once_prove_nothing() {
        let rules = rules("status == 200", "json.error is defined", "json.mfa is defined");
        for body in [r#"{"error":1}"#, r#"{"mfa":1}"#, r#"{"mfa":1,"error":1}"#] {
            for asked_by in [AskedBy::Call, AskedBy::Forward] {
                let verdict = judge(&rules, &answer(200, &[], body), asked_by);
                assert_eq!(verdict, Verdict::Unrecognised(Unrecognised::SeveralRules), "{body}");
            }
        }
    }

    #[test]
    fn r78_a_rule_about_json_says_nothing_about_a_page() {
        for (success, denied) in [
            ("status == 200 and not json.error", "status == 200 and json.error"),
            ("json.error is not defined", "json.ok is not defined"),
            ("json.attempts | default(0) < 5", "not json.ok"),
        ] {
            for body in ["<h1>Be right back</h1>", "", "{"] {
                let verdict = judge(&rules(success, denied, ""), &answer(200, &[], body), AskedBy::Call);
                assert_eq!(verdict, unavailable(Outage::Unrecognised), "{success} over {body}");
            }
        }
    }

    #[test]
    fn r82_a_failing_server_never_says_wrong_password_by_its_status_alone() {
        for status in [429, 500, 502, 503, 504] {
            for denied in ["status >= 400", "status != 200", "true", "status not in [200, 302]"] {
                let verdict = judge(&rules("status == 200", denied, ""), &answer(status, &[], "{}"), AskedBy::Call);
                assert!(matches!(verdict, Verdict::Unavailable(_)), "{denied} over {status}: {verdict:?}");
            }
        }
        let explicit = rules("status == 200", "status == 500 and body is containing('BadCredentials')", "");
        let (bad, broken) = (answer(500, &[], "BadCredentialsException"), answer(500, &[], "NullPointerException"));
        assert_eq!(judge(&explicit, &bad, AskedBy::Call), Verdict::Denied);
        assert_eq!(judge(&explicit, &broken, AskedBy::Call), unavailable(Outage::ServerError));
        let captcha = rules("status == 200", "status == 401", "status == 429");
        assert_eq!(judge(&captcha, &answer(429, &[], ""), AskedBy::Call), Verdict::Challenge);
    }

    #[test]
    fn cookies_are_proof_by_their_value() {
        let form = rules(
            "status in [302, 303] and headers.location is not endingwith('/users/sign_in') and set_cookies.remember",
            "status in [200, 422]",
            "",
        );
        let of = |location: &str, cookie: &str| {
            judge(&form, &answer(302, &[("location", location), ("set-cookie", cookie)], ""), AskedBy::Forward)
        };
        assert_eq!(of("/", "remember=abc; Path=/"), Verdict::Success);
        assert_eq!(of("/", "remember=; Path=/; Max-Age=0"), NO_RULE, "a blank cookie is no proof");
        assert_eq!(of("/users/sign_in", "remember=abc"), NO_RULE);
        assert_eq!(of("/", "other=abc"), NO_RULE);
    }

    #[test]
    fn an_answer_made_to_be_expensive_proves_nothing() {
        let greedy = "(body | replace('a', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb')) is containing('error')";
        let verdict =
            judge(&rules("status == 200", greedy, ""), &answer(200, &[], &"a".repeat(1 << 20)), AskedBy::Call);
        assert_eq!(verdict, NO_RULE, "a denial that could not be looked for may have been there");
    }

    #[test]
    fn the_table_of_names() {
        let compile = |source: &str| Expression::compile(source).expect("an expression");
        let user_rules = |found: &str, not_found: &str| UserRules {
            request: super::super::request::tests::get("/users/{{ login | urlencode }}"),
            found: compile(found),
            not_found: compile(not_found),
            user: super::super::identity::tests::mapping("json.id"),
            needs_answer: false,
        };
        let plain = user_rules("status == 200 and json.id is defined", "status == 404");
        let loose = user_rules("status == 200", "status != 200");
        let list = user_rules("json.users | length == 1", "json.users | length == 0");
        let unknown = |outage| Knows::Unknown(outage);
        for (rules, status, body, expected) in [
            (&plain, 200, r#"{"id":1}"#, Knows::Found),
            (&plain, 404, "", Knows::NotFound),
            (&plain, 200, "<p>", unknown(Outage::Unrecognised)),
            (&plain, 500, "", unknown(Outage::ServerError)),
            (&plain, 429, "", unknown(Outage::RateLimited)),
            (&plain, 302, "", unknown(Outage::Redirect)),
            (&loose, 404, "", Knows::NotFound),
            (&loose, 503, "", unknown(Outage::ServerError)),
            (&loose, 429, "", unknown(Outage::RateLimited)),
            (&list, 200, r#"{"users":[]}"#, Knows::NotFound),
            (&list, 200, r#"{"users":[1,2]}"#, unknown(Outage::Unrecognised)),
            (&list, 200, "<p>Maintenance</p>", unknown(Outage::Unrecognised)),
        ] {
            assert_eq!(judge_user(rules, &answer(status, &[], body)), expected, "{status} {body}");
        }
        let both = user_rules("status == 200", "json.id is not defined");
        assert_eq!(judge_user(&both, &answer(200, &[], "{}")), unknown(Outage::Unrecognised));
    }
}
