//! What all resources have alike: queries, fields, order, pages, links.

pub(crate) mod fields;
pub(crate) mod filter;
pub(crate) mod order;
pub(crate) mod params;
