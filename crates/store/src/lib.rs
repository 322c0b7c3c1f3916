//! What survives a crash: versions, journal, serial high-water marks.
