//! The numbers of a site, as OpenMetrics. Read from where they are kept when somebody asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use zonemesh_api::metrics::prometheus_client::collector::Collector;
use zonemesh_api::metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use zonemesh_api::metrics::prometheus_client::metrics::counter::ConstCounter;
use zonemesh_api::metrics::prometheus_client::metrics::gauge::ConstGauge;
use zonemesh_api::metrics::prometheus_client::registry::Registry;

use super::live::{ASKED, Live};

mod serve;

/// All metrics of a site.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(live: Arc<Live>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Numbers(live)));
        Self { registry }
    }

    pub(crate) fn text(&self) -> String {
        zonemesh_api::metrics::text(&self.registry)
    }
}

struct Numbers(Arc<Live>);

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Numbers")
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let live = &self.0;
        let totals = live.shared.metrics.totals();
        serve::encode(&totals, live.listeners.connections(), &mut encoder)?;
        if live.shared.settings.load().per_zone {
            let zones = live.shared.metrics.zones(&live.shared.zones.load());
            serve::encode_zones(&zones, &mut encoder)?;
        }
        // All values of a family under one descriptor: OpenMetrics allows only one of a name.
        let mut family =
            |name: &str, help: &str, label: &'static str, values: Vec<(String, u64)>| {
                let kind = ConstCounter::new(0u64).metric_type();
                let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
                values.into_iter().try_for_each(|(value, count)| {
                    ConstCounter::new(count).encode(metric.encode_family(&[(label, value)])?)
                })
            };
        let asked = live.asked.iter().map(|count| count.load(Ordering::Relaxed));
        family(
            "zonemesh_peer_requests",
            "What peers were asked for: probes, transfers with the question that comes first, NOTIFYs, entries in the directory, comparisons of contents, serials of foreign secondaries",
            "kind",
            ASKED.map(str::to_owned).into_iter().zip(asked).collect(),
        )?;
        let mut counter =
            |name: &str, help: &str, labels: &[(&'static str, String)], value: u64| {
                let counter = ConstCounter::new(value);
                let mut metric =
                    encoder.encode_descriptor(name, help, None, counter.metric_type())?;
                counter.encode(metric.encode_family(&labels)?)
            };
        counter(
            "zonemesh_requests_dropped",
            "Transfers, NOTIFYs and UPDATEs dropped because too many were under way",
            &[],
            live.refused_busy.load(Ordering::Relaxed),
        )?;
        counter(
            "zonemesh_store_transactions",
            "Transactions made durable",
            &[],
            live.store.transactions(),
        )?;
        counter(
            "zonemesh_removed_site_knocks",
            "Requests with the key of a site that was removed",
            &[],
            live.knocks().1,
        )?;
        let (waiting, left_out) = live.progress.backlog();
        counter(
            "zonemesh_store_notes_left_out",
            "Notes about zones that were not stored because the disk did not keep up",
            &[],
            left_out,
        )?;
        let seen = live.progress.seen();
        let mut gauges =
            |name: &str, help: &str, label: &'static str, values: Vec<(String, f64)>| {
                let kind = ConstGauge::new(0f64).metric_type();
                let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
                values.into_iter().try_for_each(|(value, number)| {
                    ConstGauge::new(number).encode(metric.encode_family(&[(label, value)])?)
                })
            };
        gauges(
            "zonemesh_clock_offset_seconds",
            "How far the clock of a peer is ahead of this site's",
            "peer",
            seen.offsets
                .iter()
                .map(|(peer, ahead_ms)| (peer.clone(), *ahead_ms as f64 / 1000.0))
                .collect(),
        )?;
        gauges(
            "zonemesh_peer_up",
            "Whether a peer answers",
            "peer",
            seen.peers
                .iter()
                .map(|(peer, up)| (peer.clone(), f64::from(u8::from(*up))))
                .collect(),
        )?;
        let steps = live.progress.steps();
        gauges(
            "zonemesh_progress_under_way_seconds",
            "For how long a part of the site has been at what it does: 10 s and more is stuck",
            "part",
            steps
                .iter()
                .map(|(part, since, _)| ((*part).to_owned(), since.as_secs_f64()))
                .collect(),
        )?;
        gauges(
            "zonemesh_progress_last_success_timestamp_seconds",
            "When a part of the site was last done with something",
            "part",
            steps
                .iter()
                .filter(|(_, _, done)| *done > 0)
                .map(|(part, _, done)| ((*part).to_owned(), *done as f64))
                .collect(),
        )?;
        let mut gauge = |name: &str, help: &str, value: i64| {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)
        };
        let zones = live.shared.zones.load();
        gauge(
            "zonemesh_store_changes_waiting",
            "Changes that wait for the disk",
            waiting as i64,
        )?;
        if let Some(room) = live.progress.room() {
            let inodes = i64::try_from(room.free_inodes).unwrap_or(i64::MAX);
            let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            gauge(
                "zonemesh_disk_free_bytes",
                "What the site may still write on the file system of its data directory",
                bytes(room.free),
            )?;
            gauge(
                "zonemesh_disk_size_bytes",
                "The size of that file system",
                bytes(room.size),
            )?;
            gauge(
                "zonemesh_disk_free_inodes",
                "Files that may still be made on it; 0 where it does not count them",
                inodes,
            )?;
        }
        gauge(
            "zonemesh_zones_differing",
            "Zones of which another site has other contents under the same serial",
            seen.differing as i64,
        )?;
        if let Some(at) = seen.reconciled {
            gauge(
                "zonemesh_reconcile_last_success_timestamp_seconds",
                "When directory and catalog were last read and the plan made of them carried out",
                at,
            )?;
        }
        if let Some(at) = seen.next_expiry {
            gauge(
                "zonemesh_zones_next_expiry_timestamp_seconds",
                "When the next zone expires if no source confirms it until then",
                at,
            )?;
        }
        gauge(
            "zonemesh_zones_expiring",
            "Zones for which half of the time until they expire is over",
            seen.expiring as i64,
        )?;
        gauge(
            "zonemesh_zones_expired",
            "Zones that have expired",
            seen.expired as i64,
        )?;
        gauge(
            "zonemesh_site_ready",
            "Whether the site holds all that it is to serve",
            i64::from(live.shared.ready.load(Ordering::Acquire)),
        )?;
        gauge(
            "zonemesh_zones",
            "Zones that the site is to serve",
            zones.len() as i64,
        )?;
        gauge(
            "zonemesh_zones_missing",
            "Zones that are not held, or have expired",
            zones.iter().filter(|zone| zone.zone.is_none()).count() as i64,
        )?;
        gauge(
            "zonemesh_records",
            "Records in all zones",
            zones
                .iter()
                .filter_map(|zone| zone.zone.as_ref())
                .map(|zone| zone.record_count() as i64)
                .sum(),
        )
    }
}
