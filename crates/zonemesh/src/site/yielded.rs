//! What this site wrote while another one was the writer, as its store keeps it.
//!
//! An operator makes it again, or throws it away. What the zone has come to say in the meantime, all of it, is kept no longer: a
//! site that followed the one that yielded has the same set aside, and nobody should have to go round and say so at each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use zonemesh_mesh::core::{Fate, YIELDED, Yielded};
use zonemesh_store::Batch;
use zonemesh_zone::Zone;

use super::live::Live;
use super::pool::chain;

/// How often what is kept is held against what is served.
const LOOK: Duration = Duration::from_secs(5);

/// All that is kept, by its id.
///
/// # Errors
///
/// When the store cannot be read, or has something else there.
pub(super) async fn kept(live: &Live) -> anyhow::Result<Vec<(String, Yielded)>> {
    let store = live.store.clone();
    let read = move || {
        let stored = store.list(YIELDED)?.into_iter();
        let read = stored.map(|(id, value)| {
            let kept = Yielded::decode(&value)
                .map_err(|why| anyhow!("what was set aside as {id} cannot be read: {why}"))?;
            Ok((id, kept))
        });
        read.collect()
    };
    tokio::task::spawn_blocking(read).await?
}

/// The version that is held of the zone of which something was set aside.
///
/// # Errors
///
/// When the site stops.
pub(super) async fn head(live: &Live, kept: &Yielded) -> anyhow::Result<Option<Zone>> {
    let apex = kept.zone.clone();
    let head = live.core.look(move |core, _| core.head(&apex).cloned());
    head.await.ok().context("the site is stopping")
}

/// Throws away what is kept under an id.
///
/// # Errors
///
/// When the store does not take it.
pub(super) async fn forget(live: &Live, id: String) -> anyhow::Result<()> {
    let (store, key) = (live.store.clone(), id.clone());
    let delete = move || store.commit(Batch::new(Timestamp::now()).delete(YIELDED, &key));
    tokio::task::spawn_blocking(delete).await??;
    live.yields_no_longer(&id);
    Ok(())
}

/// Forgets what is served after all, as long as the site runs.
pub(super) async fn settle(live: Arc<Live>) {
    let mut every = tokio::time::interval(LOOK);
    loop {
        every.tick().await;
        if live.yielded.load().is_empty() {
            continue;
        }
        if let Err(error) = forget_what_is_served(&live).await {
            let error = chain(error.as_ref());
            tracing::warn!(error, "what was set aside could not be looked through");
        }
    }
}

async fn forget_what_is_served(live: &Live) -> anyhow::Result<()> {
    for (id, kept) in kept(live).await? {
        let Some(head) = head(live, &kept).await? else {
            continue;
        };
        if is_served(&kept, &head) {
            tracing::info!(id, zone = %kept.zone, "all that was set aside is served by now");
            forget(live, id).await?;
        }
    }
    Ok(())
}

/// Whether a version of the zone says all that was set aside, and is not the very version that was yielded: the one that took its
/// place may be in the store and not here yet.
fn is_served(kept: &Yielded, head: &Zone) -> bool {
    head.serial().into_int() != kept.mine
        && kept
            .fates(head)
            .is_ok_and(|fates| fates.iter().all(|fate| *fate == Fate::There))
}

#[cfg(test)]
mod tests {
    use zonemesh_mesh::core::Yield;
    use zonemesh_zone::record::parse_name;
    use zonemesh_zone::{Editor, Record};

    use super::*;

    fn zone(serial: u32, names: &[&str]) -> Zone {
        let apex = parse_name("example").unwrap();
        let mut editor = Editor::new(apex.clone());
        let soa = format!("@ 60 IN SOA ns hostmaster {serial} 60 60 600 60");
        let hosts = names.iter().map(|name| format!("{name} 60 IN A 192.0.2.1"));
        for line in std::iter::once(soa).chain(hosts) {
            editor
                .add(Record::from_text(&line, &apex).unwrap())
                .unwrap();
        }
        editor.finish().unwrap()
    }

    #[test]
    fn what_was_set_aside_is_served_when_a_later_version_says_all_of_it() {
        let (mine, theirs) = (zone(3, &["a", "b", "c"]), zone(2, &["a"]));
        let set_aside = |name: &str| Yield {
            owner: parse_name(&format!("{name}.example")).unwrap(),
            rtype: "A".to_owned(),
            before: Vec::new(),
            after: vec![format!("{name}.example. 60 IN A 192.0.2.1")],
        };
        let kept = Yielded {
            version: 1,
            zone: mine.apex().clone(),
            at: 0,
            why: String::new(),
            common: Some(1),
            mine: 3,
            theirs: 2,
            changes: vec![set_aside("b"), set_aside("c")],
            tombstones: Vec::new(),
        };
        assert!(!is_served(&kept, &theirs));
        assert!(
            !is_served(&kept, &mine),
            "the other's version is not here yet"
        );
        assert!(!is_served(&kept, &zone(4, &["a", "b"])), "a part");
        assert!(is_served(&kept, &zone(5, &["a", "b", "c", "d"])));
    }
}
