//! Versions of a zone over the control socket: export, compare, check, history.

use tokio::sync::mpsc;
use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_store::{Beginning, HistoryEntry, Origin};
use zonemesh_zone::directory::Directory;
use zonemesh_zone::{By, Diff, Name, Rtype, Serial, Zone, check, file};

use super::Control;
use super::convert::{difference, finding, name_text, zone_name};

impl Control {
    pub(super) async fn export(
        &self,
        zone: String,
        serial: Option<u32>,
    ) -> Result<zonemesh_api::site::TextStream, ApiError> {
        let apex = zone_name(&zone)?;
        let zone = self.version(&apex, serial.map(Serial)).await?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            let mut out = Chunks {
                sender,
                buffer: Vec::with_capacity(CHUNK),
            };
            // An error here means that the reader has gone.
            if file::write(&zone, &mut out)
                .and_then(|()| std::io::Write::flush(&mut out))
                .is_err()
            {
                tracing::debug!(zone = %zone.apex(), "the reader of an export has gone");
            }
        });
        Ok(receiver)
    }

    pub(super) async fn version(
        &self,
        apex: &Name,
        serial: Option<Serial>,
    ) -> Result<Zone, ApiError> {
        let name = apex.clone();
        let current = self
            .live
            .core
            .look(move |core, _| core.zone(&name).map(|view| view.zone.cloned()))
            .await
            .map_err(super::stopped)?
            .ok_or_else(|| not_found(apex))?
            .ok_or_else(|| ApiError::unavailable(format!("nothing is held of {apex} yet")))?;
        let Some(serial) = serial.filter(|serial| *serial != current.serial()) else {
            return Ok(current);
        };
        let store = self.live.store.clone();
        let name = apex.clone();
        super::blocking(move || {
            store
                .version_at(&name, serial)
                .map_err(|error| ApiError::internal(error.to_string()))
        })
        .await?
        .ok_or_else(|| {
            ApiError::not_found(format!("version {serial} of {apex} is not known")).hint(format!(
                "`zonemesh zone history {apex}` lists those that are"
            ))
        })
    }

    pub(super) async fn diff(
        &self,
        zone: String,
        from: Option<u32>,
        to: Option<u32>,
    ) -> Result<api::Difference, ApiError> {
        let apex = zone_name(&zone)?;
        let newer = self.version(&apex, to.map(Serial)).await?;
        let from = match from {
            Some(from) => from,
            None => self
                .history(&apex)
                .await?
                .into_iter()
                .find(|entry| entry.to == newer.serial().into_int())
                .and_then(|entry| entry.from)
                .ok_or_else(|| {
                    ApiError::not_found(format!(
                        "version {} of {apex} has none before it",
                        newer.serial()
                    ))
                })?,
        };
        let older = self.version(&apex, Some(Serial(from))).await?;
        let diff: Diff = older.diff(&newer);
        Ok(difference(&apex, &[diff]))
    }

    pub(super) async fn history(&self, apex: &Name) -> Result<Vec<api::HistoryEntry>, ApiError> {
        let store = self.live.store.clone();
        let name = apex.clone();
        let (entries, beginning) = super::blocking(move || {
            let failed = |error: zonemesh_store::ReadError| ApiError::internal(error.to_string());
            let entries = store.history(&name).map_err(failed)?;
            Ok((entries, store.beginning(&name).map_err(failed)?))
        })
        .await?;
        let entries = entries.into_iter().rev().map(history_entry);
        Ok(entries.chain(beginning.map(first_entry)).collect())
    }

    pub(super) async fn check(&self, zone: String) -> Result<Vec<api::Finding>, ApiError> {
        let zone = self.version(&zone_name(&zone)?, None).await?;
        let directory = self.live.directory.load_full();
        super::blocking(move || {
            let mut found: Vec<api::Finding> = check::check(&zone).iter().map(finding).collect();
            if let Some(directory) = directory.as_ref() {
                found.extend(
                    gone_servers(&zone, directory)
                        .iter()
                        .map(|server| api::Finding {
                            severity: api::Severity::Warning,
                            file: None,
                            line: None,
                            column: None,
                            zone: name_text(zone.apex()),
                            name: Some(name_text(zone.apex())),
                            rtype: Some("NS".to_owned()),
                            message: format!(
                                "{server} is not a site of this mesh, and does not resolve"
                            ),
                        }),
                );
            }
            Ok(found)
        })
        .await
    }
}

/// The servers of a zone that are named as sites of the mesh and are none, as after one was removed.
pub(super) fn gone_servers(zone: &Zone, directory: &Directory) -> Vec<String> {
    let servers = zone.rrset(zone.apex(), Rtype::NS).into_iter();
    let servers = servers.flat_map(|set| {
        let names = set
            .iter()
            .map(|rdata| Name::from_octets(rdata.to_vec().into()));
        names.filter_map(Result::ok).collect::<Vec<Name>>()
    });
    let is_gone = |server: &Name| {
        let sites = directory.sites.keys();
        let mut names = sites.filter_map(|site| site.under(&directory.apex).ok());
        *server != directory.apex
            && server.ends_with(&directory.apex)
            && !names.any(|name| name == *server)
    };
    let gone = servers.filter(is_gone);
    gone.map(|server| name_text(&server)).collect()
}

fn history_entry(entry: HistoryEntry) -> api::HistoryEntry {
    api::HistoryEntry {
        from: Some(entry.from.into_int()),
        to: entry.to.into_int(),
        at: entry.at,
        removed: entry.removed as u64,
        added: entry.added as u64,
        origin: origin_text(&entry.origin),
        author: author(entry.origin),
    }
}

/// The version that the history begins with.
fn first_entry(beginning: Beginning) -> api::HistoryEntry {
    api::HistoryEntry {
        from: None,
        to: beginning.serial.into_int(),
        at: beginning.at,
        removed: 0,
        added: beginning.records,
        origin: origin_text(&beginning.origin),
        author: author(beginning.origin),
    }
}

fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::Local => "this site".to_owned(),
        Origin::Made { by } => by.to_string(),
        Origin::Transfer { from } | Origin::Forced { from } => format!("transfer from {from}"),
    }
}

fn author(origin: Origin) -> Option<api::Author> {
    let Origin::Made { by: author } = origin else {
        return None;
    };
    let by = match author.by {
        By::Operator => "operator",
        By::Update => "update",
        By::Site => "site",
        By::File => "file",
    };
    Some(api::Author {
        by: by.to_owned(),
        who: author.who,
        from: author.from,
    })
}

fn not_found(apex: &Name) -> ApiError {
    ApiError::not_found(format!("{apex} is not a zone of this site"))
        .hint("`zonemesh zone list` shows those that are")
}

const CHUNK: usize = 64 * 1024;

/// A writer whose pieces go to a reader elsewhere.
struct Chunks {
    sender: mpsc::Sender<Result<String, ApiError>>,
    buffer: Vec<u8>,
}

impl std::io::Write for Chunks {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.buffer).into_owned();
        self.buffer.clear();
        self.sender
            .blocking_send(Ok(text))
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zonemesh_zone::record::parse_name;
    use zonemesh_zone::{Editor, Record};

    fn zone(apex: &str, lines: &[&str]) -> Zone {
        let apex = parse_name(apex).unwrap();
        let mut editor = Editor::new(apex.clone());
        for line in lines.iter().chain(&["@ 60 IN SOA ns root 1 2 3 4 5"]) {
            editor.add(Record::from_text(line, &apex).unwrap()).unwrap();
        }
        editor.finish().unwrap()
    }

    #[test]
    fn a_server_that_is_no_site_any_longer_is_found_and_no_other() {
        let mut directory = Directory::read(&zone("dns.internal", &[]));
        let of = |directory: &Directory| {
            let servers = ["@ 60 IN NS site-a.dns.internal.", "@ 60 IN NS ns.example."];
            gone_servers(&zone("a.example", &servers), directory)
        };
        assert_eq!(of(&directory), ["site-a.dns.internal."]);
        let name: zonemesh_zone::directory::SiteName = "site-a".parse().unwrap();
        directory.sites.insert(
            name.clone(),
            zonemesh_zone::directory::Site {
                name,
                addresses: Vec::new(),
                dot: None,
                doq: None,
                dns: None,
                pins: Vec::new(),
                role: zonemesh_zone::directory::Role::Standard,
                engine: String::new(),
                failure_domain: None,
            },
        );
        assert_eq!(of(&directory), [""; 0]);
    }
}
