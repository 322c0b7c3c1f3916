//! DNS over QUIC on loopback (RFC 9250): answers, what ends a stream and what a connection, limits and shutdown.

#![allow(missing_docs, clippy::unwrap_used)]

mod asking;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asking::{Answer, ask, ready, zone};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ApplicationClose, Connection, ConnectionError, Endpoint, ReadError, ReadToEndError, RecvStream,
    SendStream,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use zonemesh_serve::quic::{self, QuicServer};
use zonemesh_serve::stream::{Connections, StreamLimits, pin};
use zonemesh_serve::{
    Access, Handler, Members, Request, Responder, Served, Settings, Shared, Transport, bind,
};

/// Longer than anything takes here, even on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(20);

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 1;
const PROTOCOL_ERROR: u32 = 2;
const REQUEST_CANCELLED: u32 = 3;
const EXCESSIVE_LOAD: u32 = 4;
const UNSPECIFIED_ERROR: u32 = 5;

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
         www 60 IN A 192.0.2.1",
    )]))
}

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

/// Two parties that know each other.
struct Parties {
    site: CertifiedKey<rcgen::KeyPair>,
    member: CertifiedKey<rcgen::KeyPair>,
}

fn key(certified: &CertifiedKey<rcgen::KeyPair>) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()).into()
}

fn roots(of: &CertifiedKey<rcgen::KeyPair>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(of.cert.der().clone()).unwrap();
    Arc::new(roots)
}

impl Parties {
    fn new() -> Self {
        Self {
            site: generate_simple_self_signed(["site-a.test".to_owned()]).unwrap(),
            member: generate_simple_self_signed(["site-b.test".to_owned()]).unwrap(),
        }
    }

    fn serve_at(
        &self,
        addr: SocketAddr,
        shared: &Arc<Shared>,
        handler: &Handler,
        connections: &Arc<Connections>,
    ) -> QuicServer {
        let verifier = WebPkiClientVerifier::builder(roots(&self.member))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.site.cert.der().clone()], key(&self.site))
            .unwrap();
        config.alpn_protocols = vec![b"doq".to_vec()];
        let socket = bind::quic(addr).unwrap();
        quic::serve(
            socket,
            Arc::new(config),
            &[7; 32],
            shared,
            handler,
            connections,
        )
        .unwrap()
    }

    fn serve(&self, shared: &Arc<Shared>, handler: &Handler, limits: StreamLimits) -> QuicServer {
        let addr = "127.0.0.1:0".parse().unwrap();
        self.serve_at(addr, shared, handler, &Connections::new(limits))
    }

    fn config(&self, is_member: bool) -> quinn::ClientConfig {
        let builder = ClientConfig::builder().with_root_certificates(roots(&self.site));
        let mut config = match is_member {
            true => builder
                .with_client_auth_cert(vec![self.member.cert.der().clone()], key(&self.member))
                .unwrap(),
            false => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"doq".to_vec()];
        config.enable_early_data = true;
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
    }

    async fn try_connect(&self, to: SocketAddr) -> Result<Client, ConnectionError> {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(self.config(false), to, "site-a.test");
        let connection = soon("the handshake", connecting.unwrap()).await?;
        Ok(Client {
            _endpoint: endpoint,
            connection,
        })
    }

    async fn connect(&self, to: SocketAddr) -> Client {
        self.try_connect(to).await.unwrap()
    }
}

struct Client {
    _endpoint: Endpoint,
    connection: Connection,
}

/// A message with the ID that DNS over QUIC wants, after its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&[0, 0]);
    framed.extend_from_slice(&message[2..]);
    framed
}

fn unframed(stream: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    let mut rest = stream;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let (message, tail) = tail.split_at(u16::from_be_bytes(*len).into());
        messages.push(message);
        rest = tail;
    }
    messages
}

impl Client {
    /// Sends octets on a stream of their own, and says whether there will be more.
    async fn send(&self, octets: &[u8], is_all: bool) -> (SendStream, RecvStream) {
        let (mut send, receive) = soon("a stream", self.connection.open_bi()).await.unwrap();
        send.write_all(octets).await.unwrap();
        if is_all {
            send.finish().unwrap();
        }
        (send, receive)
    }

    async fn ask(&self, qname: &str, qtype: &str) -> Answer {
        let (_, mut receive) = self.send(&framed(&ask(qname, qtype).message), true).await;
        let stream = soon("an answer", receive.read_to_end(1 << 20))
            .await
            .unwrap();
        let messages = unframed(&stream);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0][..2], [0, 0]);
        Answer::read(messages[0])
    }

    /// The code that the server closes the connection with.
    async fn closed(&self) -> u32 {
        match soon("the end of the connection", self.connection.closed()).await {
            ConnectionError::ApplicationClosed(ApplicationClose { error_code, .. }) => {
                error_code.into_inner() as u32
            }
            other => panic!("{other}"),
        }
    }
}

/// The code that the server resets a stream with.
async fn reset(mut receive: RecvStream) -> u32 {
    match soon("the end of the stream", receive.read_to_end(1 << 20)).await {
        Err(ReadToEndError::Read(ReadError::Reset(code))) => code.into_inner() as u32,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_query_has_a_stream_and_answers_overtake_each_other() {
    let (shared, parties) = (shared(), Parties::new());
    let (handler, mut requests) = keeper();
    let server = parties.serve(&shared, &handler, StreamLimits::default());
    let client = parties.connect(server.local_addr()).await;
    let transfer = framed(&ask("example.", "AXFR").message);
    let (_, mut receive) = client.send(&transfer, true).await;
    let (request, responder) = soon("the request", requests.recv()).await.unwrap();
    assert_eq!(request.message[..], transfer[2..]);
    assert_eq!(request.client.transport, Transport::Quic);
    for _ in 0..200 {
        let answer = client.ask("www.example.", "A").await;
        assert_eq!(answer.answer, ["www.example. 60 IN A 192.0.2.1"]);
    }
    // Longer than any window.
    let long = vec![7; 60_000];
    let sending = async {
        for _ in 0..20 {
            responder.send(long.clone()).await.unwrap();
        }
        drop(responder);
    };
    let (stream, ()) = tokio::join!(receive.read_to_end(2 << 20), sending);
    let stream = stream.unwrap();
    let messages = unframed(&stream);
    assert_eq!(messages.len(), 20);
    assert!(messages.iter().all(|message| *message == long));
    client.connection.close(0u32.into(), b"");
    server.stop(DEADLINE).await;
    let totals = shared.metrics.totals();
    assert_eq!(totals.queries[Transport::Quic as usize], 201);
    assert_eq!((totals.rcodes[0], totals.control), (200, 1));
    assert_eq!(totals.connections_accepted, 1);
}

#[tokio::test]
async fn members_are_known_by_their_key_and_a_padded_query_gets_a_padded_answer() {
    let (shared, parties) = (shared(), Parties::new());
    let directory = zone(
        "dns.internal.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS ns.test.
         site-a 60 IN A 192.0.2.7",
    );
    shared.update_zones(|zones| {
        zones.with(Served::new(directory.clone()).with_access(Access::Members))
    });
    let member = pin(parties.member.cert.der()).unwrap();
    shared.members.store(Arc::new(Members {
        pins: [member].into(),
        ..Members::default()
    }));
    let seen: Arc<Mutex<Vec<Option<[u8; 32]>>>> = Arc::default();
    let handler: Handler = {
        let seen = Arc::clone(&seen);
        Arc::new(move |request: Request, _| seen.lock().unwrap().push(request.client.pin))
    };
    let server = parties.serve(&shared, &handler, StreamLimits::default());
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    for is_member in [true, false] {
        let config = parties.config(is_member);
        let connecting = endpoint.connect_with(config, server.local_addr(), "site-a.test");
        let client = Client {
            _endpoint: endpoint.clone(),
            connection: soon("the handshake", connecting.unwrap()).await.unwrap(),
        };
        let answer = client.ask("site-a.dns.internal.", "A").await;
        assert_eq!(answer.rcode, if is_member { "NOERROR" } else { "REFUSED" });
        let transfer = framed(&ask("example.", "AXFR").message);
        let (_, receive) = client.send(&transfer, true).await;
        // This handler answers nothing.
        assert_eq!(reset(receive).await, UNSPECIFIED_ERROR);
        let last = seen.lock().unwrap().pop().unwrap();
        assert_eq!(last, is_member.then_some(member));
        let padded = ask("www.example.", "A")
            .opt(1232, 0, false, &[0, 12, 0, 0])
            .message;
        let (_, mut receive) = client.send(&framed(&padded), true).await;
        let stream = soon("an answer", receive.read_to_end(1 << 20)).await;
        assert_eq!(stream.unwrap().len(), 2 + 468);
    }
}

#[tokio::test]
async fn who_breaks_the_protocol_is_disconnected_and_told_so() {
    let (shared, parties) = (shared(), Parties::new());
    let server = parties.serve(&shared, &no_handler(), StreamLimits::default());
    let good = framed(&ask("www.example.", "A").message);
    let mut response = good.clone();
    response[4] |= 0x80;
    let keepalive = framed(
        &ask("www.example.", "A")
            .opt(1232, 0, false, &[0, 11, 0, 0])
            .message,
    );
    for wrong in [
        response,
        keepalive,
        good.repeat(2),
        good[..good.len() - 1].to_vec(),
        vec![],
        vec![0; 70_000],
    ] {
        let client = parties.connect(server.local_addr()).await;
        let (mut send, _receive) = client.connection.open_bi().await.unwrap();
        // It may be closed before it has all.
        let _ = send.write_all(&wrong).await;
        let _ = send.finish();
        assert_eq!(
            client.closed().await,
            PROTOCOL_ERROR,
            "{:?}",
            &wrong[..wrong.len().min(40)]
        );
    }
    // RFC 9250 §4.2: only the client opens streams, and both ways.
    let client = parties.connect(server.local_addr()).await;
    let one_way = tokio::time::timeout(Duration::from_millis(50), client.connection.open_uni());
    assert!(one_way.await.is_err());
    // As Knot DNS 3.4 asks: the ID comes back.
    let mut with_id = good;
    with_id[3] = 7;
    let (_, mut receive) = client.send(&with_id, true).await;
    let stream = soon("an answer", receive.read_to_end(1 << 20)).await;
    assert_eq!(unframed(&stream.unwrap())[0][..2], [0, 7]);
}

#[tokio::test]
async fn streams_that_never_end_and_idle_connections_are_closed() {
    let (shared, parties) = (shared(), Parties::new());
    let server = parties.serve(&shared, &no_handler(), StreamLimits::default());
    let client = parties.connect(server.local_addr()).await;
    client.ask("www.example.", "A").await;
    // Counts for what begins now.
    shared.settings.store(
        Settings {
            idle_timeout: Duration::from_millis(100),
            ..Settings::default()
        }
        .into(),
    );
    let (_send, receive) = client.send(&[0, 40, 0, 0, 1], false).await;
    assert_eq!(reset(receive).await, REQUEST_CANCELLED);
    assert_eq!(client.closed().await, NO_ERROR);
    assert_eq!(shared.metrics.totals().connections_timed_out, 1);
}

#[tokio::test]
async fn a_site_that_is_not_ready_sends_its_clients_elsewhere() {
    let (shared, parties) = (shared(), Parties::new());
    shared.set_ready(false);
    let server = parties.serve(&shared, &no_handler(), StreamLimits::default());
    let client = parties.connect(server.local_addr()).await;
    client
        .send(&framed(&ask("nothing.example.", "A").message), true)
        .await;
    assert_eq!(client.closed().await, INTERNAL_ERROR);
    assert_eq!(shared.metrics.totals().unready, 1);
}

#[tokio::test]
async fn large_messages_and_all_streams_are_bounded_for_each_connection() {
    let (shared, parties) = (shared(), Parties::new());
    let server = parties.serve(&shared, &no_handler(), StreamLimits::default());
    let client = parties.connect(server.local_addr()).await;
    // Four that bring much and do not end, and one more.
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(client.send(&[0xFF; 2000], false).await);
    }
    // In any order: the first four to be read have the places.
    open.push(client.send(&[0xFF; 2000], false).await);
    let ends = open
        .iter_mut()
        .map(|(_, receive)| Box::pin(receive.received_reset()));
    let (first, _, others) = soon("a reset", futures(ends.collect())).await;
    assert_eq!(first.unwrap().unwrap().into_inner() as u32, EXCESSIVE_LOAD);
    drop(others);
    // What is common has room still.
    assert_eq!(client.ask("www.example.", "A").await.rcode, "NOERROR");
    let mut streams = Vec::new();
    let more = async {
        loop {
            streams.push(client.connection.open_bi().await.unwrap());
            // The server hears of a stream by what is sent on it.
            streams.last_mut().unwrap().0.write_all(&[0]).await.unwrap();
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_millis(300), more).await;
    assert!(streams.len() <= 64, "{}", streams.len());
}

/// The first of several futures to be ready.
async fn futures<F: Future + Unpin>(mut all: Vec<F>) -> (F::Output, usize, Vec<F>) {
    std::future::poll_fn(move |context| {
        for index in 0..all.len() {
            if let std::task::Poll::Ready(output) =
                std::pin::Pin::new(&mut all[index]).poll(context)
            {
                all.remove(index);
                return std::task::Poll::Ready((output, index, std::mem::take(&mut all)));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_makes_room() {
    let (shared, parties) = (shared(), Parties::new());
    let limits = StreamLimits {
        connections: 100,
        per_client: 2,
        ..StreamLimits::default()
    };
    let (handler, mut requests) = keeper();
    let server = parties.serve(&shared, &handler, limits);
    let addr = server.local_addr();
    let first = parties.connect(addr).await;
    // It waits for an answer, so it is not idle.
    let (_, mut receive) = first
        .send(&framed(&ask("example.", "AXFR").message), true)
        .await;
    let (_, responder) = soon("the request", requests.recv()).await.unwrap();
    let second = parties.connect(addr).await;
    second.ask("www.example.", "A").await;
    let third = parties.connect(addr).await;
    assert_eq!(third.ask("www.example.", "A").await.rcode, "NOERROR");
    assert_eq!(second.closed().await, EXCESSIVE_LOAD);
    responder.send(b"there".to_vec()).await.unwrap();
    drop(responder);
    let stream = soon("an answer", receive.read_to_end(100)).await.unwrap();
    assert_eq!(stream, b"\0\x05there");
    let totals = shared.metrics.totals();
    assert_eq!(
        (totals.connections_evicted, totals.connections_accepted),
        (1, 3)
    );
}

#[tokio::test]
async fn under_load_a_client_has_to_show_its_address_first() {
    let (shared, parties) = (shared(), Parties::new());
    let limits = StreamLimits {
        retry_from: 0,
        ..StreamLimits::default()
    };
    let server = parties.serve(&shared, &no_handler(), limits);
    // A first packet with an address that nobody answers at takes no place and leaves nothing behind.
    let (to, config) = (server.local_addr(), parties.config(false));
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let via = relay.local_addr().unwrap();
    let _half = endpoint.connect_with(config, via, "site-a.test").unwrap();
    let mut packet = [0; 2048];
    let (len, _) = soon("a first packet", relay.recv_from(&mut packet))
        .await
        .unwrap();
    relay.send_to(&packet[..len], to).await.unwrap();
    let (len, _) = soon("an answer", relay.recv_from(&mut packet))
        .await
        .unwrap();
    // RFC 9000 §17.2.5: a Retry packet.
    assert_eq!(packet[0] & 0xF0, 0xF0, "{:?}", &packet[..len.min(20)]);
    assert_eq!(shared.metrics.totals().connections_accepted, 0);
    // Who is there goes on at once.
    let client = parties.connect(to).await;
    assert_eq!(client.ask("www.example.", "A").await.rcode, "NOERROR");
}

#[tokio::test]
async fn stopping_lets_the_handler_finish_and_a_new_run_ends_what_the_old_one_had() {
    let (shared, parties) = (shared(), Parties::new());
    let (handler, mut requests) = keeper();
    let server = parties.serve(&shared, &handler, StreamLimits::default());
    let addr = server.local_addr();
    let idle = parties.connect(addr).await;
    idle.ask("www.example.", "A").await;
    let busy = parties.connect(addr).await;
    let (_, mut receive) = busy
        .send(&framed(&ask("example.", "AXFR").message), true)
        .await;
    let (_, responder) = soon("the request", requests.recv()).await.unwrap();
    let stop = tokio::spawn(server.stop(DEADLINE));
    assert_eq!(idle.closed().await, NO_ERROR);
    responder.send(b"last".to_vec()).await.unwrap();
    drop(responder);
    let stream = soon("an answer", receive.read_to_end(100)).await.unwrap();
    assert_eq!(stream, b"\0\x04last");
    assert_eq!(busy.closed().await, NO_ERROR);
    soon("stopping", stop).await.unwrap();
}

#[tokio::test]
async fn clients_of_the_last_run_learn_at_once_that_it_is_over() {
    let (shared, parties) = (shared(), Parties::new());
    // A runtime of its own, so that it can end as a process that is killed.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let addr = {
        let _guard = runtime.enter();
        let server = parties.serve(&shared, &no_handler(), StreamLimits::default());
        let addr = server.local_addr();
        // It would say goodbye.
        std::mem::forget(server);
        addr
    };
    let client = parties.connect(addr).await;
    client.ask("www.example.", "A").await;
    runtime.shutdown_background();
    let connections = Connections::new(StreamLimits::default());
    let again = async {
        loop {
            // Its socket is closed as soon as the last run has ended.
            if std::net::UdpSocket::bind(addr).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the address", again).await;
    let _server = parties.serve_at(addr, &shared, &no_handler(), &connections);
    let (_, mut receive) = client
        .send(&framed(&ask("www.example.", "A").message), true)
        .await;
    let lost = soon("the reset", receive.read_to_end(100)).await;
    assert!(
        matches!(
            lost,
            Err(ReadToEndError::Read(ReadError::ConnectionLost(
                ConnectionError::Reset
            )))
        ),
        "{lost:?}"
    );
}

/// Stands between clients and a server, and keeps back what would complete a handshake until it is told to let it pass.
struct Relay {
    addr: SocketAddr,
    pass: tokio::sync::watch::Sender<bool>,
}

impl Relay {
    async fn to(server: SocketAddr) -> Self {
        let front = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        back.connect(server).await.unwrap();
        let addr = front.local_addr().unwrap();
        let (pass, mut passing) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            let (mut there, mut here) = ([0; 2048], [0; 2048]);
            let (mut kept, mut client, mut is_early) = (Vec::new(), None, false);
            loop {
                tokio::select! {
                    received = front.recv_from(&mut there) => {
                        let (len, from) = received.unwrap();
                        client = Some(from);
                        let kinds = kinds(&there[..len]);
                        is_early |= kinds.contains(&EARLY);
                        match *passing.borrow() || kinds.iter().all(|kind| matches!(*kind, INITIAL | EARLY)) {
                            true => { back.send(&there[..len]).await.unwrap(); }
                            false => kept.push(there[..len].to_vec()),
                        }
                    }
                    // A client that knew the keys already would send nothing early.
                    received = back.recv(&mut here), if is_early => {
                        let to = client.unwrap();
                        front.send_to(&here[..received.unwrap()], to).await.unwrap();
                    }
                    changed = passing.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        for datagram in kept.drain(..) {
                            back.send(&datagram).await.unwrap();
                        }
                    }
                }
            }
        });
        Self { addr, pass }
    }
}

const INITIAL: u8 = 0;
const EARLY: u8 = 1;
/// What has no long header.
const SHORT: u8 = 4;

/// The kinds of the packets in a datagram (RFC 9000 §17.2).
fn kinds(mut datagram: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some(&first) = datagram.first() {
        if first & 0x80 == 0 {
            kinds.push(SHORT);
            break;
        }
        let kind = first >> 4 & 3;
        kinds.push(kind);
        // The version, and two connection IDs after their lengths.
        let mut at = 5;
        for _ in 0..2 {
            at += 1 + usize::from(datagram[at]);
        }
        if kind == INITIAL {
            let (token, len) = variable(&datagram[at..]);
            at += len + token;
        }
        let (rest, len) = variable(&datagram[at..]);
        datagram = &datagram[at + len + rest..];
    }
    kinds
}

/// A number of variable length, and its length (RFC 9000 §16).
fn variable(octets: &[u8]) -> (usize, usize) {
    let len = 1 << (octets[0] >> 6);
    let first = usize::from(octets[0] & 0x3F);
    let number = octets[1..len]
        .iter()
        .fold(first, |number, &octet| number << 8 | usize::from(octet));
    (number, len)
}

#[tokio::test]
async fn early_data_is_answered_where_anybody_may_ask_and_waits_otherwise() {
    let (shared, parties) = (shared(), Parties::new());
    let secret = zone("dns.internal.", "@ 60 IN SOA . . 1 2 3 4 5");
    shared
        .update_zones(|zones| zones.with(Served::new(secret.clone()).with_access(Access::Members)));
    let (handler, mut requests) = keeper();
    let server = parties.serve(&shared, &handler, StreamLimits::default());
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = parties.config(false);
    let connect = |to: SocketAddr| {
        let connecting = endpoint.connect_with(config.clone(), to, "site-a.test");
        connecting.unwrap().into_0rtt()
    };
    // The first time there is no ticket.
    let connecting = connect(server.local_addr()).map(drop).unwrap_err();
    let first = Client {
        _endpoint: endpoint.clone(),
        connection: soon("the handshake", connecting).await.unwrap(),
    };
    first.ask("www.example.", "A").await;
    first.connection.close(0u32.into(), b"");
    let relay = Relay::to(server.local_addr()).await;
    let Ok((connection, complete)) = connect(relay.addr) else {
        panic!("no ticket was given");
    };
    let second = Client {
        _endpoint: endpoint.clone(),
        connection,
    };
    let mut waiting = Vec::new();
    for message in [
        ask("example.", "SOA").header(2, 5 << 3),
        ask("example.", "SOA").header(2, 4 << 3),
        ask("example.", "AXFR"),
        ask("dns.internal.", "SOA"),
    ] {
        waiting.push(second.send(&framed(&message.message), true).await);
    }
    let answer = second.ask("www.example.", "A").await;
    assert_eq!(answer.answer, ["www.example. 60 IN A 192.0.2.1"]);
    let totals = shared.metrics.totals();
    assert_eq!((totals.rcodes[0], totals.rcodes[5]), (2, 0));
    assert!(requests.try_recv().is_err(), "before the handshake's end");
    // What was asked early is done when it is known that nobody sends it a second time.
    relay.pass.send_replace(true);
    assert!(soon("the end of the handshake", complete).await);
    let mut refused = waiting.pop().unwrap().1;
    let stream = soon("an answer", refused.read_to_end(1 << 20)).await;
    assert_eq!(Answer::read(unframed(&stream.unwrap())[0]).rcode, "REFUSED");
    for (_, mut receive) in waiting {
        let (_, responder) = soon("the request", requests.recv()).await.unwrap();
        responder.send(b"done".to_vec()).await.unwrap();
        drop(responder);
        let _ = &mut receive;
    }
    let totals = shared.metrics.totals();
    assert_eq!((totals.control, totals.rcodes[5]), (3, 1));
    assert_eq!((totals.tls_failed, totals.connections_timed_out), (0, 0));
    server.stop(DEADLINE).await;
}

#[tokio::test]
async fn who_shows_a_certificate_proves_its_key_each_time() {
    let (shared, parties) = (shared(), Parties::new());
    let server = parties.serve(&shared, &no_handler(), StreamLimits::default());
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    for (is_member, tickets) in [(true, 0), (false, 2)] {
        let config = parties.config(is_member);
        let mut with_ticket = 0;
        for _ in 0..3 {
            let to = server.local_addr();
            let connecting = endpoint.connect_with(config.clone(), to, "site-a.test");
            let connection = match connecting.unwrap().into_0rtt() {
                Ok((connection, complete)) => {
                    with_ticket += 1;
                    // The next ticket comes with its end.
                    assert!(soon("the handshake", complete).await);
                    connection
                }
                Err(connecting) => soon("the handshake", connecting).await.unwrap(),
            };
            let client = Client {
                _endpoint: endpoint.clone(),
                connection,
            };
            client.ask("www.example.", "A").await;
            client.connection.close(0u32.into(), b"");
        }
        assert_eq!(with_ticket, tickets, "{is_member}");
    }
}
