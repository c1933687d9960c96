//! Tokens as an app would check them, and tokens as an attacker would make them.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use zeroize::Zeroizing;

use super::settings::TokenAlgorithm;
use super::*;
use crate::domain::clock::testing::ManualClock;
use crate::domain::identifier::{Identifier, IdentifierKind, IdentifierRules};
use crate::domain::proof::{LegacyAccepted, LegacyIdentity, ToldBy};
use crate::domain::user::LegacyId;
use crate::telemetry::WithCauses;
use crate::template::{Escape, Template};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"only-for-the-demo-change-me-32-bytes!";

fn text(source: &str) -> ClaimValue {
    ClaimValue::Text(Template::compile(source, Escape::None).expect("a template"))
}

fn computed(source: &str) -> ClaimValue {
    ClaimValue::Json(Template::compile(source, Escape::Json).expect("a template"))
}

fn settings(algorithm: TokenAlgorithm, key: &[u8]) -> TokenSettings {
    TokenSettings {
        algorithm,
        key: Zeroizing::new(key.to_vec()),
        key_id: None,
        ttl: Duration::from_secs(3600),
        claims: vec![("sub".to_owned(), text("{{ user.id }}"))],
        subject_claim: "sub".to_owned(),
        named: Vec::new(),
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

fn minter(settings: TokenSettings) -> Minter {
    Minter::new(settings, clock()).expect("a usable key")
}

fn hs256() -> Minter {
    minter(settings(TokenAlgorithm::HS256, SECRET))
}

fn who(id: Value) -> Authenticated {
    named(id, Vec::new())
}

fn named(id: Value, identifiers: Vec<Identifier>) -> Authenticated {
    let identity = LegacyIdentity {
        id: LegacyId::from_json(&id).expect("an id"),
        identifiers,
        profile: json!({ "name": "Zo\u{eb} \"Z\"", "roles": ["a", "b"] }),
        told_by: ToldBy::Owner,
    };
    Authenticated::from(&LegacyAccepted::assert_by_connector(identity))
}

fn mint(minter: &Minter, id: Value) -> String {
    minter.mint(&who(id)).expect("a token").token.expect("there is a [token]")
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&B64.decode(part).expect("base64url")).expect("JSON")
}

fn forge(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).expect("a token")
}

fn signed(claims: &Value) -> String {
    forge(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET))
}

fn good_claims() -> Value {
    json!({ "sub": "7", "exp": NOW + 60 })
}

#[test]
fn claims_keep_their_order_and_types_and_times_are_added() {
    let claims = vec![
        ("token_type".to_owned(), ClaimValue::Fixed(json!("access"))),
        ("user_id".to_owned(), text("{{ user.id }}")),
        ("admin".to_owned(), ClaimValue::Fixed(json!(false))),
        ("id".to_owned(), computed("{{ user.id }}")),
        ("who".to_owned(), computed("{\"name\": {{ user.profile.name }}, \"roles\": {{ user.profile.roles }}}")),
        ("at".to_owned(), computed("{{ now }}")),
    ];
    let minter = minter(TokenSettings { claims, ..settings(TokenAlgorithm::HS256, SECRET) });
    let token = mint(&minter, json!(7));
    let expected = json!({
        "token_type": "access", "user_id": "7", "admin": false, "id": 7,
        "who": { "name": "Zo\u{eb} \"Z\"", "roles": ["a", "b"] },
        "at": NOW, "iat": NOW, "exp": NOW + 3600,
    });
    assert_eq!(part(&token, 1).to_string(), expected.to_string(), "the text, and so the order");
    assert_eq!(part(&token, 0), json!({ "typ": "JWT", "alg": "HS256" }));
}

#[test]
fn times_that_are_configured_are_not_overwritten() {
    let claims = vec![("exp".to_owned(), computed("{{ now + 5 }}")), ("iat".to_owned(), ClaimValue::Fixed(json!(1)))];
    let minter = minter(TokenSettings { claims, ..settings(TokenAlgorithm::HS256, SECRET) });
    assert_eq!(part(&mint(&minter, json!(7)), 1), json!({ "exp": NOW + 5, "iat": 1 }));
}

#[test]
fn a_claim_that_is_a_name_alone_is_left_out_for_who_has_no_such_name() {
    let claims = vec![
        ("sub".to_owned(), text("{{ user.id }}")),
        ("email".to_owned(), ClaimValue::Name(IdentifierKind::Email)),
        ("login".to_owned(), ClaimValue::Name(IdentifierKind::Username)),
    ];
    let minter = minter(TokenSettings { claims, ttl: Duration::ZERO, ..settings(TokenAlgorithm::HS256, SECRET) });
    let alias = IdentifierRules::default().identifier(IdentifierKind::Username, "Ann", None).expect("a username");
    let who = named(json!(7), vec![alias]);
    let token = minter.mint(&who).expect("a token").token.expect("there is a [token]");
    assert_eq!(part(&token, 1), json!({ "sub": "7", "login": "Ann", "iat": NOW, "exp": NOW }));
}

#[test]
fn a_template_that_fails_says_of_which_claim_it_is() {
    let claims = vec![("mail".to_owned(), text("<{{ user.email }}>"))];
    let minter = minter(TokenSettings { claims, ..settings(TokenAlgorithm::HS256, SECRET) });
    let Err(error) = minter.mint(&who(json!(7))) else { panic!("a token") };
    let told = WithCauses(&error).to_string();
    assert!(told.contains("`mail`") && told.contains("`user.email` is null where text is wanted"), "{told}");
}

#[test]
fn a_template_that_fails_is_an_error_and_never_a_token() {
    for claim in [text("{{ user.email }}"), text("{{ nobody }}"), computed("{{ user.id }} and more")] {
        let claims = vec![("sub".to_owned(), claim)];
        let minter = minter(TokenSettings { claims, ..settings(TokenAlgorithm::HS256, SECRET) });
        assert!(minter.mint(&who(json!(7))).is_err());
    }
}

#[test]
fn the_header_bears_the_key_id() {
    let minter = minter(TokenSettings { key_id: Some("k1".into()), ..settings(TokenAlgorithm::HS256, SECRET) });
    assert_eq!(part(&mint(&minter, json!(7)), 0)["kid"], "k1");
}

#[test]
fn a_minted_token_is_read_back_as_the_public_id_whatever_its_type() {
    let claims = || vec![("sub".to_owned(), computed("{{ user.id }}"))];
    let minter = minter(TokenSettings { claims: claims(), ..settings(TokenAlgorithm::HS256, SECRET) });
    assert_eq!(minter.subject(&mint(&minter, json!(7))), Some("7".to_owned()));
    assert_eq!(minter.subject(&mint(&minter, json!("u-7"))), Some("u-7".to_owned()));
}

#[test]
fn r118_a_token_is_good_until_exactly_its_expiry() {
    let clock = clock();
    let minter = Minter::new(settings(TokenAlgorithm::HS256, SECRET), Arc::clone(&clock) as Arc<dyn Clock>);
    let minter = minter.expect("a usable key");
    let token = mint(&minter, json!(7));
    clock.advance(Duration::from_secs(3599));
    assert_eq!(minter.subject(&token), Some("7".to_owned()));
    clock.advance(Duration::from_secs(1));
    assert_eq!(minter.subject(&token), None);
}

#[test]
fn r118_claims_that_do_not_hold_are_refused() {
    let minter = hs256();
    assert_eq!(minter.subject(&signed(&good_claims())), Some("7".to_owned()), "legacy's own token");
    assert_eq!(minter.subject(&signed(&json!({ "sub": "7", "exp": NOW as f64 + 0.5 }))), Some("7".to_owned()));
    for claims in [
        json!({ "sub": "7" }),
        json!({ "sub": "7", "exp": null }),
        json!({ "sub": "7", "exp": (NOW + 60).to_string() }),
        json!({ "sub": "7", "exp": NOW }),
        json!({ "sub": "7", "exp": -1 }),
        json!({ "sub": "7", "exp": NOW + 60, "nbf": NOW + 1 }),
        json!({ "sub": "7", "exp": NOW + 60, "nbf": "soon" }),
        json!({ "sub": "7", "exp": NOW + 60, "aud": "another app" }),
        json!({ "exp": NOW + 60 }),
        json!({ "sub": "", "exp": NOW + 60 }),
        json!({ "sub": 7.5, "exp": NOW + 60 }),
        json!({ "sub": ["7"], "exp": NOW + 60 }),
        json!({ "sub": null, "exp": NOW + 60 }),
        json!(["sub", "exp"]),
    ] {
        assert_eq!(minter.subject(&signed(&claims)), None, "{claims}");
    }
}

#[test]
fn r118_only_our_own_algorithm_is_verified() {
    let minter = hs256();
    let secret = EncodingKey::from_secret(SECRET);
    for other in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(minter.subject(&forge(&Header::new(other), &good_claims(), &secret)), None, "{other:?}");
    }
    let payload = B64.encode(good_claims().to_string());
    for alg in ["none", "None", "NONE", ""] {
        let header = B64.encode(json!({ "typ": "JWT", "alg": alg }).to_string());
        for signature in ["", "AAAA"] {
            assert_eq!(minter.subject(&format!("{header}.{payload}.{signature}")), None, "{alg}");
        }
    }
}

#[test]
fn r118_a_public_key_is_no_hmac_secret() {
    let pem = private_pem(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let minter = minter(settings(TokenAlgorithm::RS256, &pem));
    let jwks = minter.jwks().expect("an asymmetric key").to_string();
    for published in [jwks.as_bytes(), &pem] {
        let forged = forge(&Header::new(Algorithm::HS256), &good_claims(), &EncodingKey::from_secret(published));
        assert_eq!(minter.subject(&forged), None);
    }
}

#[test]
fn r118_keys_that_a_header_proposes_are_ignored() {
    let (minter, theirs) = (hs256(), EncodingKey::from_secret(b"the attacker's own key, which is long"));
    let mut header = Header::new(Algorithm::HS256);
    header.jku = Some("https://attacker.example/jwks".into());
    header.x5u = Some("https://attacker.example/x5u".into());
    header.jwk = Some(Jwk::from_encoding_key(&theirs, Algorithm::HS256).expect("a JWK"));
    assert_eq!(minter.subject(&forge(&header, &good_claims(), &theirs)), None);
    let ours = EncodingKey::from_secret(SECRET);
    assert_eq!(minter.subject(&forge(&header, &good_claims(), &ours)), Some("7".to_owned()), "ours is what counts");
}

#[test]
fn r118_critical_headers_are_not_understood_and_so_refused() {
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".into()]);
    assert_eq!(hs256().subject(&forge(&header, &good_claims(), &EncodingKey::from_secret(SECRET))), None);
}

#[test]
fn r118_a_changed_token_is_no_token() {
    let minter = hs256();
    let token = mint(&minter, json!(7));
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[1] = B64.encode(json!({ "sub": "8", "exp": NOW + 60 }).to_string());
    assert_eq!(minter.subject(&parts.join(".")), None);
    for garbage in ["", ".", "..", "a.b.c", "\u{e9}.\u{e9}.\u{e9}", &token[..token.len() - 1], &format!("{token}A")] {
        assert_eq!(minter.subject(garbage), None, "{garbage}");
    }
}

#[test]
fn r118_an_issuer_or_audience_that_is_configured_must_be_there() {
    let claims = || {
        let fixed = |name: &str, value: Value| (name.to_owned(), ClaimValue::Fixed(value));
        vec![("sub".to_owned(), text("{{ user.id }}")), fixed("iss", json!("us")), fixed("aud", json!("app"))]
    };
    let minter = minter(TokenSettings { claims: claims(), ..settings(TokenAlgorithm::HS256, SECRET) });
    assert_eq!(minter.subject(&mint(&minter, json!(7))), Some("7".to_owned()));
    for (iss, aud) in [(json!("us"), json!("another")), (json!("them"), json!("app")), (json!(null), json!("app"))] {
        let token = signed(&json!({ "sub": "7", "exp": NOW + 60, "iss": iss, "aud": aud }));
        assert_eq!(minter.subject(&token), None, "{iss} {aud}");
    }
    assert_eq!(minter.subject(&signed(&good_claims())), None, "neither");
}

#[test]
fn a_token_of_one_purpose_is_none_of_another() {
    let claims = |kind: &str| {
        vec![("token_type".to_owned(), ClaimValue::Fixed(json!(kind))), ("user_id".to_owned(), text("{{ user.id }}"))]
    };
    let refresh = NamedToken {
        name: "refresh".to_owned(),
        ttl: Duration::from_secs(86_400),
        claims: claims("refresh"),
        subject_claim: "user_id".to_owned(),
    };
    let minter = minter(TokenSettings {
        claims: claims("access"),
        subject_claim: "user_id".to_owned(),
        named: vec![refresh],
        ..settings(TokenAlgorithm::HS256, SECRET)
    });
    let minted = minter.mint(&who(json!(7))).expect("tokens");
    let (access, refresh) = (minted.token.expect("there is a [token]"), &minted.named["refresh"]);
    assert_eq!(part(refresh, 1)["exp"], NOW + 86_400);
    let seven = Some("7".to_owned());
    assert_eq!((minter.subject(&access), minter.subject_of("refresh", refresh)), (seven.clone(), seven));
    assert_eq!((minter.subject(refresh), minter.subject_of("refresh", &access)), (None, None));
    assert_eq!(minter.subject_of("unknown", &access), None);
}

/// A private key by the tool that operators use.
fn private_pem(arguments: &[&str]) -> Vec<u8> {
    let made = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

#[test]
fn what_asymmetric_keys_sign_verifies_with_the_published_key_set_alone() {
    const P256: &str = "ec_paramgen_curve:P-256";
    for (algorithm, jwt, kty, arguments) in [
        (TokenAlgorithm::RS256, Algorithm::RS256, "RSA", &["genpkey", "-algorithm", "RSA", "-quiet"][..]),
        (TokenAlgorithm::RS256, Algorithm::RS256, "RSA", &["genrsa", "-traditional", "2048"]),
        (TokenAlgorithm::ES256, Algorithm::ES256, "EC", &["genpkey", "-algorithm", "EC", "-pkeyopt", P256]),
        (TokenAlgorithm::ES256, Algorithm::ES256, "EC", &["ecparam", "-genkey", "-name", "prime256v1"]),
        (TokenAlgorithm::EdDSA, Algorithm::EdDSA, "OKP", &["genpkey", "-algorithm", "ed25519"]),
    ] {
        let settings = TokenSettings { key_id: Some("k1".into()), ..settings(algorithm, &private_pem(arguments)) };
        let minter = minter(settings);
        let published = minter.jwks().expect("an asymmetric key");
        let key = &published["keys"][0];
        assert_eq!((&key["kty"], &key["use"], &key["kid"]), (&json!(kty), &json!("sig"), &json!("k1")));
        for secret in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(secret).is_none(), "{secret} is no public part");
        }
        let set: JwkSet = serde_json::from_value(published.clone()).expect("a key set");
        let key = DecodingKey::from_jwk(&set.keys[0]).expect("a public key");
        let mut validation = Validation::new(jwt);
        validation.validate_exp = false;
        let token = mint(&minter, json!(7));
        let checked = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("a good signature");
        assert_eq!(checked.claims["sub"], "7");
        assert_eq!(minter.subject(&token), Some("7".to_owned()));
    }
}

#[test]
fn an_ed25519_key_in_the_newer_pkcs8_is_taken() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let minter = minter(settings(TokenAlgorithm::EdDSA, pair.serialize_pem().as_bytes()));
    assert_eq!(minter.subject(&mint(&minter, json!(7))), Some("7".to_owned()));
}

#[test]
fn a_secret_key_is_never_published() {
    assert!(hs256().jwks().is_none());
}

#[test]
fn keys_that_cannot_sign_are_found_at_the_start() {
    let rsa = private_pem(&["genpkey", "-algorithm", "RSA", "-quiet"]);
    let small = private_pem(&["genrsa", "-traditional", "1024"]);
    let p384 = private_pem(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
    let p384_sec1 = private_pem(&["ecparam", "-genkey", "-name", "secp384r1"]);
    for (what, algorithm, key) in [
        ("no key", TokenAlgorithm::HS256, &[][..]),
        ("no PEM", TokenAlgorithm::RS256, SECRET),
        ("no PEM", TokenAlgorithm::EdDSA, SECRET),
        ("another kind", TokenAlgorithm::ES256, &rsa),
        ("another kind", TokenAlgorithm::EdDSA, &rsa),
        ("another kind", TokenAlgorithm::RS256, &p384),
        ("another curve", TokenAlgorithm::ES256, &p384),
        ("another curve", TokenAlgorithm::ES256, &p384_sec1),
        ("too small", TokenAlgorithm::RS256, &small),
    ] {
        let refused = Minter::new(settings(algorithm, key), clock()).err();
        let refused = refused.unwrap_or_else(|| panic!("{what} was taken for {algorithm:?}"));
        let shown = format!("{refused} {refused:?}");
        assert!(!shown.contains("only-for-the-demo") && !shown.contains("BEGIN"), "{shown}");
    }
}

#[test]
fn legacys_short_hmac_key_is_used_and_said_to_be_short() {
    for (algorithm, least) in [(TokenAlgorithm::HS256, 32), (TokenAlgorithm::HS384, 48), (TokenAlgorithm::HS512, 64)] {
        let of = |bytes: usize| settings(algorithm, &vec![b'k'; bytes]);
        assert!(key_is_short(&of(least - 1)));
        assert!(!key_is_short(&of(least)));
        let minter = minter(of(3));
        assert_eq!(minter.subject(&mint(&minter, json!(7))), Some("7".to_owned()));
    }
    assert!(!key_is_short(&settings(TokenAlgorithm::EdDSA, b"")));
}
