//! `make faults`: every fault of the list on every wire, as one table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the purpose")]

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use faults::{Fault, Row, Wire, faults, run_all, table};
use rig::{Backend, Rig};

/// Do faults to a storage and a node while an application writes, and say what came of it.
#[derive(Parser)]
struct Arguments {
    /// Only faults whose names contain one of these words
    words: Vec<String>,
    /// Only on this wire; can be repeated
    #[arg(long, value_enum)]
    wire: Vec<Wire>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let wanted = |fault: &Fault| {
        let Arguments { words, wire, .. } = &arguments;
        (words.is_empty() || words.iter().any(|word| fault.name.contains(word.as_str())))
            && (wire.is_empty() || wire.contains(&fault.wire))
    };
    let list: Vec<Fault> = faults().into_iter().filter(wanted).collect();
    ensure!(!list.is_empty(), "no fault is called so; without words all are run");
    for kernel in [Backend::Uml, Backend::Tcg] {
        if list.iter().any(|fault| fault.plan.as_ref().is_ok_and(|plan| plan.kernel == kernel)) {
            Rig::available(kernel).map_err(anyhow::Error::msg)?;
        }
    }
    let writer = std::env::current_exe()?.with_file_name("writer");
    ensure!(writer.exists(), "{} is not built: cargo build -p faults", writer.display());
    let rows = run_all(&list, &writer, |row| {
        let Row { fault, wire, verdict, reasons, .. } = row;
        eprintln!("{fault}, {wire}: {verdict:?} {}", reasons.join("; "));
    })?;
    match arguments.output {
        Output::Table => println!("{}", table(&rows)),
        Output::Json => {
            println!("{}", serde_json::to_string_pretty(&rows).context("the rows as JSON")?);
        }
    }
    let well = rows.iter().all(Row::is_well);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
