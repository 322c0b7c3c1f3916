//! Zones made from a seed: the same in every run, on every machine.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use zonemesh_testkit::query::qtype;

/// The seed of all zones.
const SEED: u32 = 0x5A4E_4D01;

/// The zone that most parts use.
pub(crate) const ZONE: &str = "bench.test";

/// The catalog zone.
pub(crate) const CATALOG: &str = "catalog.test";

/// Its first serial.
pub(crate) const SERIAL: u32 = 1;

/// In which order the names of a zone file come: where that is how a server lays out its memory, it pays for it as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Of no alphabet, as they were added.
    Added,
    /// Of the names, as most servers write zone files and send zones.
    Names,
}

/// Writes a zone of so many records as a zone file: an SOA, an NS, its address, and names with one record each, in the order of
/// no alphabet. Six in ten have an IPv4 address, two an IPv6 address, one a text, one a mail server.
pub(crate) fn write(path: &Path, apex: &str, records: usize) -> Result<()> {
    write_in(path, apex, records, Order::Added)
}

/// The same in another order.
pub(crate) fn write_in(path: &Path, apex: &str, records: usize, order: Order) -> Result<()> {
    let mut names: Vec<u32> = (0..records.saturating_sub(3) as u32).collect();
    if order == Order::Names {
        names.sort_by_cached_key(|index| name(*index));
    }
    let put = || {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        writeln!(
            file,
            "$ORIGIN {apex}.\n$TTL 3600\n@ SOA ns hostmaster {SERIAL} 86400 3600 3628800 300\n@ NS ns\nns A 192.0.2.53"
        )?;
        for index in &names {
            record(&mut file, *index)?;
        }
        file.flush()
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

/// The name of one of many zones, such as the members of the catalog; all are of one length.
pub(crate) fn member(number: usize) -> String {
    format!("m{number:06}.members.test")
}

/// Writes the catalog of so many members as a zone file (RFC 9432).
pub(crate) fn write_catalog(path: &Path, members: usize) -> Result<()> {
    let put = || {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(
            file,
            "$ORIGIN {CATALOG}.\n$TTL 0\n@ SOA invalid. invalid. {SERIAL} 86400 3600 3628800 0\n@ NS invalid.\nversion TXT 2"
        )?;
        for number in 0..members {
            writeln!(file, "n{number}.zones PTR {}.", member(number))?;
        }
        file.flush()
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes what each of many zones has.
pub(crate) fn write_member(path: &Path) -> Result<()> {
    let text = format!(
        "$TTL 3600\n@ SOA ns.example. hostmaster.example. {SERIAL} 86400 3600 3628800 300\n@ NS ns.example.\n@ MX 10 mail\n\
         mail A 192.0.2.1\nwww A 192.0.2.2\nwww AAAA 2001:db8::2\n"
    );
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn record(file: &mut impl Write, index: u32) -> std::io::Result<()> {
    let name = name(index);
    let random = contents(index);
    let [a, b, c, d] = random.to_be_bytes();
    match qtype_of(index) {
        qtype::A => writeln!(file, "{name} A 10.{b}.{c}.{d}"),
        qtype::AAAA => writeln!(file, "{name} AAAA 2001:db8:{a:x}:{b:x}::{c:x}:{d:x}"),
        qtype::TXT => writeln!(
            file,
            "{name} TXT \"v=bench1 {random:08x} {:08x}\"",
            mix(random)
        ),
        _ => writeln!(file, "{name} MX 10 mail{}", random % 100),
    }
}

/// The name of a record, without the zone's; each number has another.
pub(crate) fn name(index: u32) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut rest = mix(index);
    let mut name = String::from("h");
    for _ in 0..7 {
        name.push(char::from(DIGITS[(rest % 32) as usize]));
        rest /= 32;
    }
    name
}

/// What a record holds is made of this.
fn contents(index: u32) -> u32 {
    mix(index ^ 0x9E37_79B9)
}

/// The type of a record.
pub(crate) fn qtype_of(index: u32) -> u16 {
    match contents(index) % 10 {
        0..=5 => qtype::A,
        6..=7 => qtype::AAAA,
        8 => qtype::TXT,
        _ => qtype::MX,
    }
}

/// Mixes the bits of a number so that no two numbers become one.
pub(crate) fn mix(number: u32) -> u32 {
    let mut x = number ^ SEED;
    x = (x ^ x >> 16).wrapping_mul(0x7FEB_352D);
    x = (x ^ x >> 15).wrapping_mul(0x846C_A68B);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_do_not_repeat() {
        let names: HashSet<String> = (0..200_000).map(name).collect();
        assert_eq!(names.len(), 200_000);
    }

    #[test]
    fn a_zone_is_the_same_each_time_and_has_as_many_records_as_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str| {
            let path = folder.path().join(name);
            write(&path, ZONE, 500).unwrap();
            std::fs::read_to_string(path).unwrap()
        };
        assert_eq!(text("a"), text("b"));
        // Two lines are directives.
        assert_eq!(text("a").lines().count(), 502);
    }
}
