//! One piece of the server's work alone, again and again: for `perf record` and `valgrind --tool=callgrind`, which tell more about
//! one piece than about a whole server. `work axfr-in 100000 10` takes in a zone of 100,000 records ten times.

#[path = "../zones.rs"]
#[allow(
    dead_code,
    reason = "the zones of the benchmark, of which this needs one"
)]
mod zones;

#[path = "../questions.rs"]
mod questions;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use zonemesh_serve::rate::{MAX_RATE, Verdict};
use zonemesh_serve::{
    Client, Moment, Outcome, RateLimiter, RateLimits, Served, Shared, Transport, Workspace,
    answer_about,
};
use zonemesh_store::{Batch, Origin, Store};
use zonemesh_transfer::outbound::{Content, Response};
use zonemesh_transfer::query::Request;
use zonemesh_transfer::{Transfer, inbound::Step};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Diff, Zone, file};

use crate::questions::Question;

/// Questions that are answered at a time.
const QUESTIONS: usize = 100_000;

/// One piece of the server's work alone, again and again.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which piece
    #[arg(value_enum)]
    piece: Piece,
    /// Records of the zone
    records: usize,
    /// How often
    times: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Piece {
    /// The zone is read from a file, which happens in all the others as well
    File,
    /// The messages of a whole transfer are made
    AxfrOut,
    /// They are taken in
    AxfrIn,
    /// The zone is stored
    Save,
    /// It is loaded from the store
    Load,
    /// Questions are answered, a hundred thousand of them
    Answer,
    /// The same, and each answer is taken from an account of its network and name, of which none is ever empty
    AnswerLimited,
    /// A version with one record more is made and compared with the one before
    Change,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = folder.path().join("zone");
    zones::write(&path, zones::ZONE, arguments.records)?;
    let zone = read(&path)?;
    let messages: Vec<Vec<u8>> = response(&zone)?.messages().collect();
    let store = Store::open(folder.path(), "work")?;
    let save = || -> Result<()> {
        let batch = Batch::new(jiff::Timestamp::now());
        let origin = Origin::Forced {
            from: "here".to_owned(),
        };
        Ok(store.commit(batch.replace(&zone, origin))?)
    };
    save()?;
    let questions = match arguments.piece {
        Piece::Answer | Piece::AnswerLimited => questions::questions(arguments.records, QUESTIONS),
        _ => Vec::new(),
    };
    let shared = shared(&zone);
    let limiter = matches!(arguments.piece, Piece::AnswerLimited).then(|| {
        RateLimiter::new(RateLimits {
            per_second: [MAX_RATE; 4],
            ..RateLimits::default()
        })
    });
    for _ in 0..arguments.times {
        let started = Instant::now();
        match arguments.piece {
            Piece::File => drop(read(&path)?),
            Piece::AxfrOut => {
                let response = response(&zone)?;
                let octets = response.messages().map(|message| message.len());
                black_box(octets.sum::<usize>());
            }
            Piece::AxfrIn => drop(taken_in(&zone, &messages)?),
            Piece::Save => save()?,
            Piece::Load => drop(black_box(store.load(zone.apex())?)),
            Piece::Answer | Piece::AnswerLimited => {
                answered(&shared, &questions, limiter.as_ref())?;
            }
            Piece::Change => drop(black_box(changed(&zone)?)),
        }
        println!("{:.1} ms", started.elapsed().as_secs_f64() * 1000.0);
    }
    // What is not measured would stand in the profile.
    std::mem::forget((zone, messages));
    Ok(())
}

fn read(path: &Path) -> Result<Zone> {
    let apex = parse_name(zones::ZONE).map_err(anyhow::Error::msg)?;
    let mut opener = |_: &str| std::fs::read(path);
    let loaded = file::read(&mut opener, "zone", Some(&apex));
    match loaded.zone {
        Some(zone) => Ok(zone),
        None => bail!("no zone: {:?}", loaded.findings),
    }
}

fn response(zone: &Zone) -> Result<Response> {
    let question = zonemesh_testkit::query::question(zones::ZONE, 252);
    let request = Request::parse(&question).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(Response::with_content(
        &request,
        zone.clone(),
        Content::Axfr,
    ))
}

fn taken_in(zone: &Zone, messages: &[Vec<u8>]) -> Result<Zone> {
    let id = messages
        .first()
        .map_or(0, |first| u16::from_be_bytes([first[0], first[1]]));
    let mut transfer = Transfer::axfr(zone.apex().clone(), None, id);
    for message in messages {
        if let Step::Done(incoming) = transfer.feed(message)? {
            return incoming.zone().cloned().context("no zone");
        }
    }
    bail!("the transfer did not end")
}

/// A server of this zone alone.
fn shared(zone: &Zone) -> Shared {
    let shared = Shared::new();
    shared.set_ready(true);
    shared.update_zones(|zones| zones.with(Served::new(zone.clone())));
    shared
}

fn answered(shared: &Shared, questions: &[Question], limiter: Option<&RateLimiter>) -> Result<()> {
    let client = Client {
        addr: ([192, 0, 2, 1], 53).into(),
        transport: Transport::Udp,
        pin: None,
    };
    let mut out = Vec::with_capacity(4096);
    let mut workspace = Workspace::default();
    let mut now = 1_000_000;
    shared.view(Moment::default(), |view| {
        for question in questions {
            let (outcome, about) =
                answer_about(&mut workspace, &question.message, &client, view, &mut out);
            if let Some(limiter) = limiter {
                // Each question a tenth of a millisecond after the one before.
                now += 100;
                let verdict = limiter.verdict(client.ip(), &about, now, || 0);
                ensure!(verdict == Verdict::Send, "there was a limit");
            }
            ensure!(
                outcome == Outcome::Reply
                    && out[3] & 15 == question.rcode
                    && out[6..8] == question.answers.to_be_bytes(),
                "{:02x?} was answered with {out:02x?}",
                question.message
            );
        }
        Ok(())
    })
}

fn changed(zone: &Zone) -> Result<Diff> {
    let mut editor = zone.edit();
    let record = zonemesh_zone::Record::from_text("new 60 A 192.0.2.1", zone.apex())?;
    editor.add(record)?;
    Ok(zone.diff(&editor.finish()?))
}
