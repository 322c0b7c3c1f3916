//! The effective configuration as TOML: every default spelled out, no secret shown.

use std::fmt::Write as _;

use super::*;

/// Writes a configuration as a file that would load to the same, apart from its secrets.
pub fn text(config: &Config) -> String {
    let mut out = Writer(String::new());
    for (key, text) in [
        ("nsid", &config.nsid),
        ("version", &config.version),
        ("identity", &config.identity),
    ] {
        if let Some(text) = text {
            out.string(key, text);
        }
    }
    if let Some(cookies) = &config.cookies {
        out.string("cookie-secret-file", &cookies.path.display().to_string());
    }
    out.table("[site]");
    out.string("name", &config.site.name);
    if config.mesh.is_some() {
        out.string("role", config.site.role.as_str());
    }
    out.list(
        "addresses",
        config.site.addresses.iter().map(ToString::to_string),
    );
    out.string("data-dir", &config.site.data_dir.display().to_string());
    if let Some(domain) = &config.site.failure_domain {
        out.string("failure-domain", domain);
    }
    if config.mesh.is_some() {
        out.string("transport", config.site.transport.as_str());
    }
    out.table("[listen]");
    out.list("dns", config.listen.dns.iter().map(ToString::to_string));
    out.list("tls", config.listen.tls.iter().map(ToString::to_string));
    out.list("quic", config.listen.quic.iter().map(ToString::to_string));
    out.list("http", config.listen.http.iter().map(ToString::to_string));
    if let Some(mesh) = &config.mesh {
        out.table("[directory]");
        out.string("name", &mesh.directory.to_string());
        out.raw("legacy-txt", mesh.legacy_txt);
        if let Some(file) = &mesh.directory_import {
            out.string("import", &file.display().to_string());
        }
        out.table("[catalog]");
        out.string("name", &mesh.catalog.to_string());
        out.names("notify", &mesh.catalog_notify);
        if let Some(file) = &mesh.catalog_import {
            out.string("import", &file.display().to_string());
        }
    }
    out.table("[log]");
    out.string("level", &config.log.level);
    out.string(
        "format",
        match config.log.format {
            LogFormat::Auto => "auto",
            LogFormat::Human => "human",
            LogFormat::Json => "json",
        },
    );
    out.table("[limits]");
    out.raw("tcp-connections", config.limits.tcp_connections);
    out.raw("per-client", config.limits.per_client);
    out.string(
        "idle-timeout",
        &format!("{}s", config.limits.idle_timeout.as_secs()),
    );
    out.raw("udp-payload", config.limits.udp_payload);
    out.raw("workers", config.limits.workers);
    out.rate(&config.rate);
    out.table("[metrics]");
    out.raw("per-zone", config.per_zone);
    if config.history != Kept::default() {
        out.table("[history]");
        out.kept("size", "age", config.history);
    }
    for key in &config.keys {
        out.table("[[key]]");
        out.string("name", &key.name.to_string());
        out.string("algorithm", &key.algorithm.to_string());
        out.comment(&format!(
            "secret of {} bits, not shown",
            key.secret.expose().len() * 8
        ));
    }
    for peer in &config.peers {
        out.peer(peer);
    }
    for group in &config.groups {
        out.table("[[group]]");
        out.string("name", &group.name);
        out.names("primaries", &group.primaries);
        out.names("notify", &group.notify);
        out.rules("allow-transfer", &group.allow_transfer);
    }
    for zone in &config.zones {
        out.zone(zone);
    }
    out.0
}

struct Writer(String);

impl Writer {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        let written = writeln!(self.0, "{line}");
        debug_assert!(written.is_ok(), "writing to a `String` does not fail");
    }

    fn table(&mut self, header: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.line(format_args!("{header}"));
    }

    fn comment(&mut self, text: &str) {
        self.line(format_args!("# {text}"));
    }

    fn raw(&mut self, key: &str, value: impl fmt::Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn string(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key} = {}", toml::Value::from(value)));
    }

    fn list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let values: Vec<toml::Value> = values.map(toml::Value::from).collect();
        self.line(format_args!("{key} = {}", toml::Value::from(values)));
    }

    fn names(&mut self, key: &str, names: &[String]) {
        if !names.is_empty() {
            self.list(key, names.iter().cloned());
        }
    }

    fn rules(&mut self, key: &str, rules: &[Rule]) {
        let rules: Vec<toml::Value> = rules.iter().map(rule).collect();
        self.line(format_args!("{key} = {}", toml::Value::from(rules)));
    }

    fn peer(&mut self, peer: &Peer) {
        self.table("[[peer]]");
        self.string("name", &peer.name);
        self.string("address", &peer.address.to_string());
        if let Some(PeerTls { pin, named, quic }) = &peer.tls {
            self.string("transport", if *quic { "quic" } else { "tls" });
            match (named, pin) {
                (Some(PeerName { name, authorities }), _) => {
                    self.string("tls-name", name);
                    self.string("tls-ca", &authorities.display().to_string());
                }
                (None, Some(pin)) => self.string("tls", &hex(pin)),
                (None, None) => self.raw("tls", true),
            }
        }
        if let Some(key) = &peer.tsig_key {
            self.string("tsig-key", &key.to_string());
        }
        let allowed = [
            ("transfer", peer.may_transfer),
            ("notify", peer.may_notify),
            ("update", peer.may_update),
        ];
        let allowed = allowed
            .iter()
            .filter(|(_, may)| *may)
            .map(|(word, _)| (*word).to_owned());
        self.list("allow", allowed);
    }

    fn rate(&mut self, rate: &RateLimits) {
        self.table("[rate-limit]");
        for (key, limit) in build::BY_KIND.iter().zip(rate.per_second) {
            self.raw(key, limit);
        }
        self.raw("all-per-second", rate.all_per_second);
        self.raw("slip", rate.slip);
        self.raw("ipv4-prefix", rate.ipv4_prefix);
        self.raw("ipv6-prefix", rate.ipv6_prefix);
        let exempt = rate.exempt.iter();
        self.list(
            "exempt",
            exempt.map(|(address, bits)| format!("{address}/{bits}")),
        );
        self.raw("dry-run", rate.dry_run);
    }

    fn kept(&mut self, size: &str, age: &str, kept: Kept) {
        if let Some(octets) = kept.size {
            self.raw(size, octets);
        }
        if let Some(longest) = kept.age {
            self.string(age, &format!("{}s", longest.as_secs()));
        }
    }

    fn zone(&mut self, zone: &ZoneConfig) {
        self.table("[[zone]]");
        self.string("name", &zone.name.to_string());
        if let Some(file) = &zone.file {
            self.string("file", &file.display().to_string());
        }
        self.raw("dynamic", zone.dynamic);
        if let Some(group) = &zone.group {
            self.string("group", group);
        }
        match zone.catalog {
            Some(CatalogRole::Producer) => self.string("catalog", "producer"),
            Some(CatalogRole::Consumer) => {
                self.string("catalog", "consumer");
                self.list("admit", zone.admit.iter().map(ToString::to_string));
            }
            None => {}
        }
        self.names("primaries", &zone.primaries);
        self.names("notify", &zone.notify);
        self.rules("allow-transfer", &zone.allow_transfer);
        self.rules("allow-notify", &zone.allow_notify);
        if zone.dynamic {
            self.rules("allow-update", &zone.allow_update);
        }
        if zone.primaries.is_empty() {
            self.string("serial", zone.serial.name());
        }
        self.kept("history-size", "history-age", zone.history);
    }
}

fn rule(rule: &Rule) -> toml::Value {
    let mut table = toml::Table::new();
    let mut add = |key: &str, value: String| {
        table.insert(key.into(), value.into());
    };
    if let Some(network) = rule.network {
        add("network", network.to_string());
    }
    if let Some(key) = &rule.key {
        add("key", key.to_string());
    }
    if let Some(pin) = &rule.pin {
        add("pin", hex(pin));
    }
    table.into()
}

fn hex(bytes: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
