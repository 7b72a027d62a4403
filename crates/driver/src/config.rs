//! Backend files in Trident's format: what all families share.
