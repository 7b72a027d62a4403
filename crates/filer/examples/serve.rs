//! Makes this machine serve what its argument says, as JSON; says what came of it, as JSON. The tests run it in guests.

#![allow(clippy::print_stdout, reason = "what it says is its result")]

use filer::access::{Access, Served, Settings, die_after};
use model::{Bytes, Handle};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wish {
    settings: Settings,
    /// Dies at this change of the kernel.
    #[serde(default)]
    die_after: Option<u32>,
    #[serde(default)]
    serve: Vec<Served>,
    #[serde(default)]
    withdraw: Vec<Handle>,
    #[serde(default)]
    grown: Vec<(Handle, Bytes)>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wish: Wish = serde_json::from_str(&std::env::args().nth(1).ok_or("one argument: the wish")?)?;
    if let Some(steps) = wish.die_after {
        die_after(steps);
    }
    let access = Access::open(&wish.settings)?;
    let mut served = Vec::new();
    for volume in &wish.serve {
        let (changed, granted) = match access.serve(volume)? {
            filer::Outcome::Changed(granted) => (true, granted),
            filer::Outcome::Unchanged(granted) => (false, granted),
        };
        served.push(json!({ "changed": changed, "granted": granted }));
    }
    for handle in &wish.withdraw {
        access.withdraw(handle)?;
    }
    for (handle, size) in &wish.grown {
        access.grown(handle, *size)?;
    }
    access.answer()?;
    println!("{}", json!({ "served": served, "list": access.list()? }));
    Ok(())
}
