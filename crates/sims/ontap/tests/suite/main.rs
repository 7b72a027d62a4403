//! The simulator over its wire.

#![allow(clippy::unwrap_used)]

mod generic;
mod rest;
mod volumes;
