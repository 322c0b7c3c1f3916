//! Real peers, temporary sites and deadlines, for tests only.
