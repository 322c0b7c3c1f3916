use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Diff, Editor, Serial};

use super::*;
use crate::outbound::Response;
use crate::tls::{self, Pin};
use crate::tsig::{Algorithm, Keys, TsigError};

const LONG: Duration = Duration::from_secs(20);

/// What a server of the test does with a request.
enum Act {
    Send(Vec<u8>),
    Close,
    /// Does nothing more on this connection, and keeps it open.
    Hang,
}

type Handler = Arc<dyn Fn(&[u8]) -> Vec<Act> + Send + Sync>;

struct Server {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(key: Option<&SiteKey>, handler: Handler) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let tls = key.map(|key| {
            let credentials = Arc::new(tls::Credentials::new(key, None).unwrap());
            let config = tls::server_config(&credentials).unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (tls, handler) = (tls.clone(), handler.clone());
                tokio::spawn(async move {
                    match tls {
                        None => talk(socket, handler).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(socket) => talk(socket, handler).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { addr, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn target(&self, transport: Transport) -> Target {
        Target {
            addr: self.addr,
            source: None,
            transport,
            tsig: None,
        }
    }

    fn peer(&self) -> Peer {
        Peer::new(self.target(Transport::Tcp), None, Options::default()).unwrap()
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, handler: Handler) -> Option<()> {
    loop {
        let len = socket.read_u16().await.ok()?;
        let mut message = vec![0; len.into()];
        socket.read_exact(&mut message).await.ok()?;
        for act in handler(&message) {
            match act {
                Act::Send(reply) => {
                    socket.write_u16(reply.len() as u16).await.ok()?;
                    socket.write_all(&reply).await.ok()?;
                    socket.flush().await.ok()?;
                }
                Act::Close => {
                    socket.shutdown().await.ok()?;
                    return None;
                }
                Act::Hang => std::future::pending().await,
            }
        }
    }
}

fn apex() -> Name {
    parse_name("example.com").unwrap()
}

fn zone(serial: u32, names: u32) -> Zone {
    let mut editor = Editor::new(apex());
    let mut add = |text: String| {
        editor
            .add(Record::from_text(&text, &apex()).unwrap())
            .unwrap();
    };
    add(format!("@ 3600 IN SOA ns root {serial} 3600 600 86400 60"));
    for name in 0..names {
        add(format!("n{name} 60 IN TXT \"text of {name}\""));
    }
    editor.finish().unwrap()
}

/// Answers as a primary of this zone; knows the differences that it is given.
fn primary(zone: Zone, diffs: Vec<Diff>) -> Handler {
    Arc::new(move |message| {
        let request = Request::parse(message).unwrap();
        Response::new(&request, zone.clone(), |from| {
            let known = diffs.iter().any(|diff| diff.serials().unwrap().0 == from);
            known.then(|| diffs.clone())
        })
        .with_max_size(2000)
        .with_expire(1234)
        .messages()
        .map(Act::Send)
        .collect()
    })
}

fn refuse(rcode: Rcode) -> Handler {
    Arc::new(move |message| vec![Act::Send(query::reply(message, rcode, None).unwrap())])
}

#[tokio::test]
async fn a_zone_comes_whole_then_in_differences_over_one_connection() {
    let (old, new) = (zone(1, 300), zone(2, 301));
    let server = Server::start(None, primary(old.clone(), vec![])).await;
    let peer = server.peer();
    let fetched = peer.transfer(&apex(), None).await.unwrap();
    assert!(fetched.incoming.zone().unwrap().same_contents(&old));
    assert!(fetched.messages > 3);
    assert_eq!(fetched.expire, Some(1234));
    let again = peer.transfer(&apex(), Some(old.clone())).await.unwrap();
    assert!(matches!(again.incoming, Incoming::UpToDate { serial } if serial == Serial(1)));
    assert_eq!(server.connections(), 1);

    let server = Server::start(None, primary(new.clone(), vec![old.diff(&new)])).await;
    let fetched = server.peer().transfer(&apex(), Some(old)).await.unwrap();
    assert!(fetched.ixfr);
    assert!(matches!(&fetched.incoming, Incoming::Diffs { zone, .. } if zone.same_contents(&new)));
}

#[tokio::test]
async fn ixfr_falls_back_to_axfr_when_unknown_or_unfit() {
    let (old, new) = (zone(1, 30), zone(2, 31));
    for rcode in [Rcode::NOTIMP, Rcode::FORMERR] {
        let (whole, refuse) = (primary(new.clone(), vec![]), refuse(rcode));
        let handler: Handler =
            Arc::new(
                move |message| match Request::parse(message).unwrap().question {
                    Question::Ixfr { .. } => refuse(message),
                    _ => whole(message),
                },
            );
        let server = Server::start(None, handler).await;
        let fetched = server
            .peer()
            .transfer(&apex(), Some(old.clone()))
            .await
            .unwrap();
        assert!(!fetched.ixfr && fetched.fell_back.is_some());
        assert!(fetched.incoming.zone().unwrap().same_contents(&new));
    }
    // The peer's differences start from another zone with our serial.
    let unlike = zone(1, 40);
    let server = Server::start(None, primary(new.clone(), vec![unlike.diff(&new)])).await;
    let fetched = server.peer().transfer(&apex(), Some(old)).await.unwrap();
    assert!(matches!(
        fetched.fell_back,
        Some(TransferError::Apply { .. })
    ));
    assert!(fetched.incoming.zone().unwrap().same_contents(&new));
}

#[tokio::test]
async fn refusals_and_broken_answers_are_told_apart() {
    let server = Server::start(None, refuse(Rcode::NOTAUTH)).await;
    let peer = server.peer();
    let error = peer.transfer(&apex(), None).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Peer(PeerError::Rcode { rcode, .. }) if *rcode == Rcode::NOTAUTH),
        "{error:?}"
    );
    let error = peer.soa(&apex(), LONG).await.unwrap_err();
    assert!(matches!(error, PeerError::Rcode { .. }), "{error:?}");

    let whole = primary(zone(1, 300), vec![]);
    let cut: Handler = Arc::new(move |message| {
        let mut acts: Vec<Act> = whole(message).into_iter().take(2).collect();
        acts.push(Act::Close);
        acts
    });
    let server = Server::start(None, cut).await;
    let error = server.peer().transfer(&apex(), None).await.unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Transfer {
                source: TransferError::BrokenOff { messages: 2, .. },
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn many_requests_share_a_connection_and_each_gets_its_own_answer() {
    let server = Server::start(None, primary(zone(7, 10), vec![])).await;
    let peer = server.peer();
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..100 {
        let peer = peer.clone();
        tasks.spawn(async move {
            let message = Request::new(id, apex(), Question::Soa).compose();
            let reply = peer.request(message, LONG).await.unwrap();
            assert_eq!(Header::read(&reply).unwrap().id, id);
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    assert_eq!(peer.soa(&apex(), LONG).await.unwrap().soa.serial, Serial(7));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_peer_has_closed_is_opened_anew_but_no_update_is_repeated() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let good = primary(zone(7, 1), vec![]);
    // Every second request finds the connection closed.
    let handler: Handler =
        Arc::new(
            move |message| match counter.fetch_add(1, Ordering::SeqCst) % 2 {
                0 if Request::parse(message).is_ok() => good(message),
                _ => vec![Act::Close],
            },
        );
    let server = Server::start(None, handler).await;
    let peer = server.peer();
    peer.soa(&apex(), LONG).await.unwrap();
    peer.soa(&apex(), LONG).await.unwrap();
    assert_eq!(server.connections(), 2);
    assert_eq!(seen.load(Ordering::SeqCst), 3);

    let mut update = Request::new(1, apex(), Question::Soa).compose();
    update[2] = 5 << 3;
    let error = peer.request(update, LONG).await.unwrap_err();
    assert!(
        matches!(error, PeerError::Closed { reused: true, .. }),
        "{error:?}"
    );
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn tls_works_with_the_right_pin_and_names_both_with_the_wrong_one() {
    let (ours, theirs) = (
        SiteKey::generate("a").unwrap(),
        SiteKey::generate("b").unwrap(),
    );
    let server = Server::start(Some(&theirs), primary(zone(3, 300), vec![])).await;
    let tls = |pins: Vec<Pin>| {
        let target = server.target(Transport::Tls(Trust::Pins(pins)));
        Peer::new(target, Some(&ours), Options::default()).unwrap()
    };
    let fetched = tls(vec![theirs.pin()])
        .transfer(&apex(), None)
        .await
        .unwrap();
    assert!(
        fetched
            .incoming
            .zone()
            .unwrap()
            .same_contents(&zone(3, 300))
    );
    for pins in [vec![ours.pin()], vec![]] {
        let error = tls(pins.clone()).soa(&apex(), LONG).await.unwrap_err();
        assert!(error.is_silence(), "that was not the peer: {error}");
        let PeerError::WrongPin { source, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((source.expected, source.got), (pins, theirs.pin()));
    }
}

#[tokio::test]
async fn transfers_and_questions_are_signed_when_there_is_a_key() {
    let key = Key::new(parse_name("key").unwrap(), Algorithm::HmacSha512, &[3; 64]).unwrap();
    let mut keys = Keys::new();
    keys.insert(key.clone());
    let zone = zone(3, 300);
    let served = zone.clone();
    // With `forge`, the third message of an answer is changed on its way.
    let handler = move |forge: bool| -> Handler {
        let (keys, served) = (keys.clone(), served.clone());
        Arc::new(move |message| {
            let now = Timestamp::now();
            let verified = match keys.verify_request(message, now) {
                Ok(verified) => verified.unwrap(),
                Err(refusal) => return vec![Act::Send(refusal.reply.unwrap())],
            };
            let request = Request::parse(&verified.message).unwrap();
            let mut signer = verified.signer;
            Response::new(&request, served.clone(), |_| None)
                .with_max_size(2000)
                .with_reserve(signer.max_len())
                .messages()
                .enumerate()
                .map(|(number, mut message)| {
                    signer.sign(&mut message, now);
                    assert!(message.len() <= 2000);
                    if forge && number == 2 {
                        message[3] ^= 0x80;
                    }
                    Act::Send(message)
                })
                .collect()
        })
    };
    let peer = |server: &Server, key: &Key, clock: i64| {
        let target = Target {
            tsig: Some(key.clone()),
            ..server.target(Transport::Tcp)
        };
        let shift = jiff::SignedDuration::from_secs(clock);
        let options = Options {
            clock: Arc::new(move || Timestamp::now() + shift),
            ..Options::default()
        };
        Peer::new(target, None, options).unwrap()
    };
    let server = Server::start(None, handler(false)).await;
    let fetched = peer(&server, &key, 0)
        .transfer(&apex(), None)
        .await
        .unwrap();
    assert!(fetched.incoming.zone().unwrap().same_contents(&zone));

    let error = peer(&server, &key, 4000)
        .soa(&apex(), LONG)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            PeerError::Tsig {
                source: TsigError::PeerBadTime { .. },
                ..
            }
        ),
        "{error:?}"
    );
    let other = Key::new(key.name().clone(), Algorithm::HmacSha512, &[4; 64]).unwrap();
    let error = peer(&server, &other, 0)
        .transfer(&apex(), None)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Peer(PeerError::Tsig {
                source: TsigError::PeerBadSignature(_),
                ..
            })
        ),
        "{error:?}"
    );
    let server = Server::start(None, handler(true)).await;
    let error = peer(&server, &key, 0)
        .transfer(&apex(), None)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Peer(PeerError::Tsig {
                source: TsigError::BadSignature,
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn who_cannot_be_reached_is_left_alone_until_woken() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let target = Target {
        addr,
        source: None,
        transport: Transport::Tcp,
        tsig: None,
    };
    let options = Options {
        back_off_floor: Duration::from_secs(3600),
        back_off_cap: Duration::from_secs(3600),
        ..Options::default()
    };
    let peer = Peer::new(target, None, options).unwrap();
    let error = peer.soa(&apex(), LONG).await.unwrap_err();
    assert!(matches!(error, PeerError::Refused { .. }), "{error:?}");
    let error = peer.soa(&apex(), LONG).await.unwrap_err();
    assert!(error.is_silence());
    assert!(
        matches!(error, PeerError::BackingOff { failures: 1, .. }),
        "{error:?}"
    );
    peer.wake();
    let error = peer.soa(&apex(), LONG).await.unwrap_err();
    assert!(matches!(error, PeerError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_in_time() {
    let server = Server::start(None, Arc::new(|_| Vec::new())).await;
    let error = server
        .peer()
        .soa(&apex(), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, PeerError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_any_more_is_replaced() {
    let server = Server::start(None, Arc::new(|_| Vec::new())).await;
    let peer = server.peer();
    let deadline = Instant::now() + LONG;
    while server.connections() < 2 {
        assert!(Instant::now() < deadline, "still the same connection");
        let error = peer.soa(&apex(), Duration::from_millis(50)).await;
        assert!(error.unwrap_err().is_silence());
    }
}

#[tokio::test]
async fn the_rest_of_a_refused_transfer_is_stopped_by_closing() {
    let asked = AtomicUsize::new(0);
    let good = primary(zone(3, 1500), vec![]);
    let handler: Handler = Arc::new(move |message| {
        let acts = good(message);
        match asked.fetch_add(1, Ordering::SeqCst) {
            // Without its first message, so that it does not begin with an SOA.
            0 => acts.into_iter().skip(1).collect(),
            _ => acts,
        }
    });
    let server = Server::start(None, handler).await;
    let peer = server.peer();
    let error = peer.transfer(&apex(), None).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Transfer {
                source: TransferError::NoFirstSoa(_),
                ..
            }
        ),
        "{error:?}"
    );
    let fetched = peer.transfer(&apex(), None).await.unwrap();
    assert!(
        fetched
            .incoming
            .zone()
            .unwrap()
            .same_contents(&zone(3, 1500))
    );
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_small_zone_does_not_wait_behind_a_large_one() {
    let (asked, mut large_asked) = tokio::sync::mpsc::unbounded_channel();
    let large = parse_name("large.example").unwrap();
    let (small_primary, large_apex) = (primary(zone(3, 3), vec![]), large.clone());
    // As servers do that answer one request of a connection after the other.
    let handler: Handler =
        Arc::new(
            move |message| match Request::parse(message).unwrap().zone == large_apex {
                true => {
                    asked.send(()).unwrap();
                    vec![Act::Hang]
                }
                false => small_primary(message),
            },
        );
    let server = Server::start(None, handler).await;
    let peer = server.peer();
    let other = peer.clone();
    let waiting = tokio::spawn(async move { other.transfer(&large, None).await });
    large_asked.recv().await.unwrap();
    for _ in 0..3 {
        let fetched = peer.transfer(&apex(), None).await.unwrap();
        assert!(fetched.incoming.zone().unwrap().same_contents(&zone(3, 3)));
    }
    assert_eq!(server.connections(), 2, "what is free is used again");
    waiting.abort();
}

#[tokio::test]
async fn a_transfer_that_brings_less_than_it_must_is_given_up() {
    let server = Server::start(None, primary(zone(3, 1500), vec![])).await;
    let options = Options {
        least_octets: 1 << 20,
        // Each message is late.
        least_within: Duration::ZERO,
        ..Options::default()
    };
    let peer = Peer::new(server.target(Transport::Tcp), None, options).unwrap();
    let error = peer.transfer(&apex(), None).await.unwrap_err();
    let FetchError::Peer(error) = error else {
        panic!("{error:?}");
    };
    assert!(matches!(error, PeerError::TooSlow { .. }), "{error:?}");
    assert!(!error.is_silence(), "it is there");
}

#[tokio::test]
async fn an_answer_to_nothing_that_was_asked_ends_the_connection() {
    let handler: Handler = Arc::new(|message| {
        let mut reply = query::reply(message, Rcode::NOERROR, None).unwrap();
        reply[0] ^= 1;
        vec![Act::Send(reply)]
    });
    let server = Server::start(None, handler).await;
    let error = server.peer().soa(&apex(), LONG).await.unwrap_err();
    assert!(matches!(error, PeerError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn foreign_peers_are_asked_over_udp_and_over_tcp_when_truncated() {
    let server = Server::start(None, primary(zone(7, 1), vec![])).await;
    let socket = UdpSocket::bind(server.addr).await.unwrap();
    let answer = primary(zone(7, 1), vec![]);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let Some(Act::Send(mut reply)) = answer(&buffer[..len]).pop() else {
                continue;
            };
            // A forged answer goes before the true one; the second question does not fit.
            let mut forged = reply.clone();
            forged[0] ^= 1;
            socket.send_to(&forged, from).await.unwrap();
            if number == 1 {
                reply[2] |= 2;
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    let peer = Peer::new(server.target(Transport::Plain), None, Options::default()).unwrap();
    assert_eq!(peer.soa(&apex(), LONG).await.unwrap().soa.serial, Serial(7));
    assert_eq!(server.connections(), 0);
    assert_eq!(peer.soa(&apex(), LONG).await.unwrap().soa.serial, Serial(7));
    assert_eq!((server.connections(), asked.load(Ordering::SeqCst)), (1, 2));
}

/// Answers signed requests over UDP as a primary does that has these differences, and counts them.
async fn udp_primary(addr: SocketAddr, key: Key, new: Zone, diffs: Vec<Diff>) -> Arc<AtomicUsize> {
    let socket = UdpSocket::bind(addr).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        let mut keys = Keys::new();
        keys.insert(key);
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            counter.fetch_add(1, Ordering::SeqCst);
            let verified = keys.verify_request(&buffer[..len], Timestamp::now());
            let mut verified = verified.unwrap().expect("it is signed");
            let request = Request::parse(&verified.message).unwrap();
            let response = Response::new(&request, new.clone(), |_| Some(diffs.clone()))
                .with_reserve(verified.signer.max_len())
                .for_udp(1232);
            for mut message in response.messages() {
                verified.signer.sign(&mut message, Timestamp::now());
                socket.send_to(&message, from).await.unwrap();
            }
        }
    });
    asked
}

#[tokio::test]
async fn signed_differences_come_by_udp_when_they_fit_and_by_tcp_when_they_do_not() {
    let key = Key::new(apex(), Algorithm::HmacSha256, &[9; 32]).unwrap();
    let old = zone(3, 100);
    for (names, over) in [(102, "udp"), (400, "tcp")] {
        let new = zone(4, names);
        let diffs = vec![old.diff(&new)];
        // Over TCP, which the answers are signed on as well.
        let (signing, tcp) = (key.clone(), primary(new.clone(), diffs.clone()));
        let handler: Handler = Arc::new(move |message| {
            let mut keys = Keys::new();
            keys.insert(signing.clone());
            let verified = keys.verify_request(message, Timestamp::now()).unwrap();
            let mut verified = verified.unwrap();
            let mut acts = tcp(&verified.message);
            for act in &mut acts {
                if let Act::Send(reply) = act {
                    verified.signer.sign(reply, Timestamp::now());
                }
            }
            acts
        });
        let server = Server::start(None, handler).await;
        let asked = udp_primary(server.addr, key.clone(), new.clone(), diffs).await;
        let target = Target {
            tsig: Some(key.clone()),
            ..server.target(Transport::Plain)
        };
        let options = Options {
            udp_timeout: LONG,
            ..Options::default()
        };
        let peer = Peer::new(target, None, options).unwrap();
        let fetched = peer.transfer(&apex(), Some(old.clone())).await.unwrap();
        assert_eq!(fetched.over, over);
        assert!(matches!(fetched.incoming, Incoming::Diffs { .. }));
        assert!(fetched.incoming.zone().unwrap().same_contents(&new));
        assert!(asked.load(Ordering::SeqCst) > 0);
        assert_eq!(server.connections(), usize::from(over == "tcp"));
    }
    // Not signed, it does not go by UDP.
    let new = zone(4, 102);
    let server = Server::start(None, primary(new.clone(), vec![old.diff(&new)])).await;
    let peer = Peer::new(server.target(Transport::Plain), None, Options::default()).unwrap();
    let fetched = peer.transfer(&apex(), Some(old)).await.unwrap();
    assert_eq!(fetched.over, "tcp");
}

#[tokio::test]
async fn a_notify_is_sent_and_its_acknowledgement_awaited() {
    let handler: Handler = Arc::new(|message| {
        let request = Request::parse(message).unwrap();
        let serial = Some(Serial(5));
        assert_eq!(request.question, Question::Notify { serial });
        vec![Act::Send(
            query::reply(message, Rcode::NOERROR, None).unwrap(),
        )]
    });
    let server = Server::start(None, handler).await;
    let soa = zone(5, 0).soa_record();
    server.peer().notify(&soa, LONG).await.unwrap();
}
