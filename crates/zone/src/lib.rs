//! What a zone is: names, RRsets, immutable versions, zone files, differences, catalog and directory.
