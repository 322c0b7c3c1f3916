//! Versions of a zone over the control socket: export, compare, check, history.

use tokio::sync::mpsc;
use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_store::{Beginning, HistoryEntry, Origin};
use zonemesh_zone::{By, Diff, Name, Serial, Zone, check, file};

use super::Control;
use super::convert::{difference, finding, zone_name};

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
        super::blocking(move || Ok(check::check(&zone).iter().map(finding).collect())).await
    }
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
