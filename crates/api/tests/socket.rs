//! Client and server over a real Unix socket, with a small site behind them; and the JSON that scripts rely on.

// Helpers of tests are tests, which clippy does not see outside of `#[test]`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};
use zonemesh_api::site::TextStream;
use zonemesh_api::types::*;
use zonemesh_api::{ApiError, Client, ErrorKind, Reply, Site, server};

/// Remembers what it was asked.
struct Fake {
    asked: Mutex<Vec<String>>,
    events: broadcast::Sender<Event>,
    ready: bool,
}

impl Fake {
    fn new(ready: bool) -> Arc<Self> {
        let (events, _) = broadcast::channel(8);
        Arc::new(Self {
            asked: Mutex::default(),
            events,
            ready,
        })
    }

    fn note(&self, request: impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{request:?}"));
    }

    fn changed(&self, zone: &str) -> Changed {
        Changed {
            zone: zone.into(),
            serial: Some(7),
            changed: true,
            ..Changed::default()
        }
    }
}

fn done<'a, T: Send + 'a>(value: Result<T, ApiError>) -> Reply<'a, T> {
    Box::pin(async move { value })
}

impl Site for Fake {
    fn status(&self) -> Reply<'_, Status> {
        done(Ok(status()))
    }
    fn health(&self) -> Health {
        Health {
            ready: self.ready,
            reasons: vec!["zone a.example. is missing".into()],
        }
    }
    fn metrics(&self) -> String {
        "# EOF\n".into()
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
    fn sites(&self) -> Reply<'_, Vec<SiteStatus>> {
        done(Ok(status().sites))
    }
    fn invite(&self, request: Invite) -> Reply<'_, Invited> {
        self.note(&request);
        let expires = Timestamp::UNIX_EPOCH;
        done(Ok(Invited {
            site: request.site,
            packet: "packet".into(),
            expires,
            role: request.role.unwrap_or_default(),
            returns: false,
            answers: false,
        }))
    }
    fn remove_site(&self, request: RemoveSite) -> Reply<'_, Changed> {
        self.note(&request);
        done(Err(
            ApiError::held("3 of 4 zones would go").hint("approve 17")
        ))
    }
    fn promote_site(&self, request: Promote) -> Reply<'_, Promotion> {
        self.note(&request);
        done(Err(ApiError::refused("site-a answers")))
    }
    fn set_role(&self, request: SetRole) -> Reply<'_, Changed> {
        self.note(&request);
        done(Ok(Changed::default()))
    }
    fn yielded(&self) -> Reply<'_, Vec<Yielded>> {
        done(Ok(vec![Yielded {
            changes: vec![YieldedChange::default()],
            ..Yielded::default()
        }]))
    }
    fn replay(&self, request: Replay) -> Reply<'_, Replayed> {
        self.note(&request);
        done(Ok(Replayed::default()))
    }
    fn discard(&self, request: Discard) -> Reply<'_, Vec<Yielded>> {
        self.note(&request);
        done(Ok(Vec::new()))
    }
    fn zones(&self) -> Reply<'_, Vec<ZoneSummary>> {
        done(Ok(Vec::new()))
    }
    fn zone(&self, zone: String) -> Reply<'_, ZoneStatus> {
        done(Err(ApiError::not_found(format!("there is no zone {zone}"))))
    }
    fn removed_zones(&self) -> Reply<'_, Vec<RemovedZone>> {
        done(Ok(Vec::new()))
    }
    fn add_zone(&self, request: AddZone) -> Reply<'_, Changed> {
        self.note(&request);
        done(Ok(self.changed(&request.zone)))
    }
    fn remove_zone(&self, request: RemoveZone) -> Reply<'_, Changed> {
        self.note(&request);
        done(Ok(self.changed(&request.zone)))
    }
    fn restore_zone(&self, request: RestoreZone) -> Reply<'_, Changed> {
        self.note(&request);
        done(Ok(self.changed(&request.zone)))
    }
    fn import_zone(&self, request: ImportZone) -> Reply<'_, Changed> {
        self.note(&request);
        done(Ok(self.changed(&request.zone)))
    }
    fn export_zone(&self, zone: String, serial: Option<u32>) -> Reply<'_, TextStream> {
        self.note((zone, serial));
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            for piece in ["first\n", "second\n"] {
                sender.send(Ok(piece.to_owned())).await.unwrap();
            }
            if serial == Some(13) {
                sender
                    .send(Err(ApiError::internal("the disk is gone")))
                    .await
                    .unwrap();
            }
        });
        done(Ok(receiver))
    }
    fn check_zone(&self, _: String) -> Reply<'_, Vec<Finding>> {
        done(Ok(Vec::new()))
    }
    fn diff_zone(&self, zone: String, from: Option<u32>, to: Option<u32>) -> Reply<'_, Difference> {
        done(Ok(Difference {
            zone,
            from,
            to,
            removed: Vec::new(),
            added: Vec::new(),
        }))
    }
    fn zone_history(&self, _: String) -> Reply<'_, Vec<HistoryEntry>> {
        done(Ok(Vec::new()))
    }
    fn records(&self, zone: String, filter: RecordFilter) -> Reply<'_, Vec<RecordText>> {
        self.note((zone, filter));
        done(Ok(Vec::new()))
    }
    fn change_records(&self, request: ChangeRecords) -> Reply<'_, Changed> {
        self.note(&request);
        done(Ok(self.changed(&request.zone)))
    }
    fn plan(&self) -> Reply<'_, Plan> {
        done(Ok(Plan::default()))
    }
    fn approve_plan(&self, request: Decide) -> Reply<'_, Plan> {
        self.note(&request);
        done(Ok(Plan::default()))
    }
    fn decline_plan(&self, request: Decide) -> Reply<'_, Plan> {
        self.note(&request);
        done(Ok(Plan::default()))
    }
    fn roll_key(&self) -> Reply<'_, KeyRolled> {
        done(Ok(KeyRolled::default()))
    }
    fn reload(&self) -> Reply<'_, Reloaded> {
        done(Ok(Reloaded::default()))
    }
}

fn status() -> Status {
    Status {
        schema: SCHEMA,
        site: "site-a".into(),
        version: "0.1.0".into(),
        at: Timestamp::UNIX_EPOCH,
        verdict: Verdict::Degraded,
        directory: Some("dns.internal.".into()),
        catalog: None,
        checks: vec![Check {
            name: "peer-unreachable".into(),
            state: CheckState::Warning,
            subject: Some("site-b".into()),
            message: "site-b does not answer".into(),
            hint: None,
            since: None,
        }],
        sites: vec![SiteStatus {
            name: "site-a".into(),
            role: "catalog-primary".into(),
            addresses: vec!["127.0.0.1".into()],
            reachable: Some(true),
            ready: Some(true),
            rtt_ms: Some(3),
            last_seen: None,
            engine: None,
            failure_domain: None,
            pins: Vec::new(),
            zones: 2,
            error: None,
            this: true,
        }],
        zones: vec![ZoneStatus {
            zone: "a.example.".into(),
            primary: Some("site-a".into()),
            kind: ZoneKind::Data,
            serial: Some(7),
            groups: Vec::new(),
            dynamic: true,
            records: None,
            sites: vec![ZoneAtSite {
                site: "site-b".into(),
                state: CopyState::Behind,
                serial: Some(6),
                age_secs: Some(10),
                next_refresh_secs: Some(20),
                expires_in_secs: Some(3_628_800),
                transport: Some("tls".into()),
                from: Some("site-a".into()),
                last_error: Some("timed out".into()),
                errors: vec![SourceError {
                    source: "site-a".into(),
                    error: "timed out".into(),
                    at: None,
                }],
            }],
        }],
        transfers: vec![TransferStatus {
            zone: "b.example.".into(),
            direction: Direction::Out,
            peer: "site-b".into(),
            transport: "quic".into(),
            records: 5,
            expected_records: Some(9),
            bytes: 300,
            running_secs: 2,
        }],
    }
}

async fn serve(fake: &Arc<Fake>, dir: &Path) -> (server::Server, Client) {
    let socket = dir.join("control.sock");
    let site: Arc<dyn Site> = Arc::clone(fake) as _;
    let server = server::serve(&socket, &["127.0.0.1:0".parse().unwrap()], site)
        .await
        .unwrap();
    (server, Client::new(socket))
}

#[tokio::test]
async fn requests_and_answers_arrive_as_they_were_sent() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(true);
    let (_server, client) = serve(&fake, dir.path()).await;
    assert_eq!(client.status().await.unwrap(), status());
    let import = ImportZone {
        // Names that a URL would take for something else.
        zone: "0/25.2.0.192.in-addr.arpa&x=?é%".into(),
        text: "@ TXT \"ü\"\n".into(),
        file: Some("a b.zone".into()),
        dry_run: true,
        wait: Wait { wait_ms: Some(5) },
    };
    let change = ChangeRecords {
        zone: "a.example".into(),
        changes: vec![
            RecordChange::Set {
                name: "@".into(),
                rtype: "MX".into(),
                ttl: None,
                data: vec!["10 mail".into()],
            },
            RecordChange::Delete {
                name: "old".into(),
                rtype: None,
                data: None,
            },
        ],
        dry_run: false,
        wait: Wait { wait_ms: Some(100) },
    };
    let filter = RecordFilter {
        name: Some("*.x".into()),
        rtype: Some("A".into()),
    };
    assert_eq!(
        client.import_zone(import.clone()).await.unwrap().zone,
        import.zone
    );
    client.change_records(&change).await.unwrap();
    client.records("a.example", &filter).await.unwrap();
    let difference = client.diff_zone("a.example", Some(1), None).await.unwrap();
    assert_eq!((difference.from, difference.to), (Some(1), None));
    let asked = fake.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            format!("{import:?}"),
            format!("{change:?}"),
            format!("{:?}", ("a.example", &filter))
        ]
    );
}

#[tokio::test]
async fn an_error_arrives_with_its_kind_and_hint() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = serve(&Fake::new(true), dir.path()).await;
    let request = RemoveSite {
        site: "b".into(),
        zones: Some(ZonesOfRemoved::Remove),
        wait: Wait::default(),
    };
    let error = client.remove_site(&request).await.unwrap_err();
    assert_eq!(
        error,
        ApiError::held("3 of 4 zones would go").hint("approve 17")
    );
    assert_eq!(error.kind.exit_code(), 5);
    let error = client.zone("none.example").await.unwrap_err();
    assert_eq!(
        (error.kind, error.kind.exit_code()),
        (ErrorKind::NotFound, 1)
    );
}

#[tokio::test]
async fn a_zone_file_that_breaks_off_is_not_taken_for_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = serve(&Fake::new(true), dir.path()).await;
    let mut whole = Vec::new();
    let mut pieces = client.export_zone("a.example", None).await.unwrap();
    while let Some(piece) = pieces.next().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(whole, b"first\nsecond\n");
    let mut pieces = client.export_zone("a.example", Some(13)).await.unwrap();
    let error = loop {
        match pieces.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the end looked proper"),
        }
    };
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn events_are_read_as_they_happen() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(true);
    let (server, client) = serve(&fake, dir.path()).await;
    let mut events = client.events().await.unwrap();
    let sent: Vec<Event> = [
        What::SiteJoined {
            name: "site-b".into(),
        },
        What::ServedEverywhere {
            zone: "a.example.".into(),
            serial: 7,
            sites: 3,
            after_ms: 12,
        },
    ]
    .map(|what| Event {
        at: Timestamp::UNIX_EPOCH,
        site: "site-a".into(),
        what,
    })
    .to_vec();
    for event in &sent {
        fake.events.send(event.clone()).unwrap();
    }
    for event in &sent {
        assert_eq!(events.next().await.unwrap().unwrap(), *event);
    }
    server.stop();
}

#[tokio::test]
async fn nobody_behind_the_socket_is_said_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(dir.path().join("control.sock"));
    let error = client.status().await.unwrap_err();
    assert_eq!(
        (error.kind, error.kind.exit_code()),
        (ErrorKind::Unavailable, 3)
    );
    assert!(error.hint.unwrap().contains("zonemesh up"));
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (server, client) = serve(&Fake::new(true), dir.path()).await;
    assert!(client.health().await.unwrap().ready);
    let again = server::serve(&socket, &[], Fake::new(true))
        .await
        .unwrap_err();
    assert!(
        matches!(again, server::ServeError::SocketInUse { .. }),
        "{again}"
    );
    server.stop();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_path_that_the_kernel_would_refuse_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("x".repeat(120));
    let error = server::serve(&socket, &[], Fake::new(true))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("longer than 107 bytes"),
        "{error}"
    );
}

/// One request over TCP, the whole answer as text.
async fn http(server: &server::Server, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.http()[0])
        .await
        .unwrap();
    let request =
        format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn over_tcp_only_the_harmless_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(false);
    let (server, _) = serve(&fake, dir.path()).await;
    assert!(
        http(&server, "GET /healthz")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let ready = http(&server, "GET /readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("a.example. is missing"),
        "{ready}"
    );
    assert!(
        http(&server, "GET /metrics")
            .await
            .contains("application/openmetrics-text")
    );
    assert!(
        http(&server, "GET /v1/status")
            .await
            .contains("\"verdict\":\"degraded\"")
    );
    let writes = [
        "GET /v1/zones",
        "GET /v1/events",
        "POST /v1/reload",
        "POST /v1/sites/invite",
        "POST /v1/key/roll",
        "GET /v1/zones/export?zone=a",
    ];
    for write in writes {
        assert!(
            http(&server, write).await.starts_with("HTTP/1.1 404"),
            "{write}"
        );
    }
    assert!(fake.asked.lock().unwrap().is_empty());
}

#[test]
fn the_json_that_scripts_rely_on_does_not_change() {
    let json = serde_json::to_string(&status()).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"schema":1,"site":"site-a","version":"0.1.0","at":"1970-01-01T00:00:00Z","verdict":"degraded","#,
            r#""directory":"dns.internal.","checks":[{"name":"peer-unreachable","state":"warning","subject":"site-b","#,
            r#""message":"site-b does not answer"}],"sites":[{"name":"site-a","role":"catalog-primary","#,
            r#""addresses":["127.0.0.1"],"reachable":true,"ready":true,"rtt-ms":3,"pins":[],"zones":2,"this":true}],"#,
            r#""zones":[{"zone":"a.example.","primary":"site-a","kind":"data","serial":7,"groups":[],"dynamic":true,"#,
            r#""sites":[{"site":"site-b","state":"behind","serial":6,"age-secs":10,"next-refresh-secs":20,"#,
            r#""expires-in-secs":3628800,"transport":"tls","from":"site-a","last-error":"timed out","#,
            r#""errors":[{"source":"site-a","error":"timed out"}]}]}],"#,
            r#""transfers":[{"zone":"b.example.","direction":"out","peer":"site-b","transport":"quic","records":5,"expected-records":9,"#,
            r#""bytes":300,"running-secs":2}]}"#
        )
    );
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status());
}

#[test]
fn events_are_flat_objects_with_their_kind() {
    let what = What::ServedEverywhere {
        zone: "a.".into(),
        serial: 1,
        sites: 3,
        after_ms: 9,
    };
    let event = Event {
        at: Timestamp::UNIX_EPOCH,
        site: "site-a".into(),
        what,
    };
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(
        json,
        r#"{"at":"1970-01-01T00:00:00Z","site":"site-a","event":"served-everywhere","zone":"a.","serial":1,"sites":3,"after-ms":9}"#
    );
    assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
}

#[test]
fn a_request_leaves_out_what_is_not_said_and_reads_the_short_form() {
    let short = r#"{"zone":"a.example","changes":[{"do":"delete","name":"x"}],"wait-ms":10}"#;
    let request: ChangeRecords = serde_json::from_str(short).unwrap();
    assert_eq!(request.wait.wait_ms, Some(10));
    assert_eq!(
        request.changes,
        [RecordChange::Delete {
            name: "x".into(),
            rtype: None,
            data: None
        }]
    );
    let json = serde_json::to_string(&RemoveSite {
        site: "b".into(),
        zones: Some(ZonesOfRemoved::Adopt("a".into())),
        wait: Wait::default(),
    });
    assert_eq!(json.unwrap(), r#"{"site":"b","zones":"adopt:a"}"#);
}

#[test]
fn a_receipt_is_complete_when_every_site_serves() {
    let site = |serving| ReceiptSite {
        site: "x".into(),
        serving,
        ..ReceiptSite::default()
    };
    let receipt = |sites| Receipt {
        sites,
        ..Receipt::default()
    };
    assert!(receipt(vec![site(true), site(true)]).complete());
    assert!(!receipt(vec![site(true), site(false)]).complete());
}

#[test]
fn the_verdict_is_the_worst_check() {
    let check = |state| Check {
        state,
        ..status().checks.remove(0)
    };
    assert_eq!(Verdict::of(&[]), Verdict::Healthy);
    assert_eq!(Verdict::of(&[check(CheckState::Ok)]), Verdict::Healthy);
    // Could not look is never fine.
    assert_eq!(
        Verdict::of(&[check(CheckState::Ok), check(CheckState::Unknown)]),
        Verdict::Degraded
    );
    assert_eq!(
        Verdict::of(&[check(CheckState::Critical), check(CheckState::Warning)]),
        Verdict::Broken
    );
}
