//! The whole product at work.
fn main() {}
