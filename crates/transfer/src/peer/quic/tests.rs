use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use quinn::crypto::rustls::QuicServerConfig;
use tokio::net::UdpSocket;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Name, Record, Serial, Zone};

use super::*;
use crate::inbound::TransferError;
use crate::outbound::Response;
use crate::peer::{FetchError, Options, Peer, Transport};
use crate::query::{Question, Request};
use crate::tls::{Authorities, Credentials, GivenCertificate, Pin};
use crate::tsig::{Algorithm, Key, Keys};

const LONG: Duration = Duration::from_secs(20);

/// What a server of the test does on a stream; at the end it finishes it.
enum Act {
    Send(Vec<u8>),
    /// Octets without a length.
    Raw(Vec<u8>),
    Reset(u32),
    Close(u32),
    /// Does nothing more on this stream, until the client gives it up; keeps the code.
    Hang,
}

type Handler = Arc<dyn Fn(&[u8]) -> Vec<Act> + Send + Sync>;

struct Server {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The code that a client gave up a stream with, plus one.
    given_up: Arc<AtomicUsize>,
    /// The code that a client closed a connection with, plus one.
    closed: Arc<AtomicUsize>,
}

impl Server {
    fn start(key: &SiteKey, given: Option<&GivenCertificate>, handler: Handler) -> Self {
        let credentials = Arc::new(Credentials::new(key, given).unwrap());
        let tls = Arc::new(tls::quic_server_config(&credentials).unwrap());
        let tls = Arc::new(QuicServerConfig::try_from(tls).unwrap());
        let config = quinn::ServerConfig::with_crypto(tls);
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let server = Self {
            addr: endpoint.local_addr().unwrap(),
            connections: Arc::default(),
            given_up: Arc::default(),
            closed: Arc::default(),
        };
        let (connections, given_up) = (server.connections.clone(), server.given_up.clone());
        let closed = server.closed.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (handler, given_up) = (handler.clone(), given_up.clone());
                let (connections, closed) = (connections.clone(), closed.clone());
                tokio::spawn(async move {
                    let Ok(connection) = incoming.await else {
                        return;
                    };
                    connections.fetch_add(1, Ordering::SeqCst);
                    while let Ok((send, receive)) = connection.accept_bi().await {
                        let (handler, given_up) = (handler.clone(), given_up.clone());
                        let connection = connection.clone();
                        tokio::spawn(async move {
                            answer(send, receive, &handler, &given_up, &connection).await;
                        });
                    }
                    if let ConnectionError::ApplicationClosed(close) = connection.closed().await {
                        closed.store(close.error_code.into_inner() as usize + 1, Ordering::SeqCst);
                    }
                });
            }
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn target(&self, pins: Vec<Pin>) -> Target {
        Target {
            addr: self.addr,
            source: None,
            transport: Transport::Quic(Trust::Pins(pins)),
            tsig: None,
        }
    }
}

async fn answer(
    mut send: SendStream,
    mut receive: RecvStream,
    handler: &Handler,
    given_up: &AtomicUsize,
    connection: &quinn::Connection,
) -> Option<()> {
    // Whatever is behind the message, such as a second one, would be seen here.
    let stream = receive.read_to_end(0x1_0001).await.ok()?;
    let (len, message) = stream.split_first_chunk::<2>()?;
    assert_eq!(usize::from(u16::from_be_bytes(*len)), message.len());
    assert_eq!(message[..2], [0, 0], "RFC 9250 §4.2.1");
    for act in handler(message) {
        match act {
            Act::Send(reply) => {
                let len = (reply.len() as u16).to_be_bytes();
                send.write_all(&[&len[..], &reply].concat()).await.ok()?;
            }
            Act::Raw(octets) => send.write_all(&octets).await.ok()?,
            Act::Reset(code) => drop(send.reset(code.into())),
            Act::Close(code) => connection.close(code.into(), b"so it is"),
            Act::Hang => {
                let code = send.stopped().await.ok()??;
                given_up.store(code.into_inner() as usize + 1, Ordering::SeqCst);
            }
        }
    }
    send.finish().ok()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, waiting).await;
    waited.unwrap_or_else(|_| panic!("{what} took longer than {LONG:?}"));
}

fn apex() -> Name {
    parse_name("example.com").unwrap()
}

fn zone(serial: u32, names: u32) -> Zone {
    let mut editor = Editor::new(apex());
    let mut add = |text: String| {
        let record = Record::from_text(&text, &apex()).unwrap();
        editor.add(record).unwrap();
    };
    add(format!("@ 3600 IN SOA ns root {serial} 3600 600 86400 60"));
    for name in 0..names {
        add(format!("n{name} 60 IN TXT \"text of {name}\""));
    }
    editor.finish().unwrap()
}

fn primary(zone: Zone) -> Handler {
    Arc::new(move |message| {
        let request = Request::parse(message).unwrap();
        let response = Response::new(&request, zone.clone(), |_| None).with_max_size(2000);
        response.messages().map(Act::Send).collect()
    })
}

fn keys() -> (SiteKey, SiteKey) {
    let key = |name| SiteKey::generate(name).unwrap();
    (key("a"), key("b"))
}

#[tokio::test]
async fn transfers_and_questions_share_one_connection_each_on_a_stream_of_its_own() {
    let (ours, theirs) = keys();
    let zone = zone(3, 3000);
    let server = Server::start(&theirs, None, primary(zone.clone()));
    let target = server.target(vec![theirs.pin()]);
    let peer = Peer::new(target, Some(&ours), Options::default()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..60 {
        let (peer, zone) = (peer.clone(), zone.clone());
        tasks.spawn(async move {
            if number % 10 == 0 {
                let fetched = peer.transfer(&apex(), None).await.unwrap();
                assert!(fetched.incoming.zone().unwrap().same_contents(&zone));
                assert!(fetched.messages > 3 && fetched.over == "quic");
            } else {
                let message = Request::new(number, apex(), Question::Soa).compose();
                let reply = peer.request(message, LONG).await.unwrap();
                assert_eq!(Header::read(&reply).unwrap().id, number);
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let again = peer.transfer(&apex(), Some(zone)).await.unwrap();
    assert_eq!(
        again.incoming.zone().map(Zone::serial),
        None,
        "it is up to date"
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_server_with_another_key_is_nobody_and_both_keys_are_named() {
    let (ours, theirs) = keys();
    let server = Server::start(&theirs, None, primary(zone(3, 3)));
    for pins in [vec![ours.pin()], vec![]] {
        let target = server.target(pins.clone());
        let peer = Peer::new(target, Some(&ours), Options::default()).unwrap();
        let error = peer.soa(&apex(), LONG).await.unwrap_err();
        assert!(error.is_silence(), "that was not the peer: {error}");
        let PeerError::WrongPin { source, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((source.expected, source.got), (pins, theirs.pin()));
    }
}

#[tokio::test]
async fn a_server_can_be_known_by_its_name_or_not_at_all() {
    let (_, theirs) = keys();
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["ns.example.com".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let given = GivenCertificate::from_pem(&certificate, &key.serialize_pem()).unwrap();
    let server = Server::start(&theirs, Some(&given), primary(zone(3, 3)));
    let named = |name: &str, root: &str| Trust::Named {
        name: name.to_owned().try_into().unwrap(),
        by: Authorities::from_pem(root).unwrap(),
    };
    let ask = async |trust| {
        let target = Target {
            transport: Transport::Quic(trust),
            ..server.target(vec![])
        };
        let peer = Peer::new(target, None, Options::default()).unwrap();
        peer.soa(&apex(), LONG)
            .await
            .map(|answer| answer.soa.serial)
    };
    assert_eq!(
        ask(named("ns.example.com", &root)).await.unwrap(),
        Serial(3)
    );
    assert_eq!(ask(Trust::Anyone).await.unwrap(), Serial(3));
    for wrong in [
        named("other.example.com", &root),
        named("ns.example.com", &theirs.certificate_pem()),
    ] {
        let error = ask(wrong).await.unwrap_err();
        assert!(matches!(error, PeerError::Tls { .. }), "{error:?}");
    }
    assert!(Authorities::from_pem("").is_err());
}

#[tokio::test]
async fn answers_are_signed_when_there_is_a_key() {
    let (_, theirs) = keys();
    let key = Key::new(parse_name("key").unwrap(), Algorithm::HmacSha256, &[3; 32]).unwrap();
    let mut known = Keys::new();
    known.insert(key.clone());
    let zone = zone(3, 300);
    let served = zone.clone();
    let handler: Handler = Arc::new(move |message| {
        let now = jiff::Timestamp::now();
        let verified = known.verify_request(message, now).unwrap().unwrap();
        let request = Request::parse(&verified.message).unwrap();
        let mut signer = verified.signer;
        let response = Response::new(&request, served.clone(), |_| None)
            .with_max_size(2000)
            .with_reserve(signer.max_len());
        let messages = response.messages().map(|mut message| {
            signer.sign(&mut message, now);
            Act::Send(message)
        });
        messages.collect()
    });
    let server = Server::start(&theirs, None, handler);
    let target = Target {
        tsig: Some(key),
        ..server.target(vec![theirs.pin()])
    };
    let peer = Peer::new(target, None, Options::default()).unwrap();
    let fetched = peer.transfer(&apex(), None).await.unwrap();
    assert!(fetched.incoming.zone().unwrap().same_contents(&zone));
}

#[tokio::test]
async fn a_kept_connection_that_the_server_has_closed_is_opened_anew_but_no_update_is_repeated() {
    let (_, theirs) = keys();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let good = primary(zone(7, 1));
    // Every second request finds the connection closed.
    let handler: Handler =
        Arc::new(
            move |message| match counter.fetch_add(1, Ordering::SeqCst) % 2 {
                0 if Request::parse(message).is_ok() => good(message),
                _ => vec![Act::Close(1)],
            },
        );
    let server = Server::start(&theirs, None, handler);
    let target = server.target(vec![theirs.pin()]);
    let peer = Peer::new(target, None, Options::default()).unwrap();
    peer.soa(&apex(), LONG).await.unwrap();
    peer.soa(&apex(), LONG).await.unwrap();
    assert_eq!(server.connections(), 2);
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    let mut update = Request::new(1, apex(), Question::Soa).compose();
    update[2] = 5 << 3;
    let error = peer.request(update, LONG).await.unwrap_err();
    let PeerError::Closed { source, reused, .. } = error else {
        panic!("{error:?}");
    };
    assert!(reused);
    let why = source.unwrap().to_string();
    assert!(why.contains("DOQ_INTERNAL_ERROR so it is"), "{why}");
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_and_what_is_refused_the_stream_alone() {
    let (_, theirs) = keys();
    let whole = primary(zone(1, 300));
    let cut = Arc::new(AtomicUsize::new(0));
    let how = cut.clone();
    let handler: Handler = Arc::new(move |message| {
        let mut acts = whole(message);
        let mut reply = match acts.pop() {
            Some(Act::Send(reply)) => reply,
            _ => unreachable!("a primary sends"),
        };
        match how.load(Ordering::SeqCst) {
            0 => vec![Act::Reset(4)],
            1 => vec![],
            2 => vec![Act::Raw(vec![0])],
            3 => vec![Act::Raw(vec![0, 40, 0, 0])],
            4 => vec![Act::Raw(vec![0, 2, 0, 0])],
            5 => {
                reply[1] = 1;
                vec![Act::Send(reply)]
            }
            // All but the last message.
            _ => acts,
        }
    });
    let server = Server::start(&theirs, None, handler);
    let target = server.target(vec![theirs.pin()]);
    let peer = Peer::new(target, None, Options::default()).unwrap();
    let error = peer.soa(&apex(), LONG).await.unwrap_err();
    let PeerError::Closed { source, reused, .. } = error else {
        panic!("{error:?}");
    };
    assert!(!reused, "asking again at once would be refused again");
    let why = source.unwrap().to_string();
    assert_eq!(why, "the stream ended with DOQ_EXCESSIVE_LOAD");
    assert_eq!(server.connections(), 1);
    for how in 1..6 {
        cut.store(how, Ordering::SeqCst);
        server.closed.store(0, Ordering::SeqCst);
        let error = peer.soa(&apex(), LONG).await.unwrap_err();
        assert!(
            matches!(error, PeerError::Protocol { .. }),
            "{how}: {error:?}"
        );
        until("the end", || server.closed.load(Ordering::SeqCst) == 3).await;
    }
    cut.store(6, Ordering::SeqCst);
    let error = peer.transfer(&apex(), None).await.unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Transfer {
                source: TransferError::BrokenOff { .. },
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn who_gives_up_cancels_its_stream_and_keeps_the_connection() {
    let (_, theirs) = keys();
    let good = primary(zone(7, 300));
    let handler: Handler = Arc::new(move |message| {
        let mut acts = good(message);
        if acts.len() > 1 {
            acts.truncate(1);
            acts.push(Act::Hang);
        }
        acts
    });
    let server = Server::start(&theirs, None, handler);
    let target = server.target(vec![theirs.pin()]);
    let peer = Peer::new(target, None, Options::default()).unwrap();
    let (begun, first) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let mut progress = |_: &crate::Transfer| {
        if let Some(begun) = begun.take() {
            begun.send(()).unwrap();
        }
    };
    let apex = apex();
    tokio::select! {
        ended = peer.transfer_watched(&apex, None, &mut progress) => panic!("{ended:?}"),
        begun = first => begun.unwrap(),
    }
    // RFC 9250 §4.3.1: DOQ_REQUEST_CANCELLED.
    until("cancelling", || server.given_up.load(Ordering::SeqCst) == 4).await;
    peer.soa(&apex, LONG).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_any_more_is_left() {
    let (_, theirs) = keys();
    let server = Server::start(&theirs, None, primary(zone(7, 1)));
    let relay = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let addr = relay.local_addr().unwrap();
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = cut.clone();
    let to = server.addr;
    // Datagrams of one client at a time; those of the first get lost from some moment on.
    tokio::spawn(async move {
        let (mut client, mut lost) = (None, None);
        let mut packet = [0; 0x1_0000];
        while let Ok((len, from)) = relay.recv_from(&mut packet).await {
            if is_cut.load(Ordering::SeqCst) && lost.is_none() {
                lost = client;
            }
            if from != to && Some(from) != lost {
                client = Some(from);
            }
            let next = if from == to { client } else { Some(to) };
            if let Some(next) = next
                && Some(from) != lost
                && Some(next) != lost
            {
                relay.send_to(&packet[..len], next).await.unwrap();
            }
        }
    });
    let target = Target {
        addr,
        ..server.target(vec![theirs.pin()])
    };
    let peer = Peer::new(target, None, Options::default()).unwrap();
    peer.soa(&apex(), LONG).await.unwrap();
    cut.store(true, Ordering::SeqCst);
    let again = async {
        // What was on its way may come yet, so that it takes more than one.
        while peer.soa(&apex(), Duration::from_millis(500)).await.is_err() {}
    };
    // Long before QUIC itself takes it for gone.
    let again = tokio::time::timeout(SILENCE * 2 / 3, again).await;
    assert!(again.is_ok(), "the connection was kept");
    assert_eq!(server.connections(), 2);
}
