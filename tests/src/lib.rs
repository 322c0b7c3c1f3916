//! Tests with real peers and whole sites: interop and scenarios.
