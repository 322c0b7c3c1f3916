//! Moving zones: AXFR, IXFR, NOTIFY, SOA timers, TSIG, TLS.
