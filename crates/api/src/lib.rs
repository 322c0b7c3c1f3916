//! Control socket, HTTP API and metrics.
