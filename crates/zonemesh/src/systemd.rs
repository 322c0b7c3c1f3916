//! Tells the service manager how the site is doing (`sd_notify`): one datagram to `$NOTIFY_SOCKET`.
//!
//! Without that variable every function does nothing.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether the service manager was told that the site is ready.
static TOLD_READY: AtomicBool = AtomicBool::new(false);

/// The site answers: whatever is asked of it after this.
pub fn ready(status: &str) {
    TOLD_READY.store(true, Ordering::Relaxed);
    send(&format!("READY=1\nSTATUS={status}"));
}

/// The site is not ready yet, for a reason that it says, and wants to be given so much time from now on.
pub fn starting(why: &str, more: Duration) {
    send(&format!(
        "EXTEND_TIMEOUT_USEC={}\nSTATUS={why}",
        more.as_micros()
    ));
}

/// A reload began; to be followed by [`reloaded`]. While the site starts that is nothing to the service manager, to which the end of
/// a reload and that of a start are the same.
pub fn reloading() {
    if !TOLD_READY.load(Ordering::Relaxed) {
        return;
    }
    // `Type=notify-reload` compares it with its own CLOCK_MONOTONIC.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// A reload ended.
pub fn reloaded(outcome: &str) {
    match TOLD_READY.load(Ordering::Relaxed) {
        true => ready(outcome),
        false => status(outcome),
    }
}

/// The site ends.
pub fn stopping() {
    send("STOPPING=1");
}

/// What the site does, in a line for `systemctl status`.
pub fn status(status: &str) {
    send(&format!("STATUS={status}"));
}

/// The site is alive; to be sent every [`watchdog_interval`].
pub fn watchdog() {
    send("WATCHDOG=1");
}

/// How often [`watchdog`] is to be called: half of what the service manager allows. None when it does not watch.
pub fn watchdog_interval() -> Option<Duration> {
    let pid = std::env::var("WATCHDOG_PID").ok();
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return None;
    }
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros / 2))
}

fn send(message: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send_to(socket.as_encoded_bytes(), message) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

fn send_to(socket: &[u8], message: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(message.as_bytes(), &address)
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reaches_the_notify_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        send_to(path.as_os_str().as_encoded_bytes(), "READY=1").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
}
