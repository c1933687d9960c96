//! What a format can carry comes back from its own file as it was: every product, any user.

use proptest::prelude::*;

use super::*;

fn text(pattern: &'static str) -> impl Strategy<Value = String> {
    pattern.prop_map(|text| text)
}

prop_compose! {
    /// One name of each kind, as every product can write it.
    fn names()(
        email in text("[a-zA-Z0-9.+_-]{1,12}@[a-z]{1,8}\\.(com|org)"),
        username in text("[a-z][a-z0-9]{0,14}"),
        phone in text("\\+[1-9][0-9]{6,13}"),
        email_verified in any::<Option<bool>>(),
    ) -> Vec<PortableName> {
        vec![
            name(IdentifierKind::Email, &email, email_verified),
            name(IdentifierKind::Username, &username, None),
            name(IdentifierKind::Phone, &phone, None),
        ]
    }
}

fn bytes(length: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<u8>(), length).prop_map(|bytes| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes)
    })
}

fn argon2id() -> impl Strategy<Value = String> {
    (8_u32..1 << 20, 1_u32..16, 1_u32..8, bytes(16), bytes(32)).prop_map(|(memory, passes, lanes, salt, hash)| {
        format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
    })
}

fn bcrypt() -> impl Strategy<Value = String> {
    (4_u32..15, text("[./A-Za-z0-9]{53}")).prop_map(|(cost, rest)| format!("$2b${cost:02}${rest}"))
}

fn pbkdf2(digest: &'static str, length: usize) -> impl Strategy<Value = String> {
    (1_u32..2_000_000, bytes(16), bytes(length))
        .prop_map(move |(iterations, salt, hash)| format!("$pbkdf2-{digest}$i={iterations},l={length}${salt}${hash}"))
}

/// Hashes that the product takes, in an encoding that comes back letter for letter.
fn hash_for(product: &'static str) -> BoxedStrategy<Option<String>> {
    let some = match product {
        "auth0" | "clerk" => prop_oneof![argon2id(), bcrypt(), pbkdf2("sha256", 32), pbkdf2("sha512", 64)].boxed(),
        "kratos" => prop_oneof![argon2id(), bcrypt(), pbkdf2("sha256", 32), pbkdf2("sha1", 20)].boxed(),
        "keycloak" => prop_oneof![argon2id(), pbkdf2("sha1", 64), pbkdf2("sha256", 64), pbkdf2("sha512", 64)].boxed(),
        "fusionauth" => prop_oneof![pbkdf2("sha256", 32), pbkdf2("sha256", 64), pbkdf2("sha512", 64)].boxed(),
        "supertokens" => prop_oneof![argon2id(), bcrypt()].boxed(),
        _django_keeps_its_own_texts => prop_oneof![
            Just("pbkdf2_sha256$1000$salt$Jt3nYeAYdNVHqyXmRKXcBkW0Ng8lHjTLTY5JxdwD2Ik=".to_owned()),
            Just("md5$salt$5f4dcc3b5aa765d61d8327deb882cf99".to_owned()),
        ]
        .boxed(),
    };
    match product {
        "supertokens" => some.prop_map(Some).boxed(),
        _others => proptest::option::of(some).boxed(),
    }
}

/// A user who may be printed where a test fails: he is made up.
struct Someone(PortableUser);

impl std::fmt::Debug for Someone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", shown(&self.0), self.0.profile, encoded(&self.0))
    }
}

fn user_for(product: &'static str) -> impl Strategy<Value = Someone> {
    let id = text("[A-Za-z0-9-]{1,30}");
    let person = (text("[A-Za-zÄÖÜäöü' ,\"\\\\-]{1,12}"), text("[A-Za-zäöü']{1,12}"));
    (names(), hash_for(product), id, any::<bool>(), 0_u64..4_000_000_000, 1_u64..4_000_000_000, person).prop_map(
        move |(names, hash, id, active, created, seen, (given, family))| {
            Someone(PortableUser {
                legacy_id: LegacyId::from_json(&json!(id)),
                names,
                profile: json!({"given_name": given, "family_name": family}),
                password: hash.map(|hash| PortablePassword::new(hash, PasswordNormalization::None)),
                standing: if active { Standing::Active } else { Standing::Disabled },
                created_at: Some(UnixSeconds(created)),
                last_login_at: Some(UnixSeconds(seen)),
                ..PortableUser::default()
            })
        },
    )
}

/// Writes a user, cuts the file as an import does, and reads him back.
fn there_and_back(product: &'static str, user: &PortableUser, said: &[(&str, &str)]) -> PortableUser {
    let written = write_with(product, std::slice::from_ref(user), Hashes::Included, said);
    assert!(written.carried[0].is_ok(), "{:?}", written.carried);
    let format = format(product);
    let framing = format.framings[0];
    let mut splitter = Splitter::new(written.text.as_bytes(), framing);
    let mut context = Context::new(framing);
    let header = splitter.header().expect("a header");
    if framing == Framing::Csv {
        context.header = context.fields(&header).expect("the fields of the header");
    }
    context.settings = settings(said);
    let piece = splitter.next_piece().expect("a readable file").expect("one user");
    (format.parse)(piece.bytes.expect("a record"), &context).unwrap_or_else(|fault| panic!("{fault}: {}", written.text))
}

fn value_of(user: &PortableUser, kind: IdentifierKind) -> Option<(String, Option<bool>)> {
    user.names.iter().find(|name| name.kind == kind).map(|name| (name.value.clone(), name.verified))
}

fn same_password(one: &PortableUser, other: &PortableUser) {
    assert_eq!(encoded(one), encoded(other));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn auth0(Someone(user) in user_for("auth0")) {
        let back = there_and_back("auth0", &user, &[]);
        prop_assert_eq!(&back.legacy_id, &user.legacy_id);
        prop_assert_eq!(&back.names, &user.names);
        prop_assert_eq!(back.standing, user.standing);
        prop_assert_eq!(&back.profile["given_name"], &user.profile["given_name"]);
        prop_assert_eq!(&back.profile["family_name"], &user.profile["family_name"]);
        same_password(&back, &user);
    }

    #[test]
    fn keycloak(Someone(user) in user_for("keycloak")) {
        let back = there_and_back("keycloak", &user, &[]);
        prop_assert_eq!(&back.legacy_id, &user.legacy_id);
        for kind in [IdentifierKind::Email, IdentifierKind::Username] {
            prop_assert_eq!(value_of(&back, kind), value_of(&user, kind));
        }
        prop_assert_eq!(&back.profile["attributes"]["phoneNumber"][0], &json!(user.names[2].value));
        prop_assert_eq!((back.standing, back.created_at), (user.standing, user.created_at));
        prop_assert_eq!(&back.profile["firstName"], &user.profile["given_name"]);
        same_password(&back, &user);
    }

    #[test]
    fn kratos(Someone(user) in user_for("kratos")) {
        let back = there_and_back("kratos", &user, &[]);
        let value = |user: &PortableUser, kind| value_of(user, kind).map(|(value, _)| value);
        for kind in IdentifierKind::ALL {
            prop_assert_eq!(value(&back, kind), value(&user, kind));
        }
        // Only that an address is verified has a place there.
        let is_verified = |user: &PortableUser| user.names.iter().any(|name| name.verified == Some(true));
        prop_assert_eq!(is_verified(&back), is_verified(&user));
        prop_assert_eq!(back.standing, user.standing);
        prop_assert_eq!(&back.profile["traits"]["name"]["first"], &user.profile["given_name"]);
        let id = user.legacy_id.as_ref().map(LegacyId::to_json);
        prop_assert_eq!(Some(&back.profile["metadata_admin"]["legacy_id"]), id.as_ref());
        same_password(&back, &user);
    }

    #[test]
    fn fusionauth(Someone(mut user) in user_for("fusionauth")) {
        // It has one flag for both.
        user.names[2].verified = user.names[0].verified;
        let back = there_and_back("fusionauth", &user, &[]);
        prop_assert_eq!(&back.names, &user.names);
        prop_assert_eq!((back.standing, back.created_at), (user.standing, user.created_at));
        prop_assert_eq!(&back.profile["firstName"], &user.profile["given_name"]);
        let id = user.legacy_id.as_ref().map(LegacyId::to_json);
        prop_assert_eq!(Some(&back.profile["data"]["legacy_id"]), id.as_ref());
        same_password(&back, &user);
    }

    #[test]
    fn firebase(Someone(user) in user_for("firebase"), hash in proptest::option::of(bcrypt())) {
        let password = hash.map(|hash| PortablePassword::new(hash, PasswordNormalization::None));
        let user = PortableUser { password, ..user };
        let back = there_and_back("firebase", &user, &[("hash-algo", "BCRYPT")]);
        prop_assert_eq!(&back.legacy_id, &user.legacy_id);
        for kind in [IdentifierKind::Email, IdentifierKind::Phone] {
            prop_assert_eq!(value_of(&back, kind), value_of(&user, kind));
        }
        prop_assert_eq!((back.standing, back.created_at, back.last_login_at), (user.standing, user.created_at, user.last_login_at));
        same_password(&back, &user);
    }

    #[test]
    fn cognito(Someone(mut user) in user_for("cognito")) {
        user.standing = Standing::Active;
        user.names[0].verified = Some(true);
        user.names[2].verified = Some(false);
        // Its file has no way to write either.
        let given = user.profile["given_name"].as_str().expect("a text").replace(['"', '\\'], "");
        user.profile["given_name"] = json!(given);
        let back = there_and_back("cognito", &user, &[]);
        for kind in IdentifierKind::ALL {
            prop_assert_eq!(value_of(&back, kind), value_of(&user, kind));
        }
        // It trims every value.
        let given = user.profile["given_name"].as_str().expect("a text").trim();
        prop_assert_eq!(back.profile.get("given_name").and_then(Value::as_str).unwrap_or_default(), given);
    }

    #[test]
    fn clerk(Someone(mut user) in user_for("clerk")) {
        // An address of which nothing is known is written as one that is not verified.
        user.names[0].verified = Some(true);
        user.names[2].verified = Some(false);
        let back = there_and_back("clerk", &user, &[]);
        prop_assert_eq!(&back.legacy_id, &user.legacy_id);
        prop_assert_eq!(&back.names, &user.names);
        prop_assert_eq!((back.standing, back.created_at), (user.standing, user.created_at));
        prop_assert_eq!(&back.profile["first_name"], &user.profile["given_name"]);
        same_password(&back, &user);
    }

    #[test]
    fn supertokens(Someone(mut user) in user_for("supertokens")) {
        user.standing = Standing::Active;
        let back = there_and_back("supertokens", &user, &[]);
        prop_assert_eq!(&back.legacy_id, &user.legacy_id);
        prop_assert_eq!(value_of(&back, IdentifierKind::Email), value_of(&user, IdentifierKind::Email));
        prop_assert_eq!(back.created_at, user.created_at);
        prop_assert_eq!(&back.profile["userMetadata"]["first_name"], &user.profile["given_name"]);
        same_password(&back, &user);
    }

    #[test]
    fn django(Someone(mut user) in user_for("django"), id in 1_u32..) {
        user.legacy_id = LegacyId::from_json(&json!(id));
        let back = there_and_back("django", &user, &[]);
        prop_assert_eq!(back.legacy_id.as_ref().map(LegacyId::to_json), Some(json!(id)));
        for kind in [IdentifierKind::Email, IdentifierKind::Username] {
            let value = |user: &PortableUser| value_of(user, kind).map(|(value, _)| value);
            prop_assert_eq!(value(&back), value(&user));
        }
        prop_assert_eq!((back.standing, back.created_at, back.last_login_at), (user.standing, user.created_at, user.last_login_at));
        prop_assert_eq!(&back.profile["first_name"], &user.profile["given_name"]);
        same_password(&back, &user);
    }

    #[test]
    fn no_record_makes_a_reader_panic(raw in "\\PC{0,200}", fields in proptest::collection::vec(("[a-zA-Z_]{1,12}", "\\PC{0,20}"), 0..8)) {
        let record: serde_json::Map<String, Value> = fields.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        for product in PRODUCTS {
            for framing in format(product).framings {
                for raw in [raw.as_str(), &Value::Object(record.clone()).to_string()] {
                    let _ = parse(product, *framing, raw, &[]);
                }
            }
        }
    }
}
