//! `make image`: the product's image as an archive, without an engine.

#![allow(clippy::print_stdout, reason = "it speaks to a person")]

use std::path::Path;

use anyhow::{Context as _, Result};
use kube_suite::Product;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("the program is missing")?;
    let archive = words.next().context("the archive to write is missing")?;
    let product = Product::new(Path::new(&program));
    product.write(Path::new(&archive))?;
    println!("{} is in {}", product.name, Path::new(&archive).display());
    Ok(())
}
