//! What a login hands out and what opens with it: claims, cookies, refresh, logout, "who am I", identity headers, published keys.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::support::app::{Running, start};
use crate::support::configs::*;
use crate::support::legacy::{LegacyDouble, Misbehaviour};
use crate::support::raw_client::{Answer, send};

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";

/// Everything that a token can do.
const SESSIONS: &str = r#"
    [token]
    key = { value = "only-for-the-tests-change-me-32-bytes!" }
    ttl = "30m"
    key_id = "k-1"
    claims = { sub = "{{ user.id }}", email = "{{ user.email }}", token_type = "access", admin = false, level = 3, roles = ["a", "b"], profile = { json = "{{ user.profile | tojson }}" } }
    cookie = { name = "sid", path = "/", secure = true, http_only = true, same_site = "Lax" }
    [tokens.refresh]
    ttl = "7d"
    claims = { sub = "{{ user.id }}", token_type = "refresh" }
    [upstream.identity_headers]
    x-remote-user = "{{ user.login }}"
    x-remote-id = "{{ user.id }}"
    [[route]]
    name = "login"
    action = "login"
    match = { method = "POST", path = "/login" }
    request = { login = "/email", password = "/password" }
    legacy = "call"
    reply.ok = { status = 200, json = '{"access": {{ token | tojson }}, "refresh": {{ tokens.refresh | tojson }}}' }
    [[route]]
    name = "me"
    action = "get_user"
    match = { method = "GET", path = "/me" }
    reply.ok = { status = 200, json = '{{ user.profile | tojson }}' }
    reply.denied = { status = 401, json = '"who?"' }
    [[route]]
    name = "refresh"
    action = "refresh"
    match = { method = "POST", path = "/refresh" }
    request = { token = "/refresh" }
    reply.ok = { status = 200, json = '{"access": {{ token | tojson }}, "refresh": {{ tokens.refresh | tojson }}}' }
    reply.denied = { status = 401, json = '"no such token"' }
    [[route]]
    name = "logout"
    action = "logout"
    match = { method = "POST", path = "/logout" }
    reply.ok = { status = 200, json = '"bye"' }
    [[route]]
    name = "delete"
    action = "delete_user"
    match = { method = "POST", path = "/gone" }
    request = { login = "/email", password = "/current" }
    forward.success = "status == 204"
    forward.denied = "status == 403"
"#;

async fn proxy(double: &LegacyDouble) -> Running {
    start(&in_mode("migrate", double, &[CALL_LOGIN, SESSIONS])).await
}

struct Pair {
    access: String,
    refresh: String,
}

fn pair(answer: &Answer) -> Pair {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body: Value = answer.json();
    let token = |name: &str| body[name].as_str().expect("a token").to_owned();
    Pair { access: token("access"), refresh: token("refresh") }
}

fn claims(token: &str) -> Value {
    let key = DecodingKey::from_secret(KEY.as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_required_spec_claims(&["exp"]);
    decode::<Value>(token, &key, &validation).expect("a token that the app accepts").claims
}

async fn get(proxy: &Running, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(proxy.public, "GET", path, headers, "").await
}

#[tokio::test]
async fn a_token_bears_the_claims_of_the_app_in_their_types() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    let first = pair(&proxy.login(ANN, RIGHT).await);
    let second = pair(&proxy.login(ANN, RIGHT).await);
    for Pair { access, refresh } in [first, second] {
        let access_claims = claims(&access);
        let (iat, exp) = (access_claims["iat"].as_u64(), access_claims["exp"].as_u64());
        assert_eq!(exp.zip(iat).map(|(exp, iat)| exp - iat), Some(1_800));
        let kept: Vec<&String> = access_claims.as_object().expect("claims").keys().collect();
        assert_eq!(kept, ["sub", "email", "token_type", "admin", "level", "roles", "profile", "iat", "exp"]);
        assert_eq!(access_claims["sub"], "7");
        assert_eq!(access_claims["email"], ANN);
        assert_eq!((&access_claims["admin"], &access_claims["level"]), (&json!(false), &json!(3)));
        assert_eq!((&access_claims["roles"], &access_claims["profile"]["theme"]), (&json!(["a", "b"]), &json!("dark")));
        assert_eq!(decode_header(&access).expect("a header").kid.as_deref(), Some("k-1"));
        let refresh = claims(&refresh);
        assert_eq!((&refresh["sub"], &refresh["token_type"]), (&json!("7"), &json!("refresh")));
        assert_eq!(refresh.get("email"), None);
    }
}

#[tokio::test]
async fn the_cookie_is_set_at_a_login_opens_the_session_and_is_cleared_at_a_logout() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    let login = proxy.login(ANN, RIGHT).await;
    let token = pair(&login).access;
    let expected = format!("sid={token}; Path=/; Max-Age=1800; SameSite=Lax; Secure; HttpOnly");
    assert_eq!(cookies(&login), [expected.as_str()]);
    assert_eq!(login.header("cache-control"), Some("no-store"));
    let cookie = format!("theme=1; sid={token}");
    let me = get(&proxy, "/me", &[("Cookie", &cookie)]).await;
    assert_eq!((me.status, &me.json::<Value>()["email"]), (200, &json!(ANN)));
    assert!(cookies(&me).is_empty());
    assert!(cookies(&proxy.login(ANN, "wrong").await).is_empty());

    let logout = send(proxy.public, "POST", "/logout", &[("Cookie", &cookie)], "").await;
    assert_eq!(logout.status, 404, "legacy ends its own session while it lives: {logout:?}");
    assert_eq!(double.requests().pop().expect("it was sent on").target, "/logout");
    proxy.set_mode("retired").await;
    let logout = send(proxy.public, "POST", "/logout", &[("Cookie", &cookie)], "").await;
    assert_eq!((logout.status, &*logout.body), (200, "\"bye\""));
    assert_eq!(cookies(&logout), ["sid=; Path=/; Max-Age=0; SameSite=Lax; Secure; HttpOnly"]);
}

#[tokio::test]
async fn who_am_i_is_answered_here_for_tokens_of_ours_and_by_legacy_for_all_others() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    let Pair { access, refresh } = pair(&proxy.login(ANN, RIGHT).await);
    let calls = double.calls();
    let bearer = |token: &str| format!("Bearer {token}");
    let me = get(&proxy, "/me", &[("Authorization", &bearer(&access))]).await;
    assert_eq!((me.status, &me.json::<Value>()["theme"]), (200, &json!("dark")));
    assert_eq!(double.calls(), calls);

    let forged = {
        let mut parts: Vec<&str> = access.split('.').collect();
        let (header, body) = ("eyJhbGciOiJub25lIn0", parts[1]);
        parts = vec![header, body, ""];
        parts.join(".")
    };
    let mut tampered = access.clone();
    tampered.pop();
    let others = [refresh.as_str(), &forged, &tampered, "not.a.token", ""];
    for token in others {
        let answer = get(&proxy, "/me", &[("Authorization", &bearer(token))]).await;
        assert_eq!(answer.status, 404, "legacy's own word on {token}: {answer:?}");
    }
    assert_eq!(double.calls(), calls + others.len());
    proxy.set_mode("retired").await;
    for token in others {
        let answer = get(&proxy, "/me", &[("Authorization", &bearer(token))]).await;
        assert_eq!((answer.status, &*answer.body), (401, "\"who?\""), "{token}");
    }
    assert_eq!(get(&proxy, "/me", &[("Authorization", &bearer(&access))]).await.status, 200);
    assert_eq!(double.calls(), calls + others.len(), "legacy has ended");
}

#[tokio::test]
async fn a_refresh_takes_refresh_tokens_and_nothing_else() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    let Pair { access, refresh } = pair(&proxy.login(ANN, RIGHT).await);
    let calls = double.calls();
    let renewed = pair(&proxy.post_json("/refresh", &json!({ "refresh": refresh })).await);
    assert_eq!((claims(&renewed.access)["sub"].clone(), double.calls()), (json!("7"), calls));
    let answer = proxy.post_json("/refresh", &json!({ "refresh": access })).await;
    assert_eq!((answer.status, double.calls()), (404, calls + 1), "legacy may know it: {answer:?}");
    proxy.set_mode("retired").await;
    for token in [access.as_str(), "x", ""] {
        let answer = proxy.post_json("/refresh", &json!({ "refresh": token })).await;
        assert_eq!((answer.status, &*answer.body), (401, "\"no such token\""), "{token}");
    }
    let kept = pair(&proxy.post_json("/refresh", &json!({ "refresh": renewed.refresh })).await);
    assert_eq!(claims(&kept.access)["token_type"], "access");
    // A deleted user's tokens open nothing.
    assert_eq!(proxy.post_json("/gone", &json!({ "email": ANN, "current": RIGHT })).await.status, 204);
    assert_eq!(proxy.post_json("/refresh", &json!({ "refresh": kept.refresh })).await.status, 401);
    let bearer = format!("Bearer {}", kept.access);
    assert_eq!(get(&proxy, "/me", &[("Authorization", &bearer)]).await.status, 401);
}

#[tokio::test]
async fn identity_headers_are_set_on_a_valid_session_and_never_taken_from_a_client() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    let Pair { access, refresh } = pair(&proxy.login(ANN, RIGHT).await);
    let spoof = [("X-Remote-User", "root"), ("x-remote-id", "1"), ("X-Remote-Id", "2")];
    let seen = || {
        let sent = double.requests().pop().expect("it was sent on");
        let values = sent.headers.iter().filter(|(name, _)| name.starts_with("x-remote"));
        values.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let (bearer, wrong) = (format!("Bearer {access}"), format!("Bearer {refresh}"));
    let cookie = format!("sid={access}");
    for mode in ["observe", "migrate", "retired", "passthrough"] {
        proxy.set_mode(mode).await;
        for (header, valid) in [
            (("Authorization", &*bearer), true),
            (("Cookie", &*cookie), true),
            (("Authorization", &*wrong), false),
            (("X-Nothing", ""), false),
        ] {
            let headers = [&[header], &spoof[..]].concat();
            assert_eq!(get(&proxy, "/page", &headers).await.status, 404);
            let expected: &[&str] =
                if valid && mode != "passthrough" { &["x-remote-user=Ann", "x-remote-id=7"] } else { &[] };
            assert_eq!(seen(), expected, "{mode} {header:?}");
        }
    }
    // A name that differs in spelling only, as some servers read it.
    let odd = get(&proxy, "/page", &[("X_Remote_User", "root")]).await;
    assert!(odd.status == 400 || seen().is_empty(), "{odd:?}");
}

#[tokio::test]
async fn public_keys_are_published_and_verify_what_is_handed_out() {
    for (algorithm, kind, jwt) in [
        ("RS256", &rcgen::PKCS_RSA_SHA256, Algorithm::RS256),
        ("ES256", &rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
        ("EdDSA", &rcgen::PKCS_ED25519, Algorithm::EdDSA),
    ] {
        let pem = rcgen::KeyPair::generate_for(kind).expect("a key").serialize_pem();
        let double = LegacyDouble::well_behaved();
        let token = format!(
            "[token]\nalgorithm = \"{algorithm}\"\nkey_id = \"2024\"\nkey = {{ value = '''{pem}''' }}\n\
             claims = {{ sub = \"{{{{ user.id }}}}\", iss = \"app\" }}\n"
        );
        let proxy = start(&in_mode("migrate", &double, &[CALL_LOGIN, LOGIN, &token])).await;
        let body: Value = proxy.login(ANN, RIGHT).await.json();
        let minted = body["token"].as_str().expect("a token");
        let calls = double.calls();
        let published = get(&proxy, "/.well-known/jwks.json", &[]).await;
        assert_eq!((published.status, published.header("content-type")), (200, Some("application/jwk-set+json")));
        assert_eq!(double.calls(), calls, "the app is not asked");
        for private in ["\"d\"", "\"p\"", "\"q\"", "PRIVATE"] {
            assert!(!published.body.contains(private), "{algorithm}: {published:?}");
        }
        let set: JwkSet = published.json();
        let key = DecodingKey::from_jwk(set.find("2024").expect("its id")).expect("a key");
        let checked = decode::<Value>(minted, &key, &Validation::new(jwt)).expect("a good signature");
        assert_eq!((&checked.claims["sub"], &checked.claims["iss"]), (&json!("7"), &json!("app")), "{algorithm}");
    }
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    double.behave(None);
    let with_hmac = get(&proxy, "/.well-known/jwks.json", &[]).await;
    assert_eq!((with_hmac.status, double.calls()), (404, 1), "a shared secret is not published; the path is the app's");
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(get(&proxy, "/.well-known/jwks.json", &[]).await.status, 502);
}
