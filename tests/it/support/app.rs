//! The whole proxy in this process, from a configuration's text, on port 0 and a store of its own.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use authferry::app::App;
use authferry::config::{Config, Environment};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::raw_client::{Answer, send};

/// What the admin API is opened with in tests.
pub(crate) const ADMIN_TOKEN: &str = "admin-token-of-the-tests";

/// A running proxy. Dropped it is stopped hard; [`Running::stop`] drains it.
pub(crate) struct Running {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
    folder: Arc<TempDir>,
}

/// Starts a proxy with an empty store. `text` is everything but `[store]`, `[[listener]]`, `[admin]`, which are added.
pub(crate) async fn start(text: &str) -> Running {
    start_in(Arc::new(TempDir::new().expect("a folder")), text).await
}

/// Starts a proxy on the store in a folder.
pub(crate) async fn start_in(folder: Arc<TempDir>, text: &str) -> Running {
    build(folder, text, "").await
}

/// Starts a proxy with an empty store and further lines of `[admin]`.
pub(crate) async fn start_with_admin(text: &str, admin: &str) -> Running {
    build(Arc::new(TempDir::new().expect("a folder")), text, admin).await
}

async fn build(folder: Arc<TempDir>, text: &str, admin: &str) -> Running {
    let whole = format!(
        "{text}\n[[listener]]\nbind = \"127.0.0.1:0\"\n[store]\npath = {:?}\ncache = \"8MiB\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\ntoken = {{ value = \"{ADMIN_TOKEN}\" }}\n{admin}\n",
        folder.path().join("users.redb"),
    );
    let environment = Environment::new([], NonZeroUsize::MIN);
    let config = Config::from_text(&whole, "proxy.toml", &environment).unwrap_or_else(|problems| panic!("{problems}"));
    let app = App::build(config).await.unwrap_or_else(|error| panic!("{error:?}"));
    let public = app.addresses().public.first().and_then(|address| address.tcp()).expect("a TCP listener");
    let admin = app.addresses().admin.expect("an admin listener");
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(async move {
        // A sender that is dropped stops it too.
        app.run(async move { drop(stopped.await) }).await.expect("a clean end");
    });
    Running { public, admin, stop: Some(stop), ended, folder }
}

impl Running {
    /// Drains and stops, and gives the folder with the store back.
    pub(crate) async fn stop(mut self) -> Arc<TempDir> {
        drop(self.stop.take());
        (&mut self.ended).await.expect("it ends without a panic");
        Arc::clone(&self.folder)
    }

    /// The folder that the store is in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends JSON to the public listener.
    pub(crate) async fn post_json(&self, path: &str, body: &serde_json::Value) -> Answer {
        send(self.public, "POST", path, &[("Content-Type", "application/json")], &body.to_string()).await
    }

    /// Sends a form to the public listener.
    pub(crate) async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        send(self.public, "POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], &body).await
    }

    /// Logs in by JSON on `/login`.
    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post_json("/login", &serde_json::json!({ "email": email, "password": password })).await
    }

    /// Somebody who may ask its admin API.
    pub(crate) fn operator(&self) -> Operator {
        Operator { admin: self.admin }
    }

    /// Puts a mode in force.
    pub(crate) async fn set_mode(&self, mode: &str) {
        self.operator().set_mode(mode).await;
    }

    /// How many users there are, tombstones left out.
    pub(crate) async fn users(&self) -> u64 {
        self.operator().users().await
    }

    /// The value of a counter or gauge: the sum over every line that holds all of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.operator().metric(name, labels).await
    }
}

/// Somebody with [`ADMIN_TOKEN`] at an admin listener, of a proxy in this process or in another.
#[derive(Clone, Copy)]
pub(crate) struct Operator {
    pub(crate) admin: SocketAddr,
}

impl Operator {
    /// Asks the admin API.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        send(self.admin, "GET", path, &[("Authorization", &bearer)], "").await
    }

    /// Puts a mode in force.
    pub(crate) async fn set_mode(&self, mode: &str) {
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let body = serde_json::json!({ "mode": mode, "confirm": mode }).to_string();
        let answer = send(self.admin, "PUT", "/api/v1/mode", &headers, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// How many users there are, tombstones left out.
    pub(crate) async fn users(&self) -> u64 {
        let status: serde_json::Value = self.get("/api/v1/status").await.json();
        let of = |origin: &str| status["users"][origin].as_u64().unwrap_or_else(|| panic!("{origin} in {status}"));
        of("migrated") + of("registered") + of("imported") + of("roster")
    }

    /// The value of a counter or gauge: the sum over every line that holds all of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = send(self.admin, "GET", "/metrics", &[], "").await.body;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let own = lines.filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        own.filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}
