//! How numbers become OpenMetrics text.
//!
//! The engine owns the numbers and registers them in one [`prometheus_client::registry::Registry`]; this module only
//! encodes it, and names the content type.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// Content type of the text (OpenMetrics 1.0.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Re-exported, so that one version of it is used to make and to encode metrics.
pub use prometheus_client;

/// Encodes a registry.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => text,
        // Writing to a `String` does not fail; a metric whose own encoder does must not take the others' place.
        Err(error) => {
            tracing::error!(%error, "metrics could not be encoded");
            String::from("# EOF\n")
        }
    }
}
