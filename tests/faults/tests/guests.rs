//! The quick ones of the faults, on one rig for each storage.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

use std::path::Path;

use faults::{Fault, Row, Storage, faults, run_all, table};
use rig::{Backend, Rig};

#[test]
fn what_was_acknowledged_is_there_after_each_fault_and_the_application_goes_on() {
    if let Err(reason) = Rig::available(Backend::Uml) {
        println!("skipped: {reason}");
        return;
    }
    let quick: Vec<Fault> = faults().into_iter().filter(|fault| fault.quick).collect();
    let of = |storage| quick.iter().filter(|fault| fault.wire.storage() == storage).count();
    assert_eq!((of(Storage::Filer), of(Storage::Array)), (4, 3), "{quick:?}");
    let rows = run_all(&quick, Path::new(env!("CARGO_BIN_EXE_writer")), |_| {}).unwrap();
    println!("{}", table(&rows));
    assert!(rows.iter().all(Row::is_well), "{rows:#?}");
}
