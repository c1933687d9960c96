//! The admin listener as `app` runs it: served on a task, closed for as long as another process takes over, opened again if that
//! comes to nothing.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

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
    /// Of the task that serves now, if one does.
    stop: Mutex<Option<CancellationToken>>,
}

impl AdminDesk {
    pub(super) fn new(desk: Option<(TcpListener, Router)>) -> Self {
        Self { desk, serving: TaskTracker::new(), stop: Mutex::default() }
    }

    /// Serves on the current runtime, unless it does already.
    pub(super) fn open(&self) -> io::Result<()> {
        let Some((listener, router)) = &self.desk else { return Ok(()) };
        let mut serving = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        if serving.is_some() {
            return Ok(());
        }
        // A handle stays here: what waits in the socket outlives a pause.
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let (router, stop) = (router.clone(), CancellationToken::new());
        *serving = Some(stop.clone());
        self.serving.spawn(async move { admin::serve(listener, router, stop.cancelled_owned()).await });
        Ok(())
    }

    /// Accepts nothing more. Requests under way are answered.
    pub(super) fn close(&self) {
        if let Some(stop) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            stop.cancel();
        }
    }

    /// Closes, and waits for the requests under way.
    pub(super) async fn end(self) {
        self.close();
        self.serving.close();
        self.serving.wait().await;
    }

    /// A handle of its socket, under the name that the next process knows it by.
    pub(super) fn sockets(&self, configured: Option<SocketAddr>) -> io::Result<NamedSockets> {
        let Some(((listener, _), address)) = self.desk.as_ref().zip(configured) else { return Ok(Vec::new()) };
        Ok(vec![(admin_name(address), vec![OwnedFd::from(listener.try_clone()?)])])
    }
}
