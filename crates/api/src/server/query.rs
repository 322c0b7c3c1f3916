//! Parameters in query strings. Flat, because query strings have no types to unflatten by.

use serde::{Deserialize, Serialize};

use crate::types::{ImportZone, Wait};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ZoneQuery {
    pub(crate) zone: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExportQuery {
    pub(crate) zone: String,
    pub(crate) serial: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DiffQuery {
    pub(crate) zone: String,
    pub(crate) from: Option<u32>,
    pub(crate) to: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordQuery {
    pub(crate) zone: String,
    pub(crate) name: Option<String>,
    #[serde(rename = "type")]
    pub(crate) rtype: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ImportQuery {
    pub(crate) zone: String,
    pub(crate) file: Option<String>,
    #[serde(default)]
    pub(crate) dry_run: bool,
    pub(crate) wait_ms: Option<u64>,
}

impl ImportQuery {
    pub(crate) fn into_request(self, text: String) -> ImportZone {
        ImportZone {
            zone: self.zone,
            text,
            file: self.file,
            dry_run: self.dry_run,
            wait: Wait {
                wait_ms: self.wait_ms,
            },
        }
    }
}

/// Appends a parameter to a path, percent-encoded (RFC 3986 §2.1).
pub(crate) fn push(path: &mut String, key: &str, value: &str) {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(key);
    path.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
}
