//! `[[zone]]` and `[[group]]`.

use zonemesh_mesh::core::SerialPolicy;

use super::peers::{Keys, Peers};
use super::*;

impl<'c, 'a> Builder<'c, 'a> {
    pub(super) fn groups(
        &self,
        tables: Vec<Table<'c, 'a>>,
        peers: &Peers,
        keys: &Keys,
    ) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for table in tables {
            let name = table.required("name", "\"internal\"");
            let group = Group {
                name: name
                    .as_ref()
                    .map(|name| name.value.clone())
                    .unwrap_or_default(),
                primaries: self.peer_names(table.strings("primaries").unwrap_or_default(), peers),
                notify: self.peer_names(table.strings("notify").unwrap_or_default(), peers),
                allow_transfer: self
                    .rules_of(&table, "allow-transfer", peers, keys)
                    .unwrap_or_else(|| default_rules(peers, |peer| peer.may_transfer)),
            };
            table.finish();
            let Some(name) = name else { continue };
            if groups.iter().any(|other| other.name == group.name) {
                self.context
                    .fault(&name.span, format!("group `{}` is given twice", name.value));
            } else {
                groups.push(group);
            }
        }
        groups
    }

    pub(super) fn zones(
        &self,
        tables: Vec<Table<'c, 'a>>,
        mesh: Option<&Mesh>,
        groups: &[Group],
        peers: &Peers,
        keys: &Keys,
    ) -> Vec<ZoneConfig> {
        let mut seen: BTreeMap<Name, usize> = BTreeMap::new();
        let mut zones = Vec::new();
        for (index, table) in tables.into_iter().enumerate() {
            let written = table.required("name", "\"standard-1.example\"");
            let name = written.as_ref().and_then(|text| self.name(text));
            if let (Some(written), Some(name)) = (&written, &name) {
                if seen.insert(name.clone(), index).is_some() {
                    self.context.fault(
                        &written.span,
                        format!("zone `{}` is given twice", written.value),
                    );
                }
                if mesh.is_some_and(|mesh| mesh.directory == *name || mesh.catalog == *name) {
                    self.context.fault_with_hint(
                        &written.span,
                        format!("`{}` is kept by the mesh itself", written.value),
                        Some("remove the [[zone]]".into()),
                    );
                }
            }
            zones.extend(self.zone(table, name, groups, peers, keys));
        }
        zones
    }

    fn zone(
        &self,
        table: Table<'c, 'a>,
        name: Option<Name>,
        groups: &[Group],
        peers: &Peers,
        keys: &Keys,
    ) -> Option<ZoneConfig> {
        let file = table
            .string("file")
            .map(|text| text.map(|path| self.path(&path)));
        let dynamic = table.boolean("dynamic");
        let group = self.group_name(table.string("group"), groups);
        let catalog = self.catalog_role(table.string("catalog"));
        let admit = table.strings("admit");
        let primaries = self.peer_names(table.strings("primaries").unwrap_or_default(), peers);
        let notify = self.peer_names(table.strings("notify").unwrap_or_default(), peers);
        let allow_transfer = self
            .rules_of(&table, "allow-transfer", peers, keys)
            .unwrap_or_else(|| default_rules(peers, |peer| peer.may_transfer));
        let allow_notify = self
            .rules_of(&table, "allow-notify", peers, keys)
            .unwrap_or_else(|| default_rules(peers, |peer| peer.may_notify));
        let is_dynamic = dynamic.as_ref().is_some_and(|value| value.value);
        let allow_update = self.allow_update(&table, is_dynamic, peers, keys);

        if file.is_some() {
            if let (Some(span), false) = (table.span_of("primaries"), primaries.is_empty()) {
                self.context.fault_with_hint(
                    &span,
                    "a zone is read from a file or transferred from primaries, not both",
                    Some("remove `file` or `primaries`".into()),
                );
            }
        } else if primaries.is_empty()
            && table.span_of("primaries").is_none()
            && !is_dynamic
            && catalog != Some(CatalogRole::Producer)
        {
            self.context.fault_with_hint(
                &table.span,
                "[[zone]] says nothing of where its records come from",
                Some(
                    "add `file`, `primaries`, or `dynamic = true` for a zone kept by updates alone"
                        .into(),
                ),
            );
        }
        if let (Some(dynamic), false) = (&dynamic, primaries.is_empty())
            && dynamic.value
        {
            self.context.fault(
                &dynamic.span,
                "a zone that is transferred from primaries cannot be `dynamic`",
            );
        }
        if catalog == Some(CatalogRole::Consumer) && primaries.is_empty() {
            self.context.fault_with_hint(
                &table.span,
                "a catalog zone that is consumed needs `primaries`",
                Some("name the peer that produces it".into()),
            );
        }
        let admit = self.admit(&table, admit, catalog);
        let serial = self.serial_policy(&table, !primaries.is_empty());
        let history = self.kept(&table, "history-size", "history-age");
        table.finish();
        Some(ZoneConfig {
            name: name?,
            file: file.map(|file| file.value),
            dynamic: is_dynamic,
            group,
            catalog,
            admit,
            primaries,
            notify,
            allow_transfer,
            allow_notify,
            allow_update,
            serial,
            history,
        })
    }

    fn rules_of(
        &self,
        table: &Table<'c, 'a>,
        key: &'static str,
        peers: &Peers,
        keys: &Keys,
    ) -> Option<Vec<Rule>> {
        let items = table.strings_or_tables(key)?;
        Some(
            self.rules(items, peers, keys)
                .into_iter()
                .map(|rule| rule.value)
                .collect(),
        )
    }

    /// An address can be forged in one UDP packet, so it alone never lets an update in.
    fn allow_update(
        &self,
        table: &Table<'c, 'a>,
        dynamic: bool,
        peers: &Peers,
        keys: &Keys,
    ) -> Vec<Rule> {
        let Some(items) = table.strings_or_tables("allow-update") else {
            return if dynamic {
                default_rules(peers, |peer| peer.may_update)
            } else {
                Vec::new()
            };
        };
        let rules = self.rules(items, peers, keys);
        for rule in &rules {
            if !rule.value.authenticates() {
                self.context.fault_with_hint(
                    &rule.span,
                    "updates may not be allowed by address alone",
                    Some(
                        "an address can be forged: write `{ network = \"…\", key = \"…\" }`".into(),
                    ),
                );
            }
        }
        if !dynamic && let Some(span) = table.span_of("allow-update") {
            self.context.fault_with_hint(
                &span,
                "`allow-update` means nothing in a zone that is not dynamic",
                Some("add `dynamic = true`, or remove it".into()),
            );
        }
        rules.into_iter().map(|rule| rule.value).collect()
    }

    fn serial_policy(&self, table: &Table<'c, 'a>, is_secondary: bool) -> SerialPolicy {
        let Some(text) = table.string("serial") else {
            return SerialPolicy::default();
        };
        if is_secondary {
            self.context.fault_with_hint(
                &text.span,
                "the serials of a zone that is transferred are its primary's",
                Some("remove `serial`".into()),
            );
        }
        SerialPolicy::named(&text.value).unwrap_or_else(|| {
            let known = ["increment", "unixtime", "date"];
            self.unknown_word(&text.span, "way to make serials", &text.value, &known);
            SerialPolicy::default()
        })
    }

    /// How much of the past is kept.
    pub(super) fn kept(
        &self,
        table: &Table<'c, 'a>,
        size: &'static str,
        age: &'static str,
    ) -> Kept {
        let given = table.string(age);
        let age = given.and_then(|text| match duration(&text.value) {
            Some(age) if (HOUR..=CENTURY).contains(&age.as_secs()) => Some(age),
            _ => {
                let found = &text.value;
                self.context.fault(
                    &text.span,
                    format!("`{age}` must be 1h to 36500d, such as \"90d\", found `{found}`"),
                );
                None
            }
        });
        let size = table.integer(size, 0..=1 << 40);
        let size = size.and_then(|size| u64::try_from(size).ok());
        Kept { size, age }
    }

    fn catalog_role(&self, text: Option<At<String>>) -> Option<CatalogRole> {
        let text = text?;
        match text.value.as_str() {
            "producer" => Some(CatalogRole::Producer),
            "consumer" => Some(CatalogRole::Consumer),
            other => {
                self.unknown_word(&text.span, "catalog role", other, &["producer", "consumer"]);
                None
            }
        }
    }

    /// A group without a template is fine: the consumer may know it.
    fn group_name(&self, text: Option<At<String>>, groups: &[Group]) -> Option<String> {
        let text = text?;
        // RFC 9432 §4.3.2: the value is a TXT string.
        if text.value.is_empty() || text.value.len() > 255 {
            self.context
                .fault(&text.span, "`group` must have 1 to 255 bytes");
        }
        let known = groups.iter().map(|group| group.name.as_str());
        if !groups.iter().any(|group| group.name == text.value)
            && let Some(near) = nearest(&text.value, known)
        {
            self.context.fault_with_hint(
                &text.span,
                format!("there is no group `{}`", text.value),
                Some(format!("did you mean `{near}`?")),
            );
        }
        Some(text.value)
    }

    fn admit(
        &self,
        table: &Table<'c, 'a>,
        texts: Option<Vec<At<String>>>,
        catalog: Option<CatalogRole>,
    ) -> Vec<Pattern> {
        if catalog != Some(CatalogRole::Consumer) {
            if let Some(span) = table.span_of("admit") {
                self.context.fault(
                    &span,
                    "`admit` belongs to a zone with `catalog = \"consumer\"`",
                );
            }
            return Vec::new();
        }
        let Some(texts) = texts else {
            if table.span_of("admit").is_none() {
                self.context.fault_with_hint(
                    &table.span,
                    "a catalog zone that is consumed needs a list of what it may bring",
                    Some("add `admit = [\"*.example\"]`, or `[\"*\"]` for everything".into()),
                );
            }
            return Vec::new();
        };
        texts
            .into_iter()
            .filter_map(|text| self.pattern(text))
            .collect()
    }

    fn pattern(&self, text: At<String>) -> Option<Pattern> {
        if text.value == "*" {
            return Some(Pattern::Any);
        }
        match text.value.strip_prefix("*.") {
            Some(rest) => {
                let name = At {
                    value: rest.to_owned(),
                    span: text.span,
                };
                self.name(&name).map(Pattern::Below)
            }
            None => self.name(&text).map(Pattern::Exactly),
        }
    }
}

fn default_rules(peers: &Peers, permitted: impl Fn(&Peer) -> bool) -> Vec<Rule> {
    peers
        .iter()
        .filter(|peer| permitted(&peer.value))
        .map(|peer| peer.value.rule())
        .collect()
}

const HOUR: u64 = 3600;
const CENTURY: u64 = 36_500 * 86_400;
