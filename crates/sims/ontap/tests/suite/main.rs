//! The simulator over its wire.

#![allow(clippy::unwrap_used)]

mod blocks;
mod generic;
mod qtrees;
mod rest;
mod volumes;
