//! The command line's end of the control socket.
//!
//! One connection a request: requests are few, and a fresh connection cannot be stale.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::error::{ApiError, ErrorKind};
use crate::server::query::push;
use crate::types::*;

/// Asks the site behind one control socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

type Outcome<T> = Result<T, ApiError>;

impl Client {
    /// Makes a client; nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            timeout: TIMEOUT,
        }
    }

    /// Waits at most this long for the head of each answer, apart from the time a request itself asks to wait.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// # Reading
impl Client {
    /// See [`crate::Site::status`].
    pub async fn status(&self) -> Outcome<Status> {
        self.get("/v1/status").await
    }

    /// Whether the site is ready. An answer of "not ready" is no error.
    pub async fn health(&self) -> Outcome<Health> {
        let response = self
            .send(Method::GET, "/readyz", Bytes::new(), None)
            .await?;
        decode(&self.collect(response).await?)
    }

    /// See [`crate::Site::metrics`].
    pub async fn metrics(&self) -> Outcome<String> {
        let response = self
            .checked(Method::GET, "/metrics", Bytes::new(), None)
            .await?;
        Ok(String::from_utf8_lossy(&self.collect(response).await?).into_owned())
    }

    /// See [`crate::Site::sites`].
    pub async fn sites(&self) -> Outcome<Vec<SiteStatus>> {
        self.get("/v1/sites").await
    }

    /// See [`crate::Site::zones`].
    pub async fn zones(&self) -> Outcome<Vec<ZoneSummary>> {
        self.get("/v1/zones").await
    }

    /// See [`crate::Site::removed_zones`].
    pub async fn removed_zones(&self) -> Outcome<Vec<RemovedZone>> {
        self.get("/v1/zones/removed").await
    }

    /// See [`crate::Site::zone`].
    pub async fn zone(&self, zone: &str) -> Outcome<ZoneStatus> {
        self.get(&with_zone("/v1/zones/show", zone)).await
    }

    /// See [`crate::Site::check_zone`].
    pub async fn check_zone(&self, zone: &str) -> Outcome<Vec<Finding>> {
        self.get(&with_zone("/v1/zones/check", zone)).await
    }

    /// See [`crate::Site::diff_zone`].
    pub async fn diff_zone(
        &self,
        zone: &str,
        from: Option<u32>,
        to: Option<u32>,
    ) -> Outcome<Difference> {
        let mut path = with_zone("/v1/zones/diff", zone);
        for (key, serial) in [("from", from), ("to", to)] {
            if let Some(serial) = serial {
                push(&mut path, key, &serial.to_string());
            }
        }
        self.get(&path).await
    }

    /// See [`crate::Site::zone_history`].
    pub async fn zone_history(&self, zone: &str) -> Outcome<Vec<HistoryEntry>> {
        self.get(&with_zone("/v1/zones/history", zone)).await
    }

    /// See [`crate::Site::records`].
    pub async fn records(&self, zone: &str, filter: &RecordFilter) -> Outcome<Vec<RecordText>> {
        let mut path = with_zone("/v1/records", zone);
        for (key, value) in [("name", &filter.name), ("type", &filter.rtype)] {
            if let Some(value) = value {
                push(&mut path, key, value);
            }
        }
        self.get(&path).await
    }

    /// See [`crate::Site::plan`].
    pub async fn plan(&self) -> Outcome<Plan> {
        self.get("/v1/plan").await
    }

    /// See [`crate::Site::export_zone`]; the pieces of the zone file, as they come.
    pub async fn export_zone(&self, zone: &str, serial: Option<u32>) -> Outcome<Pieces> {
        let mut path = with_zone("/v1/zones/export", zone);
        if let Some(serial) = serial {
            push(&mut path, "serial", &serial.to_string());
        }
        let response = self.checked(Method::GET, &path, Bytes::new(), None).await?;
        Ok(Pieces {
            body: response.into_body(),
        })
    }

    /// See [`crate::Site::events`].
    pub async fn events(&self) -> Outcome<Events> {
        let response = self
            .checked(Method::GET, "/v1/events", Bytes::new(), None)
            .await?;
        Ok(Events {
            pieces: Pieces {
                body: response.into_body(),
            },
            buffer: Vec::new(),
        })
    }
}

/// # Writing
impl Client {
    /// See [`crate::Site::invite`].
    pub async fn invite(&self, request: &Invite) -> Outcome<Invited> {
        self.post("/v1/sites/invite", request, None).await
    }

    /// See [`crate::Site::remove_site`].
    pub async fn remove_site(&self, request: &RemoveSite) -> Outcome<Changed> {
        self.post("/v1/sites/remove", request, request.wait.wait_ms)
            .await
    }

    /// See [`crate::Site::promote_site`].
    pub async fn promote_site(&self, request: &Promote) -> Outcome<Promotion> {
        self.post("/v1/sites/promote", request, request.wait.wait_ms)
            .await
    }

    /// See [`crate::Site::set_role`].
    pub async fn set_role(&self, request: &SetRole) -> Outcome<Changed> {
        self.post("/v1/sites/role", request, request.wait.wait_ms)
            .await
    }

    /// See [`crate::Site::yielded`].
    pub async fn yielded(&self) -> Outcome<Vec<Yielded>> {
        self.get("/v1/yielded").await
    }

    /// See [`crate::Site::replay`].
    pub async fn replay(&self, request: &Replay) -> Outcome<Replayed> {
        self.post("/v1/yielded/replay", request, request.wait.wait_ms)
            .await
    }

    /// See [`crate::Site::discard`].
    pub async fn discard(&self, request: &Discard) -> Outcome<Vec<Yielded>> {
        self.post("/v1/yielded/discard", request, None).await
    }

    /// See [`crate::Site::add_zone`].
    pub async fn add_zone(&self, request: &AddZone) -> Outcome<Changed> {
        self.post("/v1/zones/add", request, request.wait.wait_ms)
            .await
    }

    /// See [`crate::Site::remove_zone`].
    pub async fn remove_zone(&self, request: &RemoveZone) -> Outcome<Changed> {
        self.post("/v1/zones/remove", request, request.wait.wait_ms)
            .await
    }

    /// See [`crate::Site::restore_zone`].
    pub async fn restore_zone(&self, request: &RestoreZone) -> Outcome<Changed> {
        self.post("/v1/zones/restore", request, request.wait.wait_ms)
            .await
    }

    /// See [`crate::Site::import_zone`].
    pub async fn import_zone(&self, request: ImportZone) -> Outcome<Changed> {
        let mut path = with_zone("/v1/zones/import", &request.zone);
        if let Some(file) = &request.file {
            push(&mut path, "file", file);
        }
        if request.dry_run {
            push(&mut path, "dry-run", "true");
        }
        if let Some(wait_ms) = request.wait.wait_ms {
            push(&mut path, "wait-ms", &wait_ms.to_string());
        }
        let text = Bytes::from(request.text);
        let response = self
            .checked(
                Method::POST,
                &path,
                text,
                Some(request.wait.wait_ms.unwrap_or(0)),
            )
            .await?;
        decode(&self.collect(response).await?)
    }

    /// See [`crate::Site::change_records`].
    pub async fn change_records(&self, request: &ChangeRecords) -> Outcome<Changed> {
        self.post("/v1/records", request, request.wait.wait_ms)
            .await
    }

    /// See [`crate::Site::approve_plan`].
    pub async fn approve_plan(&self, id: &str) -> Outcome<Plan> {
        self.post("/v1/plan/approve", &Decide { id: id.to_owned() }, None)
            .await
    }

    /// See [`crate::Site::decline_plan`].
    pub async fn decline_plan(&self, id: &str) -> Outcome<Plan> {
        self.post("/v1/plan/decline", &Decide { id: id.to_owned() }, None)
            .await
    }

    /// See [`crate::Site::roll_key`].
    pub async fn roll_key(&self) -> Outcome<KeyRolled> {
        self.post("/v1/key/roll", &(), None).await
    }

    /// See [`crate::Site::reload`].
    pub async fn reload(&self) -> Outcome<Reloaded> {
        self.post("/v1/reload", &(), None).await
    }
}

/// # Exchanging
impl Client {
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let response = self.checked(Method::GET, path, Bytes::new(), None).await?;
        decode(&self.collect(response).await?)
    }

    async fn post<Q: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
        wait_ms: Option<u64>,
    ) -> Outcome<T> {
        let body = serde_json::to_vec(request)
            .map_err(|error| ApiError::internal(format!("cannot write the request: {error}")))?;
        let response = self
            .checked(Method::POST, path, Bytes::from(body), wait_ms)
            .await?;
        decode(&self.collect(response).await?)
    }

    /// Sends and turns an HTTP error into the [`ApiError`] in its body.
    async fn checked(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait_ms: Option<u64>,
    ) -> Outcome<Response<Incoming>> {
        let response = self.send(method, path, body, wait_ms).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.collect(response).await?;
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&body);
            ApiError::new(
                ErrorKind::from_status(status.as_u16()),
                format!("the site answered {status}: {}", text.trim()),
            )
        }))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait_ms: Option<u64>,
    ) -> Outcome<Response<Incoming>> {
        let limit = self.timeout + Duration::from_millis(wait_ms.unwrap_or(0));
        let exchange = async {
            let stream = UnixStream::connect(&self.socket)
                .await
                .map_err(|error| self.unreachable(&error))?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
                    .await
                    .map_err(|error| self.broken(&error))?;
            // Ends by itself with the request, or when the response is dropped.
            tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "zonemesh")
                .header("content-type", "application/json")
                .body(Full::new(body))
                .map_err(|error| ApiError::internal(format!("cannot make the request: {error}")))?;
            sender
                .send_request(request)
                .await
                .map_err(|error| self.broken(&error))
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ApiError::new(
                ErrorKind::Timeout,
                format!(
                    "the site behind {} did not answer within {} s",
                    self.socket.display(),
                    limit.as_secs()
                ),
            )
            .hint("whether it did what was asked is not known: look before you repeat it")),
        }
    }

    async fn collect(&self, response: Response<Incoming>) -> Outcome<Bytes> {
        match response.into_body().collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn unreachable(&self, error: &io::Error) -> ApiError {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ApiError::unavailable(
                format!("no site runs behind {socket}"),
            )
            .hint("start one with `zonemesh up`, or choose another with --data-dir or --socket"),
            io::ErrorKind::PermissionDenied => {
                ApiError::unavailable(format!("this user may not open {socket}"))
                    .hint("run the command as the user of the site, or as a member of its group")
            }
            _ => ApiError::unavailable(format!("cannot open {socket}: {error}")),
        }
    }

    fn broken(&self, error: &hyper::Error) -> ApiError {
        ApiError::unavailable(format!(
            "the connection to {} broke off: {error}",
            self.socket.display()
        ))
        .hint("the site may have stopped: see its log, then `zonemesh status`")
    }
}

/// The pieces of a streamed answer.
#[derive(Debug)]
pub struct Pieces {
    body: Incoming,
}

impl Pieces {
    /// The next piece; none at the proper end.
    ///
    /// # Errors
    ///
    /// When the stream breaks off before its end: what came so far is not the whole.
    pub async fn next(&mut self) -> Option<Outcome<Bytes>> {
        loop {
            return match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(_) => continue,
                },
                Err(error) => Some(Err(ApiError::unavailable(format!(
                    "the answer broke off before its end: {error}"
                )))),
            };
        }
    }
}

/// The stream of events.
#[derive(Debug)]
pub struct Events {
    pieces: Pieces,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event; none when the site ended the stream.
    ///
    /// # Errors
    ///
    /// When the connection breaks or a line is no event.
    pub async fn next(&mut self) -> Option<Outcome<Event>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(decode(&line));
            }
            match self.pieces.next().await? {
                Ok(piece) => self.buffer.extend_from_slice(&piece),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn with_zone(path: &str, zone: &str) -> String {
    let mut path = path.to_owned();
    push(&mut path, "zone", zone);
    path
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Outcome<T> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::internal(format!("the answer is not what was expected: {error}"))
            .hint("the command and the site may be of different versions")
    })
}

/// A site that takes longer for the head of an answer is stuck.
const TIMEOUT: Duration = Duration::from_secs(30);
