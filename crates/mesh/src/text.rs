//! Domain names as text, for `serde(with = …)`.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use zonemesh_zone::{Name, record::parse_name};

pub(crate) fn serialize<S: Serializer>(name: &Name, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&name.fmt_with_dot())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
    parse_name(&String::deserialize(from)?).map_err(D::Error::custom)
}
