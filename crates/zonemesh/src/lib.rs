//! The binary's inside: configuration, wiring, command line.
//!
//! A library only so that tests reach it; nothing outside of this workspace uses it.

pub mod cli;
pub mod config;
pub mod logging;
pub mod site;
pub mod systemd;
