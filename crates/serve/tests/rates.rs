//! Response rate limiting: what answers are counted as, what a truncated one looks like, and floods over real sockets.

#![allow(missing_docs, clippy::unwrap_used)]

mod asking;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use asking::{Answer, Ask, NOW, ask, ready, zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zonemesh_serve::stream::{self, Connections, StreamLimits};
use zonemesh_serve::udp::{self, UdpServer};
use zonemesh_serve::{
    CookieSecrets, Handler, Kind, Outcome, RateLimiter, RateLimits, Settings, Shared, Transport,
    Workspace, answer_about, bind,
};

/// Longer than anything takes here, even on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(20);

const ZONE: &str = "@ 60 IN SOA . . 1 2 3 4 5
     @ 60 IN NS ns
     ns 60 IN A 192.0.2.53
     www 60 IN A 192.0.2.1
     alias 60 IN CNAME a.w
     *.w 60 IN TXT wild
     old 60 IN DNAME w
     cut 60 IN NS ns.cut
     ns.cut 60 IN A 192.0.2.54";

/// What an answer is counted as.
fn counted(shared: &Shared, ask: &Ask) -> (Kind, String) {
    let mut out = Vec::new();
    shared.view(NOW, |view| {
        let (outcome, about) = answer_about(
            &mut Workspace::default(),
            &ask.message,
            &ask.client,
            view,
            &mut out,
        );
        assert_eq!(outcome, Outcome::Reply);
        let source = match about.source {
            [] => String::new(),
            octets => zonemesh_zone::Name::from_octets(octets.to_vec().into())
                .unwrap()
                .fmt_with_dot()
                .to_string(),
        };
        (about.kind, source)
    })
}

#[test]
fn names_that_do_not_exist_or_are_made_by_a_wildcard_are_counted_together() {
    let shared = ready([zone("example.", ZONE)]);
    for (qname, qtype, kind, source) in [
        ("www.example.", "A", Kind::Positive, "www.example."),
        ("WWW.example.", "ANY", Kind::Positive, "www.example."),
        ("www.example.", "TXT", Kind::Negative, "example."),
        ("example.", "SOA", Kind::Positive, "example."),
        ("random.example.", "A", Kind::Negative, "example."),
        ("x.y.random.example.", "A", Kind::Negative, "example."),
        // An empty non-terminal.
        ("w.example.", "A", Kind::Negative, "example."),
        ("a.w.example.", "TXT", Kind::Positive, "*.w.example."),
        ("x.y.z.w.example.", "TXT", Kind::Positive, "*.w.example."),
        ("a.w.example.", "A", Kind::Negative, "example."),
        ("a.old.example.", "TXT", Kind::Positive, "old.example."),
        ("b.c.old.example.", "A", Kind::Positive, "old.example."),
        ("alias.example.", "TXT", Kind::Positive, "alias.example."),
        ("cut.example.", "A", Kind::Referral, "cut.example."),
        ("x.y.cut.example.", "TXT", Kind::Referral, "cut.example."),
        ("cut.example.", "DS", Kind::Negative, "example."),
        ("elsewhere.test.", "A", Kind::Error, ""),
    ] {
        let found = counted(&shared, &ask(qname, qtype));
        assert_eq!(found, (kind, source.to_owned()), "{qname} {qtype}");
    }
    for error in [
        ask("www.example.", "A").header(2, 0x10),
        ask("www.example.", "A").header(5, 2),
        ask("www.example.", "A").opt(1232, 1, false, &[]),
        ask("www.example.", "A").class(3),
    ] {
        assert_eq!(counted(&shared, &error), (Kind::Error, String::new()));
    }
}

#[test]
fn an_answer_that_does_not_fit_is_no_negative_one() {
    let lines: String = (0..100)
        .map(|n| format!("big 60 IN A 192.0.2.{n}\n"))
        .chain(["@ 60 IN SOA . . 1 2 3 4 5".to_owned()])
        .collect();
    let shared = ready([zone("example.", &lines)]);
    let found = counted(&shared, &ask("big.example.", "A"));
    assert_eq!(found, (Kind::Positive, "big.example.".to_owned()));
}

fn limited(limits: RateLimits) -> Arc<Shared> {
    let shared = ready([zone("example.", ZONE)]);
    shared.settings.store(Arc::new(Settings {
        nsid: Some(b"here".to_vec()),
        cookies: Some(CookieSecrets {
            current: [7; 16],
            previous: None,
        }),
        rate: Some(Arc::new(RateLimiter::new(limits))),
        ..Settings::default()
    }));
    Arc::new(shared)
}

/// With nobody exempt, since all tests are on loopback.
fn one_a_second() -> RateLimits {
    RateLimits {
        per_second: [1; 4],
        exempt: Vec::new(),
        ..RateLimits::default()
    }
}

fn start(shared: &Arc<Shared>) -> UdpServer {
    let handler: Handler = Arc::new(|_, _| {});
    udp::listen("127.0.0.1:0".parse().unwrap(), 2, shared, &handler).unwrap()
}

fn client(from: &str, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Asks and waits for the answer.
fn exchange(socket: &UdpSocket, ask: &Ask) -> Answer {
    socket.send(&ask.message).unwrap();
    receive(socket)
}

fn receive(socket: &UdpSocket) -> Answer {
    let mut buffer = [0; 4096];
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let len = socket.recv(&mut buffer).unwrap();
    Answer::read(&buffer[..len])
}

/// How many of some answers are whole, where those that are too many are truncated.
fn whole(socket: &UdpSocket, ask: &Ask, times: usize) -> usize {
    let answers = (0..times).map(|_| exchange(socket, ask));
    answers.filter(|answer| !answer.truncated).count()
}

/// How many answers a network can have had since some moment, at one a second.
fn most(since: Instant) -> usize {
    2 + since.elapsed().as_secs() as usize
}

#[test]
fn a_flood_from_one_network_is_limited_and_others_are_served() {
    let shared = limited(RateLimits {
        slip: 1,
        ..one_a_second()
    });
    let server = start(&shared);
    let to = server.local_addr();
    let question = ask("www.example.", "A");
    let flood = client("127.1.2.3", to);
    let started = Instant::now();
    let count = whole(&flood, &question, 300);
    assert!((1..=most(started)).contains(&count), "{count}");
    // Its neighbour has no more.
    let neighbour = client("127.1.2.200", to);
    let count = whole(&neighbour, &question, 300);
    assert!(count <= most(started), "{count}");
    // Another network is served all the same, and this one with other names and other kinds of answers.
    assert_eq!(whole(&client("127.1.3.3", to), &question, 1), 1);
    for (qname, qtype) in [
        ("ns.example.", "A"),
        ("no.example.", "A"),
        ("cut.example.", "A"),
    ] {
        assert_eq!(whole(&flood, &ask(qname, qtype), 1), 1, "{qname} {qtype}");
    }
    server.stop();
    let totals = shared.metrics.totals();
    assert_eq!(totals.queries[0], 604);
    let slipped: u64 = totals.slipped.iter().sum();
    assert_eq!(totals.truncated, slipped);
    assert!(slipped >= 600 - 2 * most(started) as u64, "{totals:?}");
    assert_eq!(totals.limited, [0; 4]);
}

#[test]
fn random_names_that_do_not_exist_or_come_of_a_wildcard_escape_no_limit() {
    let shared = limited(RateLimits {
        slip: 1,
        ..one_a_second()
    });
    let server = start(&shared);
    for (address, below, qtype) in [
        ("127.1.1.1", "example.", "A"),
        ("127.1.2.1", "w.example.", "TXT"),
        ("127.1.3.1", "cut.example.", "A"),
        ("127.1.4.1", "elsewhere.", "A"),
    ] {
        let socket = client(address, server.local_addr());
        let started = Instant::now();
        let answers =
            (0..200).map(|n| exchange(&socket, &ask(&format!("a{n}.b{n}.{below}"), qtype)));
        // An error is too small to be worth more than being dropped; all of them go out when all shall be truncated.
        let whole = answers.filter(|answer| !answer.truncated).count();
        let expected = if below == "elsewhere." {
            200..=200
        } else {
            1..=most(started)
        };
        assert!(expected.contains(&whole), "{below}: {whole}");
    }
    server.stop();
    assert!(shared.metrics.totals().slipped[Kind::Error as usize] > 100);
}

#[test]
fn what_is_dropped_is_counted_and_no_answer_at_all() {
    let shared = limited(RateLimits {
        slip: 0,
        ..one_a_second()
    });
    let server = start(&shared);
    let socket = client("127.1.2.3", server.local_addr());
    for _ in 0..100 {
        socket.send(&ask("www.example.", "A").message).unwrap();
    }
    // One of another kind, which is answered; and by then the others have been seen, or they are by the end of the server.
    exchange(&socket, &ask("no.example.", "A"));
    server.stop();
    let totals = shared.metrics.totals();
    assert_eq!(totals.queries[0], 101);
    let answered: u64 = totals.rcodes.iter().sum();
    assert_eq!(answered + totals.limited[Kind::Positive as usize], 101);
    assert!(totals.limited[Kind::Positive as usize] > 50, "{totals:?}");
    assert_eq!(totals.slipped, [0; 4]);
}

#[test]
fn a_truncated_answer_has_no_records_and_brings_the_cookie_that_frees_its_client() {
    let shared = limited(RateLimits {
        slip: 1,
        ..one_a_second()
    });
    let server = start(&shared);
    let socket = client("127.1.2.3", server.local_addr());
    let learning = ask("no.example.", "A").opt(1232, 0, false, &cookie_option(&[9; 8]));
    let truncated = (0..100)
        .map(|_| exchange(&socket, &learning))
        .find(|answer| answer.truncated)
        .unwrap();
    assert_eq!(truncated.rcode, "NOERROR");
    assert_eq!(truncated.question.as_deref(), Some("no.example. A"));
    let records = [
        &truncated.answer,
        &truncated.authority,
        &truncated.additional,
    ];
    assert!(
        records.iter().all(|section| section.is_empty()),
        "{truncated:?}"
    );
    let both = truncated.option(10).unwrap();
    assert_eq!((both.len(), &both[..8]), (24, &[9; 8][..]));
    for (qname, rcode) in [("no.example.", "NXDOMAIN"), ("elsewhere.", "REFUSED")] {
        for _ in 0..100 {
            let asked = ask(qname, "A").opt(1232, 0, false, &cookie_option(both));
            let answer = exchange(&socket, &asked);
            assert_eq!((answer.rcode.as_str(), answer.truncated), (rcode, false));
        }
    }
    // A cookie of another address is none.
    let other = client("127.1.9.3", server.local_addr());
    let asked = ask("no.example.", "A").opt(1232, 0, false, &cookie_option(both));
    let started = Instant::now();
    let count = whole(&other, &asked, 100);
    assert!(count <= most(started), "{count}");
}

fn cookie_option(cookie: &[u8]) -> Vec<u8> {
    [&[0, 10, 0, cookie.len() as u8], cookie].concat()
}

#[test]
fn nobody_is_limited_on_loopback_unless_told_so_nor_in_a_dry_run() {
    let question = ask("www.example.", "A");
    let on_loopback = limited(RateLimits {
        exempt: RateLimits::default().exempt,
        ..one_a_second()
    });
    let dry = limited(RateLimits {
        dry_run: true,
        ..one_a_second()
    });
    for shared in [&on_loopback, &dry] {
        let server = start(shared);
        let started = Instant::now();
        let socket = client("127.1.2.3", server.local_addr());
        assert_eq!(whole(&socket, &question, 200), 200);
        server.stop();
        let totals = shared.metrics.totals();
        assert_eq!((totals.limited, totals.slipped), ([0; 4], [0; 4]));
        let expected = match Arc::ptr_eq(shared, &dry) {
            true => 200 - most(started) as u64..=199,
            false => 0..=0,
        };
        let would_be = totals.would_be_limited[Kind::Positive as usize];
        assert!(expected.contains(&would_be), "{would_be}");
    }
}

/// A record for the name of the question, and a signature if that is wanted.
fn with_record(question: &[u8], is_signed: bool) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x84;
    answer[7] = 1;
    // Without the OPT record of the question.
    answer[11] = u8::from(is_signed);
    answer.truncate(12 + 13 + 4);
    answer.extend_from_slice(&[0xC0, 12, 0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, 7]);
    if is_signed {
        answer.extend_from_slice(&[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]);
    }
    answer
}

/// A server whose handler answers NOTIFYs with a record, IXFR with a record and a signature, and UPDATEs of names that begin with `n` with
/// REFUSED, with `v` with BADVERS.
fn start_with_handler(shared: &Arc<Shared>) -> UdpServer {
    let handler: Handler = Arc::new(|request, responder| {
        let message = &request.message;
        let answer = match message[2] >> 3 {
            5 => {
                let mut answer = message[..12 + 13 + 4].to_vec();
                let rcode = if answer[13] == b'n' { 5 } else { 0 };
                (answer[2], answer[3], answer[11]) = (0xA8, rcode, 0);
                if answer[13] == b'v' {
                    answer[11] = 1;
                    // BADVERS.
                    answer.extend_from_slice(&[0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]);
                }
                answer
            }
            4 => with_record(message, false),
            _ => with_record(message, true),
        };
        responder.blocking_send(answer).unwrap();
    });
    udp::listen("127.0.0.1:0".parse().unwrap(), 1, shared, &handler).unwrap()
}

#[test]
fn what_the_handler_answers_is_limited_as_everything_else() {
    for slip in [0, 1] {
        let shared = limited(RateLimits {
            slip,
            ..one_a_second()
        });
        let server = start_with_handler(&shared);
        let started = Instant::now();
        for (at, qtype, opcode) in [(1, "SOA", 4), (2, "SOA", 5), (3, "IXFR", 0)] {
            let socket = client(&format!("127.1.{at}.1"), server.local_addr());
            for number in 0..100 {
                // Upper or lower case, and whatever name in errors, is the same.
                let name = match (opcode, number % 2) {
                    (5, 0) => format!("n{number:03}.exampl."),
                    (5, _) => format!("v{number:03}.exampl."),
                    (_, 0) => "www.example.".to_owned(),
                    (_, _) => "wWw.EXAMPLE.".to_owned(),
                };
                let asked = ask(&name, qtype).header(2, opcode << 3);
                socket.send(&asked.message).unwrap();
            }
            // Answered by the same thread, after all others.
            let last = client(&format!("127.2.{at}.1"), server.local_addr());
            exchange(&last, &ask("no.example.", "A"));
        }
        server.stop();
        let most = most(started) as u64;
        let totals = shared.metrics.totals();
        assert_eq!(totals.control, 300);
        let [positive, _, _, error] = totals.limited;
        let [slipped, _, _, as_they_are] = totals.slipped;
        let least = 100 - most;
        match slip {
            0 => assert!(positive >= 2 * least && error >= least, "{totals:?}"),
            // What is signed is dropped and not truncated.
            _ => {
                assert!(positive >= least && slipped >= least, "{totals:?}");
                assert!(positive <= 100 && slipped <= 100, "{totals:?}");
                assert!(as_they_are >= least && error == 0, "{totals:?}");
            }
        }
    }
}

#[test]
fn a_truncated_answer_of_the_handler_has_no_records_and_a_cookie_frees_its_client() {
    let shared = limited(RateLimits {
        slip: 1,
        ..one_a_second()
    });
    let server = start_with_handler(&shared);
    let socket = client("127.1.2.3", server.local_addr());
    let notify = ask("www.example.", "SOA").header(2, 4 << 3);
    let truncated = (0..100)
        .map(|_| exchange(&socket, &notify))
        .find(|answer| answer.truncated)
        .unwrap();
    assert_eq!(truncated.question.as_deref(), Some("www.example. SOA"));
    assert!(truncated.answer.is_empty());
    let learning = ask("no.example.", "A").opt(1232, 0, false, &cookie_option(&[9; 8]));
    let learned = exchange(&socket, &learning);
    let cookie = cookie_option(learned.option(10).unwrap());
    let notify = notify.opt(1232, 0, false, &cookie);
    assert_eq!(whole(&socket, &notify, 100), 100);
}

#[test]
fn who_may_update_has_all_answers() {
    let shared = limited(RateLimits {
        slip: 0,
        all_per_second: 1,
        ..one_a_second()
    });
    let server = start_with_handler(&shared);
    let socket = client("127.1.2.3", server.local_addr());
    let update = ask("www.example.", "SOA").header(2, 5 << 3);
    assert_eq!(whole(&socket, &update, 100), 100);
    server.stop();
    assert_eq!(shared.metrics.totals().limited, [0; 4]);
}

#[tokio::test]
async fn streams_have_no_limit() {
    let shared = limited(one_a_second());
    let handler: Handler = Arc::new(|_, _| {});
    let listener = bind::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let connections = Connections::new(StreamLimits::default());
    let server = stream::serve(listener, None, &shared, &handler, &connections).unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let message = ask("www.example.", "A").message;
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&message);
    let talk = async {
        for _ in 0..100 {
            stream.write_all(&framed).await.unwrap();
            let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(Answer::read(&answer).answer.len(), 1);
        }
    };
    tokio::time::timeout(DEADLINE, talk).await.unwrap();
    let totals = shared.metrics.totals();
    assert_eq!(totals.queries[Transport::Tcp as usize], 100);
    assert_eq!(
        totals.latencies[Transport::Tcp as usize]
            .counts
            .iter()
            .sum::<u64>(),
        100
    );
}

#[test]
fn new_limits_hold_from_the_next_question_on() {
    let shared = limited(RateLimits {
        per_second: [0; 4],
        ..one_a_second()
    });
    let server = start(&shared);
    let socket = client("127.1.2.3", server.local_addr());
    let question = ask("www.example.", "A");
    assert_eq!(whole(&socket, &question, 100), 100);
    let settings = Settings {
        rate: Some(Arc::new(RateLimiter::new(RateLimits {
            slip: 1,
            ..one_a_second()
        }))),
        ..Settings::default()
    };
    shared.settings.store(Arc::new(settings));
    let started = Instant::now();
    let count = whole(&socket, &question, 100);
    assert!((1..=most(started)).contains(&count), "{count}");
}
