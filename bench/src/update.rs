//! Changes zones by signed updates (RFC 2136).

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use zonemesh_testkit::query;
use zonemesh_transfer::tsig::{Algorithm, Key};
use zonemesh_update::Update;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Name, Record};

use crate::server::{KEY, SECRET};

/// Sends updates over one connection, one after the other.
pub(crate) struct Updater {
    stream: TcpStream,
    key: Key,
    zone: Name,
}

impl Updater {
    pub(crate) fn open(server: SocketAddr, zone: &str) -> Result<Self> {
        let stream = query::connect(server, Duration::from_secs(60))?;
        stream.set_nodelay(true).context("cannot set an option")?;
        let name = |text: &str| parse_name(text).map_err(anyhow::Error::msg);
        Ok(Self {
            stream,
            key: Key::from_base64(name(KEY)?, Algorithm::HmacSha256, SECRET)?,
            zone: name(zone)?,
        })
    }

    /// Gives a name an address that it never had, in the place of any other, and waits for the answer.
    pub(crate) fn change(&mut self, name: &str) -> Result<()> {
        // An update that changes nothing would cost nothing.
        static ADDRESS: AtomicU32 = AtomicU32::new(0);
        let [_, b, c, d] = ADDRESS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let text = format!("{name} 60 A 10.{b}.{c}.{d}");
        let record = Record::from_text(&text, &self.zone)?;
        let update = Update::new(self.zone.clone())
            .delete_rrset(record.owner.clone(), record.rtype)
            .add(record);
        self.send(&update)
    }

    /// Adds the names `new-N` of these numbers, with an address each.
    pub(crate) fn add(&mut self, numbers: std::ops::Range<usize>) -> Result<()> {
        let mut update = Update::new(self.zone.clone());
        for number in numbers {
            let text = format!("new-{number} 60 A 192.0.2.1");
            update = update.add(Record::from_text(&text, &self.zone)?);
        }
        self.send(&update)
    }

    fn send(&mut self, update: &Update) -> Result<()> {
        // No two are the same, not even of two updaters in one second: a server may take the second for a repetition.
        static ID: AtomicU16 = AtomicU16::new(0);
        let mut message = update.compose(ID.fetch_add(1, Ordering::Relaxed))?;
        // The answer is signed too; who gives it is beyond doubt here.
        drop(self.key.sign_request(&mut message, Timestamp::now()));
        query::send_framed(&mut self.stream, &message)?;
        let answer = query::receive_framed(&mut self.stream)?;
        ensure!(
            answer.len() >= 12 && answer[..2] == message[..2],
            "an answer to something else"
        );
        let code = query::rcode(&answer);
        ensure!(code == 0, "an update was refused with RCODE {code}");
        Ok(())
    }
}
