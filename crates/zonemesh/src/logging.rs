//! Logs: for people on a terminal, JSON otherwise, always on standard error.
//!
//! Whoever reads them may hang: lines are written by a thread of their own, and those that find its queue full are counted
//! and left out, so that no answer ever waits for a log.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// Lines that wait to be written at most: some megabytes.
const QUEUE: usize = 16 * 1024;
/// Octets that are written at once, about, when lines come faster than they are written.
const TOGETHER: usize = 32 * 1024;
/// How long the end of the process waits for lines that are due.
const GRACE: Duration = Duration::from_secs(1);

/// Starts logging, until what it returns is dropped. `RUST_LOG` wins over the file, for one run. A second call changes
/// nothing.
#[must_use = "what is logged last is lost when this is dropped early"]
pub fn init(log: &Log) -> Option<Written> {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&log.level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (lines, written) = start(std::io::stderr(), json);
    let writer = move || lines.clone();
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = if json {
        registry
            .with(fmt::layer().json().flatten_event(true).with_writer(writer))
            .try_init()
    } else {
        registry
            .with(
                fmt::layer()
                    .with_ansi(colours)
                    .with_target(false)
                    .with_writer(writer),
            )
            .try_init()
    };
    if outcome.is_err() {
        tracing::debug!("logging was started already");
        return None;
    }
    Some(written)
}

enum Job {
    Line(Vec<u8>),
    /// Say so when all lines before this are written.
    Tell(Sender<()>),
}

/// Waits, for a moment, until all lines are written when it is dropped.
pub struct Written(SyncSender<Job>);

impl Drop for Written {
    fn drop(&mut self) {
        let deadline = Instant::now() + GRACE;
        let (tell, told) = channel();
        let mut job = Job::Tell(tell);
        while let Err(TrySendError::Full(back)) = self.0.try_send(job) {
            if Instant::now() > deadline {
                return;
            }
            job = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        // What is not written by then never will be: whoever reads hangs.
        let _late = told.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Takes lines; never waits.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.queue.try_send(Job::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn start(out: impl Write + Send + 'static, json: bool) -> (Lines, Written) {
    let (queue, jobs) = sync_channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        queue: queue.clone(),
        lost: lost.clone(),
    };
    let thread = std::thread::Builder::new().name("log".to_owned());
    if let Err(error) = thread.spawn(move || write_all(out, json, &jobs, &lost)) {
        eprintln!("error: there is no log, since its thread cannot be started: {error}");
    }
    (lines, Written(queue))
}

/// Writes until nobody logs any more. A line that cannot be written is lost: there is nowhere to say so.
fn write_all(mut out: impl Write, json: bool, jobs: &Receiver<Job>, lost: &AtomicU64) {
    let mut lines = Vec::new();
    while let Ok(first) = jobs.recv() {
        let (mut next, mut told) = (Some(first), None);
        while let Some(job) = next.take() {
            match job {
                Job::Line(line) => lines.extend_from_slice(&line),
                Job::Tell(tell) => told = Some(tell),
            }
            // What has come meanwhile is written with it.
            if lines.len() < TOGETHER && told.is_none() {
                next = jobs.try_recv().ok();
            }
        }
        let _lost = out.write_all(&lines);
        lines.clear();
        if let Some(tell) = told {
            let _lost = out.flush();
            // Who waits for it may have given up.
            let _gone = tell.send(());
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let note = format!("{lost} log lines were lost: they were not read fast enough");
            let _lost = match json {
                true => writeln!(out, "{{\"level\":\"WARN\",\"message\":\"{note}\"}}"),
                false => writeln!(out, "WARN {note}"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that hangs until it is let go.
    struct Hanging(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Hanging {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            // An error means that it was let go for good.
            let _go = self.0.recv();
            self.1.send(octets.to_vec()).unwrap();
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_holds_nobody_up_and_says_what_was_lost() {
        let (go, wait) = channel();
        let (tell, told) = channel();
        let (mut lines, written) = start(Hanging(wait, tell), false);
        let logged = QUEUE + 2 * TOGETHER;
        for _ in 0..logged {
            lines.write_all(b"line\n").unwrap();
        }
        drop(go);
        drop(written);
        let all: Vec<u8> = told.try_iter().flatten().collect();
        let text = String::from_utf8(all).unwrap();
        let kept = text.lines().filter(|line| *line == "line").count();
        // Those that were taken out of the queue before the output hung are written together.
        let most = QUEUE + 1 + TOGETHER / "line\n".len();
        assert!((QUEUE..=most).contains(&kept), "{kept} lines were kept");
        let lost = logged - kept;
        assert!(
            text.contains(&format!("{lost} log lines were lost")),
            "{lost}"
        );
    }
}
