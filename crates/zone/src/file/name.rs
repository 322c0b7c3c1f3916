//! Reads domain names in presentation format (RFC 1035 §5.1, RFC 4343 §2.1), without an allocation.

use bytes::Bytes;
use domain::base::scan::ScannerError;

use super::scan::{Result, ScanError, escape};
use crate::Name;
use crate::version::NameRef;

/// Room for one name in wire format.
#[derive(Clone)]
pub(super) struct NameBuffer {
    len: usize,
    bytes: [u8; 255],
}

impl NameBuffer {
    pub(super) fn new() -> Self {
        Self {
            len: 0,
            bytes: [0; 255],
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The name; none when nothing was read.
    pub(super) fn as_name(&self) -> Option<&NameRef> {
        NameRef::from_slice(self.as_slice()).ok()
    }

    pub(super) fn to_name(&self) -> Result<Name> {
        Name::from_octets(Bytes::copy_from_slice(self.as_slice()))
            .map_err(|error| ScanError::new(format!("not a domain name: {error}")))
    }

    /// Reads a name; a relative one is completed by the origin.
    pub(super) fn parse(&mut self, raw: &[u8], quoted: bool, origin: Option<&Name>) -> Result<()> {
        self.len = 0;
        if raw == b"." {
            return self.push(0);
        }
        if raw == b"@" && !quoted {
            return self.finish(origin);
        }
        if raw.is_empty() {
            return Err(ScanError::custom(
                "an empty domain name; write `@` for the origin",
            ));
        }
        let mut at = 0;
        // Where the length of the label stands that is being read.
        let mut label = self.len;
        self.push(0)?;
        while let Some(&byte) = raw.get(at) {
            match byte {
                b'.' => {
                    self.end_label(label)?;
                    at += 1;
                    label = self.len;
                    self.push(0)?;
                    if at == raw.len() {
                        return Ok(());
                    }
                }
                b'\\' => {
                    let octet = escape(raw, &mut at)?;
                    self.push(octet)?;
                }
                _ => {
                    self.push(byte)?;
                    at += 1;
                }
            }
        }
        self.end_label(label)?;
        self.finish(origin)
    }

    fn end_label(&mut self, label: usize) -> Result<()> {
        let len = self.len - label - 1;
        match len {
            0 => Err(ScanError::custom(
                "an empty label in a domain name; expected one dot between labels, and none before the first",
            )),
            1..=63 => {
                self.bytes[label] = len as u8;
                Ok(())
            }
            _ => Err(ScanError::new(format!(
                "a label of {len} octets in a domain name; expected at most 63"
            ))),
        }
    }

    fn push(&mut self, octet: u8) -> Result<()> {
        let Some(slot) = self.bytes.get_mut(self.len) else {
            return Err(too_long());
        };
        *slot = octet;
        self.len += 1;
        Ok(())
    }

    fn finish(&mut self, origin: Option<&Name>) -> Result<()> {
        let origin = origin
            .ok_or_else(|| {
                ScanError::custom(
                    "a relative name, and the zone's name is not known yet; end the name with a dot, or begin the file with $ORIGIN",
                )
            })?
            .as_slice();
        let end = self.len + origin.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or_else(too_long)?
            .copy_from_slice(origin);
        self.len = end;
        Ok(())
    }
}

fn too_long() -> ScanError {
    ScanError::custom(
        "a domain name of more than 255 octets, the origin included; end it with a dot if it is complete",
    )
}
