//! Users who bring a password hash of somebody else's making: the first login verifies it, the second is an Argon2id of ours, and legacy is
//! asked by neither. A user of each maker, and of each weak one wrapped as well.

use std::collections::BTreeSet;
use std::sync::Arc;

use authferry::domain::credential::{Credential, StoredHash};
use authferry::domain::password::PasswordNormalization;
use authferry::password::formats::{self, Declaration, WrapParams, Wrapper};
use authferry::service::ports::{Found, UserStore as _};
use serde_json::{Value, json};

use crate::store_people::{candidates, email};
use crate::support::legacy::LegacyDouble;
use crate::support::memory_store::{MemoryStore, user};
use crate::support::service::{Kept, password_settings, rig, word};

struct Row {
    format: String,
    password: String,
    encoded: String,
}

/// One user a format, out of the hashes that its makers' software made; and one more for each that is weak, wrapped.
fn rows() -> Vec<Row> {
    let all: Vec<Value> = serde_json::from_str(include_str!("fixtures/passwords.json")).expect("rows");
    let params = WrapParams { memory_kib: 64, iterations: 1, parallelism: 1 };
    let mut wrapper = Wrapper::new(params, password_settings().terms()).expect("parameters");
    let (mut seen, mut rows) = (BTreeSet::new(), Vec::new());
    for row in &all {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let (format, password, hash) = (text("format"), text("password"), text("hash"));
        // An empty password is refused at the edge.
        let is_usable = !password.is_empty() && row.get("slow").is_none();
        if !is_usable || !seen.insert(format.clone()) {
            continue;
        }
        let encoded = match row["template"].as_str() {
            Some(template) => {
                let how = Declaration::new(template).expect("a template");
                formats::declare(&hash, None, &how).expect("a digest").to_string()
            }
            None => hash,
        };
        if let Some(wrapped) = wrapper.wrap(&encoded).expect("a usable hash") {
            rows.push(Row {
                format: format!("wrapped {format}"),
                password: password.clone(),
                encoded: wrapped.to_string(),
            });
        }
        rows.push(Row { format, password, encoded });
    }
    rows
}

async fn stored(store: &MemoryStore, name: &str) -> Credential {
    match store.find(&candidates(name)).await.expect("a store").found {
        Found::One(user) => user.credential,
        Found::Nobody | Found::Ambiguous => panic!("{name} is not there"),
    }
}

#[tokio::test]
async fn r52_an_imported_password_is_replaced_by_argon2id_at_the_first_login_that_it_verifies() {
    let (double, store) = (LegacyDouble::well_behaved(), Arc::new(MemoryStore::default()));
    let rows = rows();
    let (wrapped, plain): (BTreeSet<&str>, BTreeSet<&str>) =
        rows.iter().map(|row| row.format.as_str()).partition(|name| name.starts_with("wrapped"));
    // Those that there is no row of are checked by their formula, where they are made.
    let by_formula = ["wrapped", "drupal-updated"];
    let known: BTreeSet<&str> =
        formats::all().map(|about| about.name).filter(|name| !by_formula.contains(name)).collect();
    assert_eq!(plain, known, "every format");
    assert!(wrapped.len() > 10, "{wrapped:?}");
    for (number, row) in rows.iter().enumerate() {
        let hash = StoredHash::new(row.encoded.clone(), PasswordNormalization::None);
        let names = vec![email(&format!("user{number}@example.com"))];
        store.put(user(1_000 + number as u64, names, Credential::Imported(hash), json!({})));
    }
    let rig = rig(&double, None, Kept::In(&store)).await;
    for (number, row) in rows.iter().enumerate() {
        let name = format!("user{number}@example.com");
        assert_eq!(word(&rig.login(&name, &row.password).await), "ok", "{}: {}", row.format, row.encoded);
        let Credential::Argon2id(first) = stored(&store, &name).await else {
            panic!("{} was not replaced", row.format)
        };
        assert!(first.expose().starts_with("$argon2id$v=19$m=8192,t=1,p=1$"), "{}", row.format);
        assert_eq!(word(&rig.login(&name, &row.password).await), "ok", "{}", row.format);
        let Credential::Argon2id(second) = stored(&store, &name).await else {
            panic!("{} is ours no more", row.format)
        };
        assert_eq!(first.expose(), second.expose(), "{}: once is enough", row.format);
    }
    assert_eq!(double.calls(), 0, "legacy was asked about somebody");
    assert_eq!(rig.metric("authferry_logins_total", "source=\"local\""), rows.len() as f64 * 2.0);
}

#[tokio::test]
async fn a_wrong_password_leaves_an_imported_hash_as_it_is() {
    let (double, store) = (LegacyDouble::well_behaved(), Arc::new(MemoryStore::default()));
    let encoded = "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=";
    let hash = StoredHash::new(encoded.to_owned(), PasswordNormalization::None);
    store.put(user(1, vec![email("dave@example.com")], Credential::Imported(hash), json!({})));
    let rig = rig(&double, None, Kept::In(&store)).await;
    assert_eq!(word(&rig.login("dave@example.com", "wrong").await), "denied");
    let Credential::Imported(kept) = stored(&store, "dave@example.com").await else { panic!("it was replaced") };
    assert_eq!(kept.expose(), encoded);
}

#[tokio::test]
async fn r50_the_normalization_of_an_imported_record_is_its_own_until_the_first_login() {
    let (double, store) = (LegacyDouble::well_behaved(), Arc::new(MemoryStore::default()));
    // sha256("fish"), of software that makes NFKC of passwords first.
    let encoded = formats::declare(
        "b474a99a2705e23cf905a484ec6d14ef58b56bbe62e9292783466ec363b5072d",
        None,
        &Declaration::new("{PASSWORD}").expect("a template"),
    );
    let hash = StoredHash::new(encoded.expect("a digest").to_string(), PasswordNormalization::Nfkc);
    store.put(user(1, vec![email("erin@example.com")], Credential::Imported(hash), json!({})));
    let rig = rig(&double, None, Kept::In(&store)).await;
    assert_eq!(word(&rig.login("erin@example.com", "\u{fb01}sh").await), "ok");
    let Credential::Argon2id(ours) = stored(&store, "erin@example.com").await else { panic!("it was not replaced") };
    assert_eq!(ours.normalization(), PasswordNormalization::None, "as this proxy is configured");
    assert_eq!(word(&rig.login("erin@example.com", "\u{fb01}sh").await), "ok");
}
