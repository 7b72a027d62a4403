//! The quick ones of the faults, on one rig.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

use std::path::Path;

use faults::{Fault, Row, Stage, faults, run, table};
use rig::{Backend, Rig};

#[test]
fn what_was_acknowledged_is_there_after_each_fault_and_the_application_goes_on() {
    if let Err(reason) = Rig::available(Backend::Uml) {
        println!("skipped: {reason}");
        return;
    }
    let rig = Stage::rig(Backend::Uml).up().unwrap();
    let mut stage = Stage::up(&rig, Path::new(env!("CARGO_BIN_EXE_writer"))).unwrap();
    let quick: Vec<Fault> = faults().into_iter().filter(|fault| fault.quick).collect();
    assert!(quick.len() > 3, "{quick:?}");
    let rows: Vec<Row> = quick.iter().map(|fault| run(&mut stage, fault)).collect();
    println!("{}", table(&rows));
    assert!(rows.iter().all(Row::is_well), "{rows:#?}");
}
