//! Who may change what: RFC 2136 and its policy.
