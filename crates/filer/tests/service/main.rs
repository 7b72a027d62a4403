//! A filer over HTTPS, on a real pool; no node reaches its volumes here (that needs guests).
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::panic, reason = "a test: a panic is the report")]

mod rig;
mod tenants;
mod trust;
mod volumes;
