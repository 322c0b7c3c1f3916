//! `[[key]]` and `[[peer]]`: foreign servers and what is shared with them.

use std::os::unix::fs::PermissionsExt;

use zonemesh_transfer::tsig::{Algorithm, KeyError, Method};

use super::super::reader::Item;
use super::*;

/// A peer and whether something is wrong with it that its users need not repeat.
pub(super) type Peers = Vec<At<Peer>>;
pub(super) type Keys = Vec<At<Key>>;

impl<'c, 'a> Builder<'c, 'a> {
    pub(super) fn keys(&self, tables: Vec<Table<'c, 'a>>) -> Keys {
        let mut keys = Keys::new();
        for table in tables {
            let name = table.required("name", "\"offsite\"");
            let algorithm = self.algorithm(table.string("algorithm"));
            let secret = self.secret(&table);
            let span = table.span.clone();
            table.finish();
            let Some(written) = name else { continue };
            let Some(name) = self.name(&written) else {
                continue;
            };
            if keys.iter().any(|key| key.value.name == name) {
                self.context.fault(
                    &written.span,
                    format!("key `{}` is given twice", written.value),
                );
                continue;
            }
            // A key with a fault of its own stays known, so that its users do not look wrong too.
            let secret = secret.unwrap_or_else(|| Secret::new(Vec::new()));
            keys.push(At {
                value: Key {
                    name,
                    algorithm,
                    secret,
                },
                span,
            });
        }
        keys
    }

    fn algorithm(&self, text: Option<At<String>>) -> Method {
        let default = Algorithm::HmacSha256.into();
        let Some(text) = text else {
            return default;
        };
        match text.value.parse() {
            Ok(method) => method,
            Err(error @ KeyError::Bits { .. }) => {
                self.context.fault(&text.span, error.to_string());
                default
            }
            Err(_) => {
                // RFC 8945 §6: SHA-1 is still to be implemented, no more to be used.
                let known = [
                    "hmac-sha256",
                    "hmac-sha224",
                    "hmac-sha384",
                    "hmac-sha512",
                    "hmac-sha1",
                ];
                self.unknown_word(&text.span, "algorithm", &text.value, &known);
                default
            }
        }
    }

    fn secret(&self, table: &Table<'c, 'a>) -> Option<Secret> {
        let inline = table.string("secret");
        let file = table.string("secret-file");
        let (text, span, place) = match (inline, file) {
            (Some(secret), None) => (secret.value, secret.span, "`secret`".to_owned()),
            (None, Some(file)) => {
                let path = self.path(&file.value);
                match read_secret(&path) {
                    Ok(text) => (text, file.span, path.display().to_string()),
                    Err((message, hint)) => {
                        self.context.fault_with_hint(&file.span, message, hint);
                        return None;
                    }
                }
            }
            (None, None) => {
                self.context.fault_with_hint(
                    &table.span,
                    "[[key]] lacks a secret",
                    Some(
                        "add `secret-file = \"offsite.key\"` (base64, mode 0600) or `secret`"
                            .into(),
                    ),
                );
                return None;
            }
            (Some(_), Some(file)) => {
                self.context
                    .fault(&file.span, "give `secret` or `secret-file`, not both");
                return None;
            }
        };
        match data_encoding::BASE64.decode(text.trim().as_bytes()) {
            Ok(bytes) if bytes.is_empty() => {
                self.context
                    .fault(&span, format!("the secret in {place} is empty"));
                None
            }
            Ok(bytes) => Some(Secret::new(bytes)),
            // The position may be shown, the text may not.
            Err(error) => {
                self.context.fault_with_hint(
                    &span,
                    format!(
                        "the secret in {place} is not base64, at character {}",
                        error.position + 1
                    ),
                    Some("make one with `openssl rand -base64 32`".into()),
                );
                None
            }
        }
    }

    /// The secrets of DNS cookies: 32 hexadecimal digits a line, the current one first, the one before it second.
    pub(super) fn cookies(&self, file: &At<String>) -> Option<CookieFile> {
        let path = self.path(&file.value);
        let text = match read_secret(&path) {
            Ok(text) => text,
            Err((message, hint)) => {
                self.context.fault_with_hint(&file.span, message, hint);
                return None;
            }
        };
        let secret = |line: &str| {
            let octets = data_encoding::HEXLOWER_PERMISSIVE.decode(line.trim().as_bytes());
            octets
                .ok()
                .and_then(|octets| <[u8; 16]>::try_from(octets).ok())
        };
        let lines: Option<Vec<[u8; 16]>> = text.lines().map(secret).collect();
        match lines.as_deref() {
            Some([current, rest @ ..]) if rest.len() <= 1 => Some(CookieFile {
                secrets: zonemesh_serve::CookieSecrets {
                    current: *current,
                    previous: rest.first().copied(),
                },
                path,
            }),
            _ => {
                self.context.fault_with_hint(
                    &file.span,
                    format!(
                        "{} must have one or two lines of 32 hexadecimal digits",
                        path.display()
                    ),
                    Some("make one with `openssl rand -hex 16`".into()),
                );
                None
            }
        }
    }

    pub(super) fn peers(&self, tables: Vec<Table<'c, 'a>>, keys: &Keys) -> Peers {
        let mut peers = Peers::new();
        for table in tables {
            let name = table.required("name", "\"offsite-ns3\"");
            let tls = self.secured(&table);
            let port = if tls.is_some() { 853 } else { 53 };
            let address = table
                .required("address", "\"198.51.100.7:53\"")
                .and_then(|text| self.peer_address(&text, port));
            let tsig_key = table
                .string("tsig-key")
                .and_then(|text| self.key_name(&text, keys));
            let unsigned = tsig_key.is_none() && tls.as_ref().is_none_or(|tls| tls.pin.is_none());
            let (mut may_transfer, mut may_notify, mut may_update) = (false, false, false);
            for word in table.strings("allow").unwrap_or_default() {
                match word.value.as_str() {
                    "transfer" => may_transfer = true,
                    "notify" => may_notify = true,
                    "update" if unsigned => self.context.fault_with_hint(
                        &word.span,
                        "a peer known only by its address may not update",
                        Some(
                            "an address can be forged: give the peer a `tsig-key` or a `tls` pin"
                                .into(),
                        ),
                    ),
                    "update" => may_update = true,
                    other => self.unknown_word(
                        &word.span,
                        "permission",
                        other,
                        &["transfer", "notify", "update"],
                    ),
                }
            }
            let span = table.span.clone();
            table.finish();
            let Some(name) = name else { continue };
            if peers.iter().any(|peer| peer.value.name == name.value) {
                self.context
                    .fault(&name.span, format!("peer `{}` is given twice", name.value));
                continue;
            }
            // A peer with a fault of its own stays known, so that its users do not look wrong too.
            let address = address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], port)));
            let name = name.value;
            let peer = Peer {
                name,
                address,
                tls,
                tsig_key,
                may_transfer,
                may_notify,
                may_update,
            };
            peers.push(At { value: peer, span });
        }
        peers
    }

    fn peer_address(&self, text: &At<String>, port: u16) -> Option<SocketAddr> {
        let address = self.socket_address(text, port)?;
        if address.ip().is_unspecified() || address.port() == 0 || address.ip().is_multicast() {
            self.context
                .fault(&text.span, format!("{address} is no address of a peer"));
            return None;
        }
        Some(address)
    }

    /// How a peer is reached and known over TLS or QUIC, if it is.
    fn secured(&self, table: &Table<'c, 'a>) -> Option<PeerTls> {
        let known = table.boolean_or_string("tls");
        let span = known.as_ref().map(|known| known.span.clone());
        let known = known.and_then(|known| self.known(known));
        let named = self.named(table);
        if let (Some(_), Some(span), Some(_)) = (&known, &span, &named) {
            self.context.fault(
                span,
                "give `tls`, or `tls-name` with `tls-ca`: both say who the peer is",
            );
        }
        let transport = table.string("transport");
        let word = transport.as_ref().map(|text| (text.value.as_str(), text));
        let secured = match (&named, known) {
            (Some(_), _) => Some(None),
            (None, known) => known,
        };
        let quic = match word {
            None => false,
            Some(("quic" | "tls", text)) if secured.is_none() => {
                self.context.fault_with_hint(
                    &text.span,
                    format!("who the peer is over {} is not said", text.value),
                    Some("give `tls`: the SHA-256 of its public key, or true for any; or `tls-name` with `tls-ca`".into()),
                );
                false
            }
            Some((word @ ("quic" | "tls"), _)) => word == "quic",
            Some(("dns", text)) => {
                if secured.is_some() {
                    self.context.fault(
                        &text.span,
                        "plain DNS has no use for `tls`, `tls-name` and `tls-ca`",
                    );
                }
                false
            }
            Some((other, text)) => {
                self.unknown_word(&text.span, "transport", other, &["dns", "tls", "quic"]);
                false
            }
        };
        let pin = secured?;
        Some(PeerTls { pin, named, quic })
    }

    /// The name by which a peer is known, read once to see that it can be.
    fn named(&self, table: &Table<'c, 'a>) -> Option<PeerName> {
        let (name, authorities) = self.both(table, "tls-name", "tls-ca")?;
        let named = PeerName {
            name: name.value,
            authorities: self.path(&authorities.value),
        };
        if let Err(error) = named.read() {
            self.context.fault(&name.span, format!("{error:#}"));
        }
        Some(named)
    }

    /// The pin of a peer, or none for a peer that may be anybody; nothing where TLS is not wanted.
    fn known(&self, tls: At<BoolOrText>) -> Option<Option<[u8; 32]>> {
        match tls.value {
            BoolOrText::Bool(false) => None,
            BoolOrText::Bool(true) => Some(None),
            BoolOrText::Text(text) => match pin(&text) {
                Some(pin) => Some(Some(pin)),
                None => {
                    self.context.fault_with_hint(
                        &tls.span,
                        format!("`{text}` is no pin of a public key"),
                        Some("expected true, or the SHA-256 of its SubjectPublicKeyInfo as 64 hexadecimal digits".into()),
                    );
                    // The peer was meant to be reached over TLS.
                    Some(None)
                }
            },
        }
    }

    /// A reference to a `[[key]]`.
    pub(super) fn key_name(&self, text: &At<String>, keys: &Keys) -> Option<Name> {
        let name = self.name(text)?;
        if keys.iter().any(|key| key.value.name == name) {
            return Some(name);
        }
        let known: Vec<String> = keys.iter().map(|key| key.value.name.to_string()).collect();
        self.unknown_reference(text, "key", "[[key]]", known.iter().map(String::as_str));
        None
    }

    /// References to `[[peer]]`s.
    pub(super) fn peer_names(&self, texts: Vec<At<String>>, peers: &Peers) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for text in texts {
            if !peers.iter().any(|peer| peer.value.name == text.value) {
                let known = peers.iter().map(|peer| peer.value.name.as_str());
                self.unknown_reference(&text, "peer", "[[peer]]", known);
            } else if names.contains(&text.value) {
                self.context
                    .fault(&text.span, format!("peer `{}` is given twice", text.value));
            } else {
                names.push(text.value);
            }
        }
        names
    }

    /// Who may do something: names of peers, networks, or tables of what must all hold.
    pub(super) fn rules(
        &self,
        items: Vec<Item<'c, 'a>>,
        peers: &Peers,
        keys: &Keys,
    ) -> Vec<At<Rule>> {
        items
            .into_iter()
            .filter_map(|item| self.rule(item, peers, keys))
            .collect()
    }

    fn rule(&self, item: Item<'c, 'a>, peers: &Peers, keys: &Keys) -> Option<At<Rule>> {
        let table = match item {
            Item::Text(text) => {
                if let Some(peer) = peers.iter().find(|peer| peer.value.name == text.value) {
                    return Some(At {
                        value: peer.value.rule(),
                        span: text.span,
                    });
                }
                let network_like = text.value.contains(['/', ':'])
                    || text.value.chars().all(|c| c.is_ascii_digit() || c == '.');
                if network_like {
                    let network = self.network(&text)?;
                    let rule = Rule {
                        network: Some(network),
                        ..Rule::default()
                    };
                    return Some(At {
                        value: rule,
                        span: text.span,
                    });
                }
                let known = peers.iter().map(|peer| peer.value.name.as_str());
                self.unknown_reference(&text, "peer", "[[peer]]", known);
                return None;
            }
            Item::Table(table) => table,
        };
        let network = table.string("network").map(|text| self.network(&text));
        let key = table.string("key").map(|text| self.key_name(&text, keys));
        let pin = table.string("pin").map(|text| {
            let pin = pin(&text.value);
            if pin.is_none() {
                self.context
                    .fault(&text.span, "`pin` must be 64 hexadecimal digits");
            }
            pin
        });
        let span = table.span.clone();
        table.finish();
        if network.is_none() && key.is_none() && pin.is_none() {
            self.context.fault_with_hint(
                &span,
                "an empty rule would let everyone in",
                Some("give `network`, `key` or `pin`; what is given must all hold".into()),
            );
            return None;
        }
        // A part with a fault must not vanish from the rule and widen it.
        let rule = Rule {
            network: network.map_or(Some(None), |part| part.map(Some))?,
            key: key.map_or(Some(None), |part| part.map(Some))?,
            pin: pin.map_or(Some(None), |part| part.map(Some))?,
        };
        Some(At { value: rule, span })
    }

    fn network(&self, text: &At<String>) -> Option<Network> {
        match text.value.parse() {
            Ok(network) => Some(network),
            Err(message) => {
                self.context.fault(&text.span, message);
                None
            }
        }
    }

    pub(super) fn unknown_reference<'n>(
        &self,
        text: &At<String>,
        what: &str,
        table: &str,
        known: impl Iterator<Item = &'n str>,
    ) {
        let hint = match nearest(&text.value, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add a `{table}` of that name"),
        };
        self.context.fault_with_hint(
            &text.span,
            format!("there is no {what} `{}`", text.value),
            Some(hint),
        );
    }
}

/// Reads a secret that nobody but the owner may read.
fn read_secret(path: &Path) -> Result<String, (String, Option<String>)> {
    let shown = path.display();
    let unreadable = |error| {
        (
            format!("cannot read the secret file {shown}: {error}"),
            None,
        )
    };
    let mode = std::fs::metadata(path)
        .map_err(unreadable)?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err((
            format!(
                "the secret file {shown} may be read by others (mode {:04o})",
                mode & 0o7777
            ),
            Some(format!("run `chmod 600 {shown}`")),
        ));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// Reads 64 hexadecimal digits, with or without colons between pairs.
fn pin(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|&c| c != ':').collect();
    let bytes = data_encoding::HEXLOWER_PERMISSIVE
        .decode(digits.as_bytes())
        .ok()?;
    bytes.try_into().ok()
}
