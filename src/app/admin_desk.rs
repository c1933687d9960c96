//! The admin listener as `app` runs it: served on a task, closed for as long as another process takes over, opened again if that
//! comes to nothing.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use axum::Router;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin_name;
use crate::admin;
use crate::http::server::NamedSockets;

/// The listener, or none with `bind = "off"`.
pub(super) struct AdminDesk {
    desk: Option<(TcpListener, Router)>,
    serving: TaskTracker,
    stop: Mutex<CancellationToken>,
}

impl AdminDesk {
    pub(super) fn new(desk: Option<(TcpListener, Router)>) -> Self {
        Self { desk, serving: TaskTracker::new(), stop: Mutex::default() }
    }

    /// Serves on the current runtime.
    pub(super) fn open(&self) -> io::Result<()> {
        let Some((listener, router)) = &self.desk else { return Ok(()) };
        // A handle stays here: what waits in the socket outlives a pause.
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let (router, stop) = (router.clone(), CancellationToken::new());
        *self.stop.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = stop.clone();
        self.serving.spawn(async move { admin::serve(listener, router, stop.cancelled_owned()).await });
        Ok(())
    }

    /// Accepts nothing more. Requests under way are answered.
    pub(super) fn close(&self) {
        self.stop.lock().unwrap_or_else(std::sync::PoisonError::into_inner).cancel();
    }

    /// Closes, and waits for the requests under way.
    pub(super) async fn end(self) {
        self.close();
        self.serving.close();
        self.serving.wait().await;
    }

    /// A handle of its socket, under the name that the next process knows it by.
    pub(super) fn sockets(&self, configured: Option<std::net::SocketAddr>) -> io::Result<NamedSockets> {
        let Some(((listener, _), address)) = self.desk.as_ref().zip(configured) else { return Ok(Vec::new()) };
        Ok(vec![(admin_name(address), vec![OwnedFd::from(listener.try_clone()?)])])
    }
}
