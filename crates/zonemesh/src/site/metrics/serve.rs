//! The numbers of the data plane.

use std::fmt::Error;

use zonemesh_api::metrics::prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, NoLabelSet,
};
use zonemesh_api::metrics::prometheus_client::metrics::MetricType;
use zonemesh_api::metrics::prometheus_client::metrics::counter::ConstCounter;
use zonemesh_api::metrics::prometheus_client::metrics::gauge::ConstGauge;
use zonemesh_serve::metrics::{LATENCIES, RCODES, SIZES, Spread, Totals, ZoneTotals};
use zonemesh_serve::{Kind, Transport};
use zonemesh_zone::Rtype;

/// Labels of one value, and the value.
type Labelled = (Vec<(&'static str, String)>, u64);

const OPCODES: [(usize, &str); 6] = [
    (0, "QUERY"),
    (1, "IQUERY"),
    (2, "STATUS"),
    (4, "NOTIFY"),
    (5, "UPDATE"),
    (6, "DSO"),
];
/// The last is for all others (BADVERS and above).
const RCODE_NAMES: [&str; RCODES] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE", "11", "12", "13", "14", "15", "BADVERS",
];

/// Encodes what was counted by zone.
pub(super) fn encode_zones(
    zones: &[ZoneTotals],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), Error> {
    let kind = ConstCounter::new(0u64).metric_type();
    let name = |zone: &ZoneTotals| ("zone", zone.apex.fmt_with_dot().to_string());
    let mut queries = encoder.encode_descriptor(
        "zonemesh_zone_queries",
        "Questions about a zone that were answered, or of which the network had too many",
        None,
        kind,
    )?;
    for zone in zones {
        ConstCounter::new(zone.queries).encode(queries.encode_family(&[name(zone)])?)?;
    }
    let mut answers = encoder.encode_descriptor(
        "zonemesh_zone_answers",
        "Answers to questions about a zone, by kind",
        None,
        kind,
    )?;
    for zone in zones {
        for (kind, count) in Kind::ALL.into_iter().zip(zone.answers) {
            let labels = [name(zone), ("kind", kind.name().to_owned())];
            ConstCounter::new(count).encode(answers.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Encodes all of them; `connections` are those that are open.
pub(super) fn encode(
    totals: &Totals,
    connections: usize,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), Error> {
    // All values of a family under one descriptor: OpenMetrics allows only one of a name.
    let mut counters = |name: &str, help: &str, values: Vec<Labelled>| {
        let kind = ConstCounter::new(0u64).metric_type();
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        if let [(labels, count)] = &values[..]
            && labels.is_empty()
        {
            return ConstCounter::new(*count).encode(metric);
        }
        values.into_iter().try_for_each(|(labels, count)| {
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)
        })
    };
    counters(
        "zonemesh_serve_queries",
        "Messages received",
        by(
            "transport",
            Transport::ALL.map(Transport::name),
            totals.queries,
        ),
    )?;
    let named =
        OPCODES.map(|(number, name)| (vec![("opcode", name.to_owned())], totals.opcodes[number]));
    let unnamed = (0..totals.opcodes.len())
        .filter(|number| OPCODES.iter().all(|(named, _)| named != number))
        .map(|number| totals.opcodes[number])
        .sum();
    let other = (vec![("opcode", "other".to_owned())], unnamed);
    counters(
        "zonemesh_serve_opcodes",
        "Messages received that are no responses, by opcode",
        named.into_iter().chain([other]).collect(),
    )?;
    let types = totals.types.iter().map(|(number, count)| {
        let name = number.map_or_else(
            || "other".to_owned(),
            |number| Rtype::from_int(number).to_string(),
        );
        (vec![("type", name)], *count)
    });
    counters(
        "zonemesh_serve_questions",
        "Questions by type",
        types.collect(),
    )?;
    let rcodes = by("rcode", RCODE_NAMES, totals.rcodes);
    counters(
        "zonemesh_serve_answers",
        "Answers by response code, without those to transfers, NOTIFY and UPDATE",
        rcodes.into_iter().filter(|(_, count)| *count > 0).collect(),
    )?;
    let actions = [
        ("dropped", totals.limited),
        ("truncated", totals.slipped),
        ("sent", totals.would_be_limited),
    ];
    let limited = actions.into_iter().flat_map(|(action, counts)| {
        Kind::ALL.into_iter().zip(counts).map(move |(kind, count)| {
            let labels = vec![
                ("kind", kind.name().to_owned()),
                ("action", action.to_owned()),
            ];
            (labels, count)
        })
    });
    counters(
        "zonemesh_serve_rate_limited",
        "Answers over UDP that were too many for their network, and what was done: dropped, sent truncated, or sent all the same in a dry run",
        limited.collect(),
    )?;
    for (name, help, count) in [
        (
            "zonemesh_serve_dropped",
            "Messages that got no answer because they were none to answer",
            totals.dropped,
        ),
        (
            "zonemesh_serve_unready",
            "Queries that got no answer because the site is not ready",
            totals.unready,
        ),
        (
            "zonemesh_serve_truncated",
            "Answers with the TC bit",
            totals.truncated,
        ),
        (
            "zonemesh_serve_malformed",
            "Messages answered with FORMERR, and datagrams that were too long to be read",
            totals.malformed,
        ),
        (
            "zonemesh_serve_control",
            "Transfers, NOTIFYs, UPDATEs and queries with a signature",
            totals.control,
        ),
        (
            "zonemesh_serve_send_failed",
            "Answers over UDP that the system would not send",
            totals.send_failed,
        ),
        (
            "zonemesh_serve_connections",
            "Connections accepted",
            totals.connections_accepted,
        ),
        (
            "zonemesh_serve_connections_refused",
            "Connections closed at once because of a limit",
            totals.connections_refused,
        ),
        (
            "zonemesh_serve_connections_evicted",
            "Idle connections closed to make room for others",
            totals.connections_evicted,
        ),
        (
            "zonemesh_serve_connections_timed_out",
            "Connections closed because the client was silent or did not read",
            totals.connections_timed_out,
        ),
        (
            "zonemesh_serve_tls_failed",
            "TLS handshakes that failed, those within QUIC included",
            totals.tls_failed,
        ),
    ] {
        counters(name, help, vec![(Vec::new(), count)])?;
    }
    let open = ConstGauge::new(i64::try_from(connections).unwrap_or(i64::MAX));
    let metric = encoder.encode_descriptor(
        "zonemesh_serve_connections_open",
        "Connections over TCP, TLS and QUIC that are open",
        None,
        open.metric_type(),
    )?;
    open.encode(metric)?;
    histograms(
        encoder,
        "zonemesh_serve_answer_size_bytes",
        "Sizes of answers",
        (&SIZES, 1.0),
        &totals.sizes,
    )?;
    histograms(
        encoder,
        "zonemesh_serve_latency_seconds",
        "How long questions are with the server: over UDP until the system has the answer, over the others until it is made",
        (&LATENCIES, 1e6),
        &totals.latencies,
    )
}

/// Values with one label.
fn by<const N: usize>(label: &'static str, names: [&str; N], counts: [u64; N]) -> Vec<Labelled> {
    let labels = names.map(|name| vec![(label, name.to_owned())]);
    labels.into_iter().zip(counts).collect()
}

/// One histogram for each transport; bounds and sums are parts of a unit, so many to the whole.
fn histograms(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    (bounds, parts): (&[u64], f64),
    spreads: &[Spread; 4],
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (transport, spread) in Transport::ALL.into_iter().zip(spreads) {
        let bounds = bounds.iter().map(|bound| *bound as f64 / parts);
        let buckets: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .zip(spread.counts.iter().copied())
            .collect();
        let count = spread.counts.iter().sum();
        metric
            .encode_family(&[("transport", transport.name())])?
            .encode_histogram::<NoLabelSet>(spread.sum as f64 / parts, count, &buckets, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zonemesh_api::metrics::prometheus_client::collector::Collector;
    use zonemesh_api::metrics::prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Fixed(Totals);

    impl Collector for Fixed {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
            encode(&self.0, 3, &mut encoder)
        }
    }

    fn text(totals: Totals) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Fixed(totals)));
        zonemesh_api::metrics::text(&registry)
    }

    #[test]
    fn all_that_is_counted_is_told_by_its_name() {
        let mut totals = Totals {
            queries: [9, 0, 0, 2],
            types: vec![(Some(28), 5), (Some(257), 1), (None, 2)],
            limited: [7, 0, 0, 0],
            slipped: [0, 0, 0, 6],
            truncated: 4,
            ..Totals::default()
        };
        totals.opcodes[4] = 1;
        totals.opcodes[9] = 2;
        totals.opcodes[12] = 2;
        totals.rcodes[3] = 8;
        totals.rcodes[16] = 1;
        totals.latencies[0] = Spread {
            counts: (0..14).collect(),
            sum: 2_500_000,
        };
        totals.sizes[3] = Spread {
            counts: vec![1; 11],
            sum: 100,
        };
        let text = text(totals);
        for line in [
            "zonemesh_serve_queries_total{transport=\"udp\"} 9",
            "zonemesh_serve_queries_total{transport=\"quic\"} 2",
            "zonemesh_serve_opcodes_total{opcode=\"NOTIFY\"} 1",
            "zonemesh_serve_opcodes_total{opcode=\"other\"} 4",
            "zonemesh_serve_questions_total{type=\"AAAA\"} 5",
            "zonemesh_serve_questions_total{type=\"CAA\"} 1",
            "zonemesh_serve_questions_total{type=\"other\"} 2",
            "zonemesh_serve_answers_total{rcode=\"NXDOMAIN\"} 8",
            "zonemesh_serve_answers_total{rcode=\"BADVERS\"} 1",
            "zonemesh_serve_rate_limited_total{kind=\"positive\",action=\"dropped\"} 7",
            "zonemesh_serve_rate_limited_total{kind=\"error\",action=\"truncated\"} 6",
            "zonemesh_serve_truncated_total 4",
            "zonemesh_serve_connections_open 3",
            "zonemesh_serve_latency_seconds_bucket{le=\"0.00002\",transport=\"udp\"} 1",
            "zonemesh_serve_latency_seconds_bucket{le=\"+Inf\",transport=\"udp\"} 91",
            "zonemesh_serve_latency_seconds_sum{transport=\"udp\"} 2.5",
            "zonemesh_serve_latency_seconds_count{transport=\"udp\"} 91",
            "zonemesh_serve_answer_size_bytes_bucket{le=\"64.0\",transport=\"quic\"} 1",
            "zonemesh_serve_answer_size_bytes_count{transport=\"quic\"} 11",
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "no {line} in\n{text}"
            );
        }
    }
}
