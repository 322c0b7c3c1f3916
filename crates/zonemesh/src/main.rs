//! zonemesh: self-healing, multi-site authoritative DNS.

use std::process::ExitCode;

fn main() -> ExitCode {
    zonemesh::cli::main()
}
