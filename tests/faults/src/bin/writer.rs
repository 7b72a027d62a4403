//! The application in the node: `writer write FILE ACCOUNT` writes until it is killed, `writer check FILE ACCOUNT` audits.

#![allow(clippy::print_stdout, reason = "the audit's result")]

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Write { file: PathBuf, account: PathBuf },
    Check { file: PathBuf, account: PathBuf },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().verb {
        Verb::Write { file, account } => faults::write(&file, &account),
        Verb::Check { file, account } => {
            println!("{}", serde_json::to_string(&faults::check(&file, &account)?)?);
            Ok(())
        }
    }
}
