//! Real name servers on the other end, in both directions.
