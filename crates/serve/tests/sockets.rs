//! Real sockets on loopback: UDP, TCP and TLS, IPv4 and IPv6, limits and shutdown.

#![allow(missing_docs, clippy::unwrap_used)]

mod asking;

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asking::{Answer, ask, ready, zone};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zonemesh_serve::stream::{self, Connections, StreamLimits, StreamServer};
use zonemesh_serve::udp::{self, UdpServer};
use zonemesh_serve::{
    Access, Handler, Members, Request, Responder, Served, Settings, Shared, Transport, bind,
};

/// Longer than anything takes here, even on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} took longer than {DEADLINE:?}"))
}

fn shared() -> Arc<Shared> {
    Arc::new(ready([zone(
        "example.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS ns.test.
         www 60 IN A 192.0.2.1
         *.w 60 IN TXT wild",
    )]))
}

/// Nobody there.
fn no_handler() -> Handler {
    Arc::new(|_, _| {})
}

/// A handler that keeps what it is given.
fn keeper() -> (
    Handler,
    tokio::sync::mpsc::UnboundedReceiver<(Request, Responder)>,
) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let handler: Handler = Arc::new(move |request, responder| {
        let _ = sender.send((request, responder));
    });
    (handler, receiver)
}

fn udp(addr: &str, shared: &Arc<Shared>, handler: &Handler) -> UdpServer {
    udp::listen(addr.parse().unwrap(), 2, shared, handler).unwrap()
}

fn udp_client(to: SocketAddr) -> UdpSocket {
    let any = match to {
        SocketAddr::V4(_) => "127.0.0.1:0",
        SocketAddr::V6(_) => "[::1]:0",
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    // A connected socket takes datagrams from this address only.
    socket.connect(to).unwrap();
    socket
}

fn exchange(socket: &UdpSocket, message: &[u8]) -> Answer {
    socket.send(message).unwrap();
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).unwrap();
    Answer::read(&buffer[..len])
}

fn has_ipv6() -> bool {
    let has = UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("skipped: this host has no IPv6 loopback");
    }
    has
}

#[test]
fn udp_answers_on_ipv4_and_ipv6() {
    let shared = shared();
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        if addr.starts_with('[') && !has_ipv6() {
            continue;
        }
        let server = udp(addr, &shared, &no_handler());
        let socket = udp_client(server.local_addr());
        let answer = exchange(&socket, &ask("www.example.", "A").message);
        assert_eq!(answer.answer, ["www.example. 60 IN A 192.0.2.1"]);
        server.stop();
    }
    let totals = shared.metrics.totals();
    assert_eq!(totals.queries[Transport::Udp as usize], totals.rcodes[0]);
    assert!(totals.rcodes[0] > 0);
}

#[test]
fn udp_answers_from_the_address_that_was_asked() {
    let (handler, mut requests) = keeper();
    let server = udp("0.0.0.0:0", &shared(), &handler);
    let to = SocketAddr::new("127.0.0.7".parse().unwrap(), server.local_addr().port());
    let socket = udp_client(to);
    let answer = exchange(&socket, &ask("www.example.", "A").message);
    assert_eq!(answer.rcode, "NOERROR");
    // What the handler sends, too.
    socket.send(&ask("example.", "AXFR").message).unwrap();
    let (request, responder) = requests.blocking_recv().unwrap();
    assert_eq!(request.client.addr, socket.local_addr().unwrap());
    responder.blocking_send(b"not quite DNS".to_vec()).unwrap();
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"not quite DNS");
    if has_ipv6() {
        let server = udp("[::]:0", &shared(), &no_handler());
        let to = SocketAddr::new("::1".parse().unwrap(), server.local_addr().port());
        let answer = exchange(&udp_client(to), &ask("www.example.", "A").message);
        assert_eq!(answer.rcode, "NOERROR");
    }
}

#[test]
fn udp_takes_bursts_and_survives_rubbish() {
    let shared = shared();
    let server = udp("127.0.0.1:0", &shared, &no_handler());
    let socket = udp_client(server.local_addr());
    for _ in 0..10 {
        socket.send(&[]).unwrap();
        socket.send(&[1, 2, 3]).unwrap();
        socket.send(&[0xFF; 9000]).unwrap();
    }
    for number in 0..100u8 {
        let mut query = ask("www.example.", "A").message;
        query[0] = number;
        socket.send(&query).unwrap();
    }
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        Answer::read(&buffer[..len]);
        ids.insert(buffer[0]);
    }
    assert_eq!(ids.len(), 100);
    server.stop();
    let totals = shared.metrics.totals();
    assert_eq!(totals.dropped, 20);
    assert_eq!(totals.malformed, 10);
    assert_eq!(totals.rcodes[0], 100);
}

#[test]
fn listeners_come_and_go_without_loss_on_the_others() {
    let shared = shared();
    let stays = udp("127.0.0.1:0", &shared, &no_handler());
    let socket = udp_client(stays.local_addr());
    for _ in 0..5 {
        let goes = udp("127.0.0.1:0", &shared, &no_handler());
        let addr = goes.local_addr();
        let other = udp_client(addr);
        exchange(&other, &ask("www.example.", "A").message);
        let stop = std::thread::spawn(move || goes.stop());
        for _ in 0..50 {
            exchange(&socket, &ask("www.example.", "A").message);
        }
        stop.join().unwrap();
        // The address is free again.
        bind::udp(addr, 1).unwrap();
    }
}

#[tokio::test]
async fn questions_are_counted_by_zone_if_that_is_asked_for() {
    let shared = Arc::new(ready(["example.", "child.example."].map(|apex| {
        let lines = "@ 60 IN SOA . . 1 2 3 4 5
                     www 60 IN A 192.0.2.1
                     to 60 IN CNAME www.child.example.";
        zone(apex, lines)
    })));
    let (over_udp, handler) = (udp("127.0.0.1:0", &shared, &no_handler()), no_handler());
    let over_tcp = serve(&shared, &handler, None, StreamLimits::default());
    let counted = || {
        let zones = shared.metrics.zones(&shared.zones.load());
        let zones = zones.into_iter();
        zones
            .map(|zone| (zone.apex.to_string(), zone.queries, zone.answers))
            .collect::<Vec<_>>()
    };
    for per_zone in [false, true] {
        let settings = Settings {
            per_zone,
            ..Settings::default()
        };
        shared.settings.store(Arc::new(settings));
        assert_eq!(counted(), []);
        let socket = udp_client(over_udp.local_addr());
        let mut stream = TcpStream::connect(over_tcp.local_addr()).await.unwrap();
        for (qname, qtype) in [
            ("WWW.example.", "A"),
            // Counted where it begins.
            ("to.example.", "A"),
            ("child.example.", "DS"),
            ("www.child.example.", "A"),
            ("no.child.example.", "A"),
            ("elsewhere.", "A"),
        ] {
            exchange(&socket, &ask(qname, qtype).message);
            ask_over(&mut stream, qname, qtype).await;
        }
        // No question that could be counted.
        exchange(&socket, &ask("www.example.", "A").header(5, 2).message);
    }
    assert_eq!(
        counted(),
        [
            ("example".to_owned(), 6, [4, 2, 0, 0]),
            ("child.example".to_owned(), 4, [2, 2, 0, 0]),
        ]
    );
}

fn serve(
    shared: &Arc<Shared>,
    handler: &Handler,
    tls: Option<Arc<ServerConfig>>,
    limits: StreamLimits,
) -> StreamServer {
    let listener = bind::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    stream::serve(listener, tls, shared, handler, &Connections::new(limits)).unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let len = soon("the length of an answer", stream.read_u16()).await;
    let mut message = vec![0; usize::from(len.unwrap())];
    soon("an answer", stream.read_exact(&mut message))
        .await
        .unwrap();
    message
}

async fn ask_over(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    qname: &str,
    qtype: &str,
) -> Answer {
    let query = framed(&ask(qname, qtype).message);
    stream.write_all(&query).await.unwrap();
    Answer::read(&receive(stream).await)
}

async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    // A reset closes as well as an end does.
    let _ = soon("the end of the connection", stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
}

#[tokio::test]
async fn tcp_answers_pipelined_and_fragmented_queries() {
    let shared = shared();
    let server = serve(&shared, &no_handler(), None, StreamLimits::default());
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut all = Vec::new();
    for number in 0..50u8 {
        let mut query = ask("www.example.", "A").message;
        query[0] = number;
        all.extend_from_slice(&framed(&query));
    }
    stream.write_all(&all).await.unwrap();
    for number in 0..50u8 {
        let answer = receive(&mut stream).await;
        assert_eq!(answer[0], number);
        Answer::read(&answer);
    }
    // One octet at a time, the last of one message with the first of the next.
    stream.set_nodelay(true).unwrap();
    for octet in &all[..200] {
        stream.write_all(&[*octet]).await.unwrap();
    }
    let len = all.len() / 50;
    for number in 0..(200 / len) {
        assert_eq!(usize::from(receive(&mut stream).await[0]), number);
    }
    // The rest of the half-written one, then the end of what is sent: answers still come.
    stream.write_all(&all[200..]).await.unwrap();
    stream.shutdown().await.unwrap();
    for number in (200 / len)..50 {
        assert_eq!(usize::from(receive(&mut stream).await[0]), number);
    }
    is_closed(&mut stream).await;
    assert_eq!(
        shared.metrics.totals().queries[Transport::Tcp as usize],
        100
    );
}

#[tokio::test]
async fn answers_of_the_handler_come_when_they_are_ready() {
    let (handler, mut requests) = keeper();
    let limits = StreamLimits {
        outstanding: 2,
        ..StreamLimits::default()
    };
    let server = serve(&shared(), &handler, None, limits);
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let transfer = framed(&ask("example.", "AXFR").message);
    stream.write_all(&transfer).await.unwrap();
    let (request, first) = soon("the request", requests.recv()).await.unwrap();
    assert_eq!(request.message[..], transfer[2..]);
    // A query behind it overtakes.
    let answer = ask_over(&mut stream, "www.example.", "A").await;
    assert_eq!(answer.rcode, "NOERROR");
    // Of two more, the second has to wait until one of those before it is done.
    stream.write_all(&transfer).await.unwrap();
    stream.write_all(&transfer).await.unwrap();
    let (_, second) = soon("the request", requests.recv()).await.unwrap();
    assert!(requests.try_recv().is_err());
    second.send(b"second".to_vec()).await.unwrap();
    drop(second);
    assert_eq!(receive(&mut stream).await, b"second");
    let (_, third) = soon("the third request", requests.recv()).await.unwrap();
    first.send(b"one".to_vec()).await.unwrap();
    first.send(b"two".to_vec()).await.unwrap();
    assert_eq!(receive(&mut stream).await, b"one");
    assert_eq!(receive(&mut stream).await, b"two");
    // The end of the client's sending does not end what is due.
    stream.shutdown().await.unwrap();
    third.send(b"three".to_vec()).await.unwrap();
    drop((first, third));
    assert_eq!(receive(&mut stream).await, b"three");
    is_closed(&mut stream).await;
}

#[tokio::test]
async fn a_handler_learns_that_the_client_is_gone() {
    let (handler, mut requests) = keeper();
    let server = serve(&shared(), &handler, None, StreamLimits::default());
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let transfer = framed(&ask("example.", "AXFR").message);
    stream.write_all(&transfer).await.unwrap();
    let (_, responder) = soon("the request", requests.recv()).await.unwrap();
    // Reset, not just ended.
    stream.set_zero_linger().unwrap();
    drop(stream);
    let gone = async { while responder.send(vec![0; 60_000]).await.is_ok() {} };
    soon("the end", gone).await;
}

#[tokio::test]
async fn silent_clients_are_closed_and_so_are_those_that_never_end_a_message() {
    let shared = shared();
    shared.settings.store(
        Settings {
            idle_timeout: Duration::from_millis(100),
            ..Settings::default()
        }
        .into(),
    );
    let server = serve(&shared, &no_handler(), None, StreamLimits::default());
    let mut silent = TcpStream::connect(server.local_addr()).await.unwrap();
    is_closed(&mut silent).await;
    let mut half = TcpStream::connect(server.local_addr()).await.unwrap();
    half.write_all(&[0, 40, 1, 2, 3]).await.unwrap();
    is_closed(&mut half).await;
    assert_eq!(shared.metrics.totals().connections_timed_out, 2);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let shared = shared();
    let limits = StreamLimits {
        write_timeout: Duration::from_millis(100),
        ..StreamLimits::default()
    };
    let server = serve(&shared, &no_handler(), None, limits);
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let queries = framed(&ask("www.example.", "A").message).repeat(1000);
    // More and more queries, no answer read: writing fails when the server has closed.
    let flood = async { while stream.write_all(&queries).await.is_ok() {} };
    soon("closing", flood).await;
    assert_eq!(shared.metrics.totals().connections_timed_out, 1);
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_makes_room() {
    let shared = shared();
    let limits = StreamLimits {
        connections: 100,
        per_client: 2,
        ..StreamLimits::default()
    };
    let (handler, mut requests) = keeper();
    let server = serve(&shared, &handler, None, limits);
    let addr = server.local_addr();
    let mut first = TcpStream::connect(addr).await.unwrap();
    // It waits for an answer, so it is not idle.
    first
        .write_all(&framed(&ask("example.", "AXFR").message))
        .await
        .unwrap();
    let (_, responder) = soon("the request", requests.recv()).await.unwrap();
    let mut second = TcpStream::connect(addr).await.unwrap();
    ask_over(&mut second, "www.example.", "A").await;
    let mut third = TcpStream::connect(addr).await.unwrap();
    let answer = ask_over(&mut third, "www.example.", "A").await;
    assert_eq!(answer.rcode, "NOERROR");
    is_closed(&mut second).await;
    responder.send(b"there".to_vec()).await.unwrap();
    assert_eq!(receive(&mut first).await, b"there");
    let totals = shared.metrics.totals();
    assert_eq!(totals.connections_evicted, 1);
    assert_eq!(totals.connections_accepted, 3);
}

#[tokio::test]
async fn a_client_that_does_not_read_makes_room_at_once() {
    let shared = shared();
    let limits = StreamLimits {
        connections: 1,
        // Nobody gives up for another reason.
        write_timeout: 100 * DEADLINE,
        ..StreamLimits::default()
    };
    let server = serve(&shared, &no_handler(), None, limits);
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let queries = framed(&ask("www.example.", "A").message).repeat(1000);
    // More and more queries, no answer read, until nothing goes any more in either direction.
    let pause = Duration::from_millis(500);
    while let Ok(written) = tokio::time::timeout(pause, stream.write_all(&queries)).await {
        written.unwrap();
    }
    let mut other = TcpStream::connect(server.local_addr()).await.unwrap();
    assert_eq!(
        ask_over(&mut other, "www.example.", "A").await.rcode,
        "NOERROR"
    );
    let flood = async { while stream.write_all(&queries).await.is_ok() {} };
    soon("closing", flood).await;
    assert_eq!(shared.metrics.totals().connections_evicted, 1);
}

#[tokio::test]
async fn a_flood_of_connections_from_one_client_leaves_room_for_others() {
    let shared = shared();
    let limits = StreamLimits {
        connections: 100,
        per_client: 10,
        ..StreamLimits::default()
    };
    let server = serve(&shared, &no_handler(), None, limits);
    let addr = server.local_addr();
    let from = async |address: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket
            .bind(format!("{address}:0").parse().unwrap())
            .unwrap();
        socket.connect(addr).await.unwrap()
    };
    let mut other = from("127.0.0.9").await;
    ask_over(&mut other, "www.example.", "A").await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        // Half a message, and silence.
        let mut stream = from("127.0.0.8").await;
        stream.write_all(&[0, 40, 1]).await.unwrap();
        flood.push(stream);
    }
    ask_over(&mut other, "www.example.", "A").await;
    let mut third = from("127.0.0.7").await;
    ask_over(&mut third, "www.example.", "A").await;
    let totals = shared.metrics.totals();
    assert_eq!(
        (totals.connections_accepted, totals.connections_evicted),
        (202, 190)
    );
    assert_eq!(totals.connections_refused, 0);
    for stream in &mut flood[..190] {
        is_closed(stream).await;
    }
}

#[tokio::test]
async fn a_site_that_is_not_ready_closes_the_connection() {
    let shared = shared();
    shared.set_ready(false);
    let server = serve(&shared, &no_handler(), None, StreamLimits::default());
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let query = framed(&ask("nothing.example.", "A").message);
    stream.write_all(&query).await.unwrap();
    is_closed(&mut stream).await;
    assert_eq!(shared.metrics.totals().unready, 1);
}

#[tokio::test]
async fn stopping_lets_the_handler_finish() {
    let (handler, mut requests) = keeper();
    let server = serve(&shared(), &handler, None, StreamLimits::default());
    let addr = server.local_addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    ask_over(&mut idle, "www.example.", "A").await;
    let mut busy = TcpStream::connect(addr).await.unwrap();
    busy.write_all(&framed(&ask("example.", "AXFR").message))
        .await
        .unwrap();
    let (_, responder) = soon("the request", requests.recv()).await.unwrap();
    let stop = tokio::spawn(server.stop(DEADLINE));
    is_closed(&mut idle).await;
    responder.send(b"last".to_vec()).await.unwrap();
    drop(responder);
    assert_eq!(receive(&mut busy).await, b"last");
    is_closed(&mut busy).await;
    soon("stopping", stop).await.unwrap();
    TcpStream::connect(addr).await.unwrap_err();
}

fn key(certified: &CertifiedKey<rcgen::KeyPair>) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()).into()
}

fn roots(of: &CertifiedKey<rcgen::KeyPair>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(of.cert.der().clone()).unwrap();
    Arc::new(roots)
}

#[tokio::test]
async fn tls_answers_and_knows_its_members() {
    let site = generate_simple_self_signed(["site-a.test".to_owned()]).unwrap();
    let member = generate_simple_self_signed(["site-b.test".to_owned()]).unwrap();
    let verifier = WebPkiClientVerifier::builder(roots(&member))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![site.cert.der().clone()], key(&site))
        .unwrap();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let shared = shared();
    let directory = zone(
        "dns.internal.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS ns.test.
         site-a 60 IN A 192.0.2.7",
    );
    shared.update_zones(|zones| {
        zones.with(Served::new(directory.clone()).with_access(Access::Members))
    });
    let pin = stream::pin(member.cert.der()).unwrap();
    shared.members.store(Arc::new(Members {
        pins: [pin].into(),
        ..Members::default()
    }));
    let seen: Arc<Mutex<Vec<Option<[u8; 32]>>>> = Arc::default();
    let handler: Handler = {
        let seen = Arc::clone(&seen);
        Arc::new(move |request: Request, _| seen.lock().unwrap().push(request.client.pin))
    };
    let server = serve(
        &shared,
        &handler,
        Some(Arc::new(config)),
        StreamLimits::default(),
    );
    let builder = || ClientConfig::builder().with_root_certificates(roots(&site));
    let mut known = builder()
        .with_client_auth_cert(vec![member.cert.der().clone()], key(&member))
        .unwrap();
    let mut unknown = builder().with_no_client_auth();
    for (config, rcode, is_member) in [
        (&mut known, "NOERROR", true),
        (&mut unknown, "REFUSED", false),
    ] {
        config.alpn_protocols = vec![b"dot".to_vec()];
        let connector = TlsConnector::from(Arc::new(config.clone()));
        let tcp = TcpStream::connect(server.local_addr()).await.unwrap();
        let name = ServerName::try_from("site-a.test").unwrap();
        let mut tls = soon("the handshake", connector.connect(name, tcp))
            .await
            .unwrap();
        let public = ask_over(&mut tls, "www.example.", "A").await;
        assert_eq!(public.rcode, "NOERROR");
        let private = ask_over(&mut tls, "site-a.dns.internal.", "A").await;
        assert_eq!(private.rcode, rcode);
        tls.write_all(&framed(&ask("example.", "AXFR").message))
            .await
            .unwrap();
        tls.shutdown().await.unwrap();
        is_closed(&mut tls).await;
        let last = seen.lock().unwrap().pop().unwrap();
        assert_eq!(last, is_member.then_some(pin));
    }
    // Who does not speak TLS is no worry for others.
    let mut plain = TcpStream::connect(server.local_addr()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut alert = Vec::new();
    let _ = soon("the end", plain.read_to_end(&mut alert)).await;
    server.stop(DEADLINE).await;
    let totals = shared.metrics.totals();
    assert_eq!(totals.tls_failed, 1);
    assert_eq!(totals.queries[Transport::Tls as usize], 6);
    assert_eq!(totals.control, 2);
}

#[tokio::test]
async fn tcp_on_ipv6() {
    if !has_ipv6() {
        return;
    }
    let listener = bind::tcp("[::1]:0".parse().unwrap()).unwrap();
    let connections = Connections::new(StreamLimits::default());
    let server = stream::serve(listener, None, &shared(), &no_handler(), &connections).unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let answer = ask_over(&mut stream, "a.w.example.", "TXT").await;
    assert_eq!(answer.answer, ["a.w.example. 60 IN TXT \"wild\""]);
    assert_eq!(connections.count(), 1);
}
