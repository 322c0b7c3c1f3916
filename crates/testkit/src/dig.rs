//! Asking with the real `dig` of BIND or `kdig` of Knot.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::peers::Peers;

/// A query by `dig` or `kdig`, being put together.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// # let peers = zonemesh_testkit::Peers::find()?;
/// # let server = "127.0.0.1:5300".parse()?;
/// let answer = zonemesh_testkit::Dig::new(&peers).at(server).tcp().query("example.com", "SOA")?;
/// assert_eq!(answer.status, "NOERROR");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Dig {
    peers: Peers,
    program: &'static str,
    options: Vec<String>,
}

impl Dig {
    /// Starts a query by BIND's `dig`: one try, two seconds, no recursion desired.
    pub fn new(peers: &Peers) -> Self {
        let options = ["+norec", "+tries=1", "+time=2", "+nocookie"];
        Self::with(peers, "bin/dig", &options)
    }

    /// Starts a query by Knot's `kdig`, which knows QUIC and key pins.
    pub fn kdig(peers: &Peers) -> Self {
        Self::with(peers, "bin/kdig", &["+norec", "+retry=0", "+time=2"])
    }

    fn with(peers: &Peers, program: &'static str, options: &[&str]) -> Self {
        Self {
            peers: peers.clone(),
            program,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    /// Asks this server.
    #[must_use]
    pub fn at(self, server: SocketAddr) -> Self {
        self.option(&format!("@{}", server.ip()))
            .option("-p")
            .option(&server.port().to_string())
    }

    /// Asks from this local address.
    #[must_use]
    pub fn from(self, address: std::net::IpAddr) -> Self {
        self.option("-b").option(&address.to_string())
    }

    /// Asks over TCP.
    #[must_use]
    pub fn tcp(self) -> Self {
        self.option("+tcp")
    }

    /// Asks over TLS, without looking at the server's certificate; see [`option`](Self::option) for pins.
    #[must_use]
    pub fn tls(self) -> Self {
        self.option("+tls")
    }

    /// Asks over QUIC with `kdig`, without looking at the server's certificate; see [`option`](Self::option) for pins.
    #[must_use]
    pub fn quic(self) -> Self {
        self.option("+quic")
    }

    /// Signs the query by TSIG: algorithm such as `hmac-sha256`, name of the key, secret in base64.
    #[must_use]
    pub fn tsig(self, algorithm: &str, name: &str, secret: &str) -> Self {
        self.option("-y")
            .option(&format!("{algorithm}:{name}:{secret}"))
    }

    /// Adds an option as on the command line, such as `+dnssec` or `+tls-pin=…`.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    ///
    /// When no answer comes; with the program's output.
    pub fn query(&self, name: &str, qtype: &str) -> Result<Answer> {
        let text = self.run(name, qtype)?;
        Answer::parse(&text).with_context(|| format!("no answer to {name} {qtype}:\n{text}"))
    }

    /// Transfers a zone (`AXFR`, or `IXFR=serial`) and returns its records in the order they came.
    ///
    /// # Errors
    ///
    /// When the transfer is refused or breaks off; with the program's output.
    pub fn transfer(&self, zone: &str, kind: &str) -> Result<Vec<String>> {
        let text = self.run(zone, kind)?;
        let records = records(&text);
        let failed = text.lines().any(|line| {
            line.starts_with(';') && (line.contains("failed") || line.contains("ERROR"))
        });
        if failed || records.is_empty() {
            bail!("the transfer of {zone} failed:\n{text}");
        }
        Ok(records)
    }

    fn run(&self, name: &str, qtype: &str) -> Result<String> {
        let mut command: Command = self.peers.command(self.program);
        // An absolute path would be the user's settings; the name goes behind -q, so that "-x" stays a name.
        command
            .env("HOME", "/nonexistent")
            .args(&self.options)
            .args(["-q", name, "-t", qtype]);
        let output = command.output().context("cannot run dig")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("no answer to {name} {qtype}:\n{text}{errors}")
    }
}

/// An answer as `dig` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The RCODE's name, such as `NXDOMAIN`.
    pub status: String,
    /// The header's flags, such as `aa`, in the order shown.
    pub flags: Vec<String>,
    /// Records of the answer section, one space between the fields.
    pub answer: Vec<String>,
    /// Records of the authority section.
    pub authority: Vec<String>,
    /// Records of the additional section, without OPT.
    pub additional: Vec<String>,
    /// All that was printed.
    pub text: String,
}

impl Answer {
    /// Says whether the header has this flag.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }

    /// Returns the data of the answer's records of one type, without name, TTL and class.
    pub fn data(&self, rtype: &str) -> Vec<String> {
        self.answer
            .iter()
            .filter_map(|record| {
                let mut fields = record.splitn(5, ' ').skip(3);
                (fields.next()? == rtype).then(|| fields.next().unwrap_or_default().to_owned())
            })
            .collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut answer = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        let mut section = None;
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("->>HEADER<<-") {
                let status = rest.split_once("status: ")?.1;
                answer.status = status.split([',', ';']).next()?.to_owned();
            } else if line.to_ascii_lowercase().starts_with(";; flags:") {
                let flags = line[";; flags:".len()..].split(';').next()?;
                answer.flags = flags.split_whitespace().map(str::to_owned).collect();
            } else if let Some(heading) = line.strip_prefix(";; ") {
                section = heading.strip_suffix(" SECTION:").map(str::to_owned);
            } else if let Some(record) = record(line) {
                match section.as_deref() {
                    Some("ANSWER") => answer.answer.push(record),
                    Some("AUTHORITY") => answer.authority.push(record),
                    Some("ADDITIONAL") => answer.additional.push(record),
                    _ => {}
                }
            }
        }
        (!answer.status.is_empty()).then_some(answer)
    }
}

fn records(text: &str) -> Vec<String> {
    text.lines().filter_map(record).collect()
}

/// A line that is a record, with single spaces. Within quotes there may be runs of spaces, which stay.
fn record(line: &str) -> Option<String> {
    if line.is_empty() || line.starts_with(';') {
        return None;
    }
    let mut fields = Vec::new();
    let mut rest = line;
    for _ in 0..4 {
        rest = rest.trim_start();
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        let (field, after) = rest.split_at(end);
        fields.push(field);
        rest = after;
    }
    fields.push(rest.trim());
    Some(fields.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIG: &str = "\
; <<>> DiG 9.20 <<>> @127.0.0.1 example.com TXT
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1
;; flags: qr aa; QUERY: 1, ANSWER: 1, AUTHORITY: 1, ADDITIONAL: 1

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags: do; udp: 1232
;; QUESTION SECTION:
;example.com.\t\tIN\tTXT

;; ANSWER SECTION:
example.com.\t60\tIN\tTXT\t\"two  spaces\"

;; AUTHORITY SECTION:
example.com.  60  IN  NS  ns.example.com.

;; Query time: 0 msec
";

    #[test]
    fn what_dig_prints_is_understood() {
        let answer = Answer::parse(DIG).unwrap();
        assert_eq!(answer.status, "NOERROR");
        assert!(answer.has_flag("aa") && !answer.has_flag("do"));
        assert_eq!(answer.answer, ["example.com. 60 IN TXT \"two  spaces\""]);
        assert_eq!(answer.data("TXT"), ["\"two  spaces\""]);
        assert_eq!(answer.authority, ["example.com. 60 IN NS ns.example.com."]);
        assert!(answer.additional.is_empty());
    }

    #[test]
    fn what_kdig_prints_is_understood() {
        let text = DIG
            .replace("QUERY, status: NOERROR, id", "QUERY; status: NXDOMAIN; id")
            .replace(";; flags:", ";; Flags:");
        let answer = Answer::parse(&text).unwrap();
        assert_eq!(answer.status, "NXDOMAIN");
        assert!(answer.has_flag("aa"));
    }

    #[test]
    fn output_without_a_header_is_no_answer() {
        assert_eq!(Answer::parse(";; no servers could be reached\n"), None);
    }
}
