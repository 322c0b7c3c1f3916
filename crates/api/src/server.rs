//! Serves a [`Site`] on its Unix control socket, and the harmless part of it on TCP.
//!
//! | Where | What |
//! |---|---|
//! | Unix socket | everything under `/v1`, and all of the TCP side |
//! | TCP | `GET /metrics`, `/healthz`, `/readyz`, `/v1/status` |
//!
//! Reads are GET with parameters in the query string, writes are POST with a JSON body. An error is an
//! [`ApiError`] as JSON under its HTTP status.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::caller::Caller;
use crate::error::{ApiError, ErrorKind};
use crate::metrics;
use crate::site::Site;
use crate::types::*;

mod body;
pub(crate) mod query;

use self::body::{ChannelBody, event_body, text_body};
use self::query::{DiffQuery, ExportQuery, ImportQuery, RecordQuery, ZoneQuery};

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    http: Vec<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// The addresses bound on TCP, with the ports that were chosen.
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Stops serving and removes the control socket. Requests under way are cut off.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Err(error) = std::fs::remove_file(&self.socket)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(socket = %self.socket.display(), %error, "control socket could not be removed");
        }
    }
}

/// Binds the control socket and the TCP addresses, and serves `site` on them.
///
/// # Errors
///
/// See [`ServeError`]; nothing is served then.
pub async fn serve(
    socket: &Path,
    http: &[SocketAddr],
    site: Arc<dyn Site>,
) -> Result<Server, ServeError> {
    let mut listeners = Vec::new();
    for &address in http {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Http { address, source })?;
        let bound = listener
            .local_addr()
            .map_err(|source| ServeError::Http { address, source })?;
        listeners.push((listener, bound));
    }
    let unix = bind_unix(socket).await?;

    let mut server = Server {
        socket: socket.to_owned(),
        http: listeners.iter().map(|(_, bound)| *bound).collect(),
        tasks: Vec::new(),
    };
    let control = control_router(Arc::clone(&site));
    server.tasks.push(tokio::spawn(async move {
        ended(axum::serve(unix, control.into_make_service_with_connect_info::<Other>()).await)
    }));
    for (listener, _) in listeners {
        let public = public_router(Arc::clone(&site));
        server.tasks.push(tokio::spawn(async move {
            ended(axum::serve(listener, public).await)
        }));
    }
    Ok(server)
}

/// Who has connected to the control socket, if the kernel says so.
#[derive(Clone, Copy, Debug)]
struct Other(Option<Caller>);

impl Connected<IncomingStream<'_, UnixListener>> for Other {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let uid = stream.io().peer_cred().ok().map(|cred| cred.uid());
        Self(uid.map(|uid| Caller { uid }))
    }
}

/// Answers a request as asked for by whoever has connected.
async fn as_caller(request: Request, next: Next) -> Response {
    let other = request.extensions().get::<ConnectInfo<Other>>();
    match other.and_then(|ConnectInfo(Other(caller))| *caller) {
        Some(caller) => caller.asks(next.run(request)).await,
        None => next.run(request).await,
    }
}

fn ended(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the control server ended");
    }
}

async fn bind_unix(socket: &Path) -> Result<UnixListener, ServeError> {
    let fail = |source| ServeError::Socket {
        socket: socket.to_owned(),
        source,
    };
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(ServeError::SocketPathTooLong {
            socket: socket.to_owned(),
        });
    }
    match std::fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
        // A socket that nobody answers was left behind by a site that was killed.
        Ok(_) => match tokio::net::UnixStream::connect(socket).await {
            Ok(_) => {
                return Err(ServeError::SocketInUse {
                    socket: socket.to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(socket).map_err(fail)?;
            }
            Err(error) => return Err(fail(error)),
        },
    }
    let listener = UnixListener::bind(socket).map_err(fail)?;
    // The socket is the authority over the site: only its own user and group may open it.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660)).map_err(fail)?;
    Ok(listener)
}

/// Everything, for the control socket.
pub fn control_router(site: Arc<dyn Site>) -> Router {
    let large = DefaultBodyLimit::max(MAX_IMPORT_BYTES);
    Router::new()
        .route("/v1/sites", get(sites))
        .route("/v1/sites/invite", post(invite))
        .route("/v1/sites/remove", post(remove_site))
        .route("/v1/sites/promote", post(promote_site))
        .route("/v1/sites/role", post(set_role))
        .route("/v1/yielded", get(yielded))
        .route("/v1/yielded/replay", post(replay).layer(large))
        .route("/v1/yielded/discard", post(discard))
        .route("/v1/zones", get(zones))
        .route("/v1/zones/removed", get(removed_zones))
        .route("/v1/zones/show", get(zone))
        .route("/v1/zones/add", post(add_zone).layer(large))
        .route("/v1/zones/remove", post(remove_zone))
        .route("/v1/zones/restore", post(restore_zone))
        .route("/v1/zones/import", post(import_zone).layer(large))
        .route("/v1/zones/export", get(export_zone))
        .route("/v1/zones/check", get(check_zone))
        .route("/v1/zones/diff", get(diff_zone))
        .route("/v1/zones/history", get(zone_history))
        .route("/v1/records", get(records).post(change_records))
        .route("/v1/plan", get(plan))
        .route("/v1/plan/approve", post(approve_plan))
        .route("/v1/plan/decline", post(decline_plan))
        .route("/v1/key/roll", post(roll_key))
        .route("/v1/reload", post(reload))
        .route("/v1/events", get(events))
        .with_state(Arc::clone(&site))
        .merge(public_router(site))
        .layer(middleware::from_fn(as_caller))
}

/// What may be asked by anyone who reaches the TCP address.
pub fn public_router(site: Arc<dyn Site>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/v1/status", get(status))
        .fallback(async || {
            ApiError::not_found("no such resource").hint("docs/reference/api.md lists them")
        })
        .with_state(site)
}

type Context = State<Arc<dyn Site>>;

// # Harmless

async fn metrics_text(State(site): Context) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        site.metrics(),
    )
}

async fn ready(State(site): Context) -> Response {
    let health = site.health();
    let status = if health.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(health)).into_response()
}

async fn status(State(site): Context) -> Response {
    reply(site.status()).await
}

// # Sites

async fn sites(State(site): Context) -> Response {
    reply(site.sites()).await
}

async fn invite(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.invite(request)).await
}

async fn remove_site(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.remove_site(request)).await
}

async fn promote_site(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.promote_site(request)).await
}

async fn set_role(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.set_role(request)).await
}

async fn yielded(State(site): Context) -> Response {
    reply(site.yielded()).await
}

async fn replay(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.replay(request)).await
}

async fn discard(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.discard(request)).await
}

// # Zones

async fn zones(State(site): Context) -> Response {
    reply(site.zones()).await
}

async fn removed_zones(State(site): Context) -> Response {
    reply(site.removed_zones()).await
}

async fn zone(State(site): Context, Query(query): Query<ZoneQuery>) -> Response {
    reply(site.zone(query.zone)).await
}

async fn add_zone(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.add_zone(request)).await
}

async fn remove_zone(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.remove_zone(request)).await
}

async fn restore_zone(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.restore_zone(request)).await
}

async fn import_zone(
    State(site): Context,
    Query(query): Query<ImportQuery>,
    body: Bytes,
) -> Response {
    let text = match String::from_utf8(body.into()) {
        Ok(text) => text,
        Err(error) => {
            return ApiError::invalid(format!(
                "the zone file of {} is not UTF-8 at byte {}",
                query.zone,
                error.utf8_error().valid_up_to()
            ))
            .hint("write other bytes as \\DDD escapes")
            .into_response();
        }
    };
    reply(site.import_zone(query.into_request(text))).await
}

async fn export_zone(State(site): Context, Query(query): Query<ExportQuery>) -> Response {
    match site.export_zone(query.zone, query.serial).await {
        Ok(chunks) => streamed("text/dns; charset=utf-8", text_body(chunks)),
        Err(error) => error.into_response(),
    }
}

async fn check_zone(State(site): Context, Query(query): Query<ZoneQuery>) -> Response {
    reply(site.check_zone(query.zone)).await
}

async fn diff_zone(State(site): Context, Query(query): Query<DiffQuery>) -> Response {
    reply(site.diff_zone(query.zone, query.from, query.to)).await
}

async fn zone_history(State(site): Context, Query(query): Query<ZoneQuery>) -> Response {
    reply(site.zone_history(query.zone)).await
}

async fn records(State(site): Context, Query(query): Query<RecordQuery>) -> Response {
    let filter = RecordFilter {
        name: query.name,
        rtype: query.rtype,
    };
    reply(site.records(query.zone, filter)).await
}

async fn change_records(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.change_records(request)).await
}

// # The site itself

async fn plan(State(site): Context) -> Response {
    reply(site.plan()).await
}

async fn approve_plan(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.approve_plan(request)).await
}

async fn decline_plan(State(site): Context, body: Bytes) -> Response {
    with_body(&body, |request| site.decline_plan(request)).await
}

async fn roll_key(State(site): Context) -> Response {
    reply(site.roll_key()).await
}

async fn reload(State(site): Context) -> Response {
    reply(site.reload()).await
}

async fn events(State(site): Context) -> Response {
    streamed("application/jsonl", event_body(site.events()))
}

// # Answers

async fn reply<T: Serialize>(answer: impl Future<Output = Result<T, ApiError>>) -> Response {
    match answer.await {
        Ok(value) => axum::Json(value).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn with_body<Q, T, F>(body: &[u8], ask: impl FnOnce(Q) -> F) -> Response
where
    Q: DeserializeOwned,
    T: Serialize,
    F: Future<Output = Result<T, ApiError>>,
{
    match serde_json::from_slice(body) {
        Ok(request) => reply(ask(request)).await,
        Err(error) => ApiError::invalid(format!("the request is not what was expected: {error}"))
            .hint("the command and the site may be of different versions")
            .into_response(),
    }
}

fn streamed(content_type: &'static str, body: ChannelBody) -> Response {
    (
        [(header::CONTENT_TYPE, content_type)],
        axum::body::Body::new(body),
    )
        .into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.kind == ErrorKind::Internal {
            tracing::error!(error = %self, "a request failed");
        }
        (status, axum::Json(self)).into_response()
    }
}

/// Why a site cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The TCP address of `[listen] http` cannot be bound.
    #[error("cannot listen for HTTP on {address}: is another program using the port?")]
    Http {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot make the control socket {}", socket.display())]
    Socket {
        /// Its path.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process answers on the control socket.
    #[error("another zonemesh runs with the control socket {}: stop it first", socket.display())]
    SocketInUse {
        /// Its path.
        socket: PathBuf,
    },
    /// The kernel takes no socket path that long.
    #[error(
        "the path of the control socket is longer than {MAX_SOCKET_PATH} bytes: {}; choose a shorter `data-dir`",
        socket.display()
    )]
    SocketPathTooLong {
        /// Its path.
        socket: PathBuf,
    },
}

/// `sun_path` holds 108 bytes with the final NUL on Linux.
const MAX_SOCKET_PATH: usize = 107;

/// The largest zone file taken: ten million records of a hundred bytes.
const MAX_IMPORT_BYTES: usize = 1 << 30;
