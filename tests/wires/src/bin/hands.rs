//! Reads one order as JSON, does it with this machine's hands, writes the answer as JSON.

#![allow(clippy::print_stdout, reason = "the answer")]

use std::io::{self, Write as _};

use anyhow::Context as _;
use wires::Order;

fn main() -> anyhow::Result<()> {
    let order: Order = serde_json::from_reader(io::stdin()).context("the order is not understood")?;
    wires::watch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(order.obey());
    println!("{}", serde_json::to_string(&answer)?);
    io::stdout().flush()?;
    // A thread that waits for a storage which is gone shall not keep the answer waiting.
    runtime.shutdown_background();
    Ok(())
}
