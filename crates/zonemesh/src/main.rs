//! zonemesh: self-healing, multi-site authoritative DNS.

fn main() {}
