//! Asks a server as fast as it answers, over UDP, and counts.
//!
//! One thread with some connected sockets keeps a fixed number of questions under way on each. It busily waits, on a CPU of its own,
//! so that the server never does. Every answer is looked at while it is measured: a server is not faster for saying less.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};

use crate::questions::Question;

/// Sockets: each has a port of its own, as clients have.
const SOCKETS: usize = 4;
/// Questions under way on each socket.
const WINDOW: usize = 64;
/// Room for an answer.
const ANSWER: usize = 1280;
/// After so long a question counts as lost and another one is asked in its place.
const LOST: Duration = Duration::from_millis(500);
/// How often is looked for lost ones, in rounds over all sockets.
const LOOK: u64 = 1 << 14;

/// Questions that are asked one after the other, and again from the first.
pub(crate) struct Load {
    /// Their messages, all of one length.
    messages: Vec<u8>,
    length: usize,
    /// The second word of the header and the number of answers that each must be answered with.
    expected: Vec<(u16, u16)>,
    next: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// How many were answered.
    pub(crate) answered: u64,
    /// How many were not.
    pub(crate) lost: u64,
    /// From the first question to the last answer.
    pub(crate) took: Duration,
}

/// One question under way.
#[derive(Clone, Copy, Default)]
struct Slot {
    id: u16,
    question: u32,
    /// When it was sent, in looks for lost ones.
    since: u32,
    waits: bool,
}

struct Lane {
    socket: UdpSocket,
    slots: [Slot; WINDOW],
    free: Vec<u16>,
    /// Makes each ID another than the one that the slot had before.
    turn: u16,
}

impl Load {
    /// Questions, of which all have to be of the same length.
    pub(crate) fn new(questions: &[Question]) -> Result<Self> {
        let length = questions.first().context("no questions")?.message.len();
        let mut messages = Vec::with_capacity(questions.len() * length);
        for question in questions {
            ensure!(
                question.message.len() == length,
                "questions of different lengths"
            );
            messages.extend(&question.message);
        }
        // Authoritative answers (QR and AA) that are not truncated, without RD or anything else.
        let expected = |question: &Question| (0x8400 | u16::from(question.rcode), question.answers);
        Ok(Self {
            messages,
            length,
            expected: questions.iter().map(expected).collect(),
            next: 0,
        })
    }

    /// Asks for so long, going on with the question after the last one.
    pub(crate) fn run(&mut self, server: SocketAddr, time: Duration) -> Result<Asked> {
        self.ask(server, Some(time), u64::MAX)
    }

    /// Asks so many.
    #[cfg(test)]
    fn count(&mut self, server: SocketAddr, questions: u64) -> Result<Asked> {
        self.ask(server, None, questions)
    }

    fn ask(&mut self, server: SocketAddr, time: Option<Duration>, most: u64) -> Result<Asked> {
        let mut lanes: Vec<Lane> = (0..SOCKETS)
            .map(|_| Lane::open(server))
            .collect::<Result<_>>()?;
        let mut io = Buffers::new(self.length);
        let mut asked = Asked::default();
        let (started, mut left) = (Instant::now(), most);
        let (mut round, mut look, mut looked) = (0u64, 0u32, Instant::now());
        let mut last = started;
        loop {
            let mut waits = false;
            for lane in &mut lanes {
                let got = self.receive(lane, &mut io)?;
                asked.answered += got;
                if got > 0 {
                    last = Instant::now();
                }
                let room = lane.free.len().min(usize::try_from(left).unwrap_or(WINDOW));
                if room > 0 {
                    self.send(lane, &mut io, room, look)?;
                    left -= room as u64;
                }
                waits |= lane.free.len() < WINDOW;
            }
            if left == 0 && !waits {
                break;
            }
            round += 1;
            if round.is_multiple_of(64) && time.is_some_and(|time| started.elapsed() >= time) {
                left = 0;
            }
            if round.is_multiple_of(LOOK) && looked.elapsed() >= LOST {
                looked = Instant::now();
                look += 1;
                for lane in &mut lanes {
                    asked.lost += lane.give_up(look);
                }
                ensure!(
                    last.elapsed() < LOST * 20,
                    "{server} does not answer any more"
                );
            }
        }
        asked.took = last - started;
        Ok(asked)
    }

    /// Sends the next questions.
    fn send(&mut self, lane: &mut Lane, io: &mut Buffers, count: usize, look: u32) -> Result<()> {
        for number in 0..count {
            let Some(at) = lane.free.pop() else { break };
            let question = self.next;
            self.next = (question + 1) % self.expected.len();
            lane.turn = lane.turn.wrapping_add(WINDOW as u16);
            let id = lane.turn & !(WINDOW as u16 - 1) | at;
            lane.slots[usize::from(at)] = Slot {
                id,
                question: question as u32,
                since: look,
                waits: true,
            };
            let message = &mut io.sent[number * self.length..][..self.length];
            message.copy_from_slice(&self.messages[question * self.length..][..self.length]);
            message[..2].copy_from_slice(&id.to_be_bytes());
        }
        let fd = lane.socket.as_raw_fd();
        let mut sent = 0;
        while sent < count {
            let vectors: Vec<[IoSlice<'_>; 1]> = io.sent[sent * self.length..count * self.length]
                .chunks_exact(self.length)
                .map(|message| [IoSlice::new(message)])
                .collect();
            let nowhere = [None::<()>; WINDOW];
            match sendmmsg(
                fd,
                &mut io.headers,
                &vectors,
                nowhere,
                [],
                MsgFlags::empty(),
            ) {
                Ok(done) => sent += done.count(),
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => bail!("cannot ask: {error}"),
            }
        }
        Ok(())
    }

    /// Takes in the answers that have come; returns how many.
    fn receive(&self, lane: &mut Lane, io: &mut Buffers) -> Result<u64> {
        let lengths: Vec<usize> = {
            let mut vectors: Vec<[IoSliceMut<'_>; 1]> = io
                .received
                .chunks_exact_mut(ANSWER)
                .map(|buffer| [IoSliceMut::new(buffer)])
                .collect();
            let received = recvmmsg(
                lane.socket.as_raw_fd(),
                &mut io.answers,
                &mut vectors,
                MsgFlags::MSG_DONTWAIT,
                None,
            );
            match received {
                Ok(messages) => messages.map(|message| message.bytes).collect(),
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
                Err(error) => bail!("no answer: {error}"),
            }
        };
        let mut answered = 0;
        for (answer, length) in io.received.chunks_exact(ANSWER).zip(lengths) {
            answered += u64::from(self.check(lane, &answer[..length.min(ANSWER)])?);
        }
        Ok(answered)
    }

    /// Whether an answer is to a question that is under way; an error when it is not what it has to be.
    fn check(&self, lane: &mut Lane, answer: &[u8]) -> Result<bool> {
        let Some(header) = answer.first_chunk::<12>() else {
            bail!("an answer of {} octets", answer.len());
        };
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let at = word(0) % WINDOW as u16;
        let slot = &mut lane.slots[usize::from(at)];
        if !slot.waits || slot.id != word(0) {
            // It was given up.
            return Ok(false);
        }
        let question = slot.question as usize;
        let expected = self.expected[question];
        if (word(2), word(6)) != expected {
            let asked = &self.messages[question * self.length..][..self.length];
            bail!(
                "question {asked:02x?} was answered with {answer:02x?}, which has not the flags {:04x} and {} answers",
                expected.0,
                expected.1
            );
        }
        slot.waits = false;
        lane.free.push(at);
        Ok(true)
    }
}

impl Lane {
    fn open(server: SocketAddr) -> Result<Self> {
        let socket =
            UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).context("no UDP socket")?;
        socket
            .connect(server)
            .with_context(|| format!("cannot reach {server}"))?;
        Ok(Self {
            socket,
            slots: [Slot::default(); WINDOW],
            free: (0..WINDOW as u16).collect(),
            turn: 0,
        })
    }

    /// Gives up what was sent before the last look; returns how many.
    fn give_up(&mut self, look: u32) -> u64 {
        let mut lost = 0;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.waits && slot.since + 1 < look {
                slot.waits = false;
                self.free.push(at as u16);
                lost += 1;
            }
        }
        lost
    }
}

struct Buffers {
    sent: Vec<u8>,
    received: Vec<u8>,
    headers: MultiHeaders<()>,
    answers: MultiHeaders<()>,
}

impl Buffers {
    fn new(length: usize) -> Self {
        Self {
            sent: vec![0; WINDOW * length],
            received: vec![0; WINDOW * ANSWER],
            headers: MultiHeaders::preallocate(WINDOW, None),
            answers: MultiHeaders::preallocate(WINDOW, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn question(rcode: u8, answers: u16) -> Question {
        let message = zonemesh_testkit::query::question("a.bench.test", 1);
        Question {
            message,
            rcode,
            answers,
        }
    }

    /// A server that answers every so many-th question with nothing, and ends when nothing comes.
    fn server(skips: usize, answers: u8) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            let mut seen = 0;
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                seen += 1;
                if seen % skips != 0 {
                    buffer[2] = 0x84;
                    buffer[7] = answers;
                    socket.send_to(&buffer[..length], peer).unwrap();
                }
            }
        });
        at
    }

    #[test]
    fn all_are_asked_and_the_lost_are_counted() {
        let mut load = Load::new(&[question(0, 1), question(0, 1)]).unwrap();
        let asked = load.count(server(100, 1), 1000).unwrap();
        // On a busy machine an answer may also come when its question was given up.
        assert_eq!(asked.answered + asked.lost, 1000);
        assert!(asked.lost >= 10, "{asked:?}");
    }

    #[test]
    fn an_answer_that_says_something_else_is_an_error() {
        let mut load = Load::new(&[question(0, 1)]).unwrap();
        let error = load.count(server(1000, 2), 10).unwrap_err();
        assert!(error.to_string().contains("and 1 answers"), "{error}");
    }
}
