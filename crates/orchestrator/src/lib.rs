//! Decides and does: what volumes shall be, where they go, and what to do next until they are.
//!
//! The record is the journal: it is written before a backend hears of anything, and one pure function
//! (`volume::next`) says what comes next from the record and what the backend shows. First try, retry, restart and repair
//! take that one path.

mod admission;
mod backend;
mod catalogue;
mod doctor;
mod drive;
mod error;
mod leadership;
mod locks;
mod metrics;
mod operation;
mod orchestrator;
mod placement;
mod record;
mod request;
mod running;
mod tasks;
mod volume;
mod writer;

pub use backend::{BackendHealth, BackendOrigin, BackendView, Families};
pub use catalogue::Catalogue;
pub use doctor::{Finding, Inspect, Severity};
pub use driver::config::BackendFile;
pub use driver::{Capabilities, ErrorKind, Outcome};
pub use error::{Error, Result};
pub use leadership::Leadership;
pub use metrics::StorageClassOf;
pub use operation::{OperationState, OperationView, Verb};
pub use orchestrator::{Elsewhere, Limits, Orchestrator, Periods, Room, Settings};
pub use placement::Refusal;
pub use record::{
    Goal, Group, NodeRecord, Origin, Publication, SnapshotRecord, SnapshotStatus, VolumeRecord, VolumeStatus,
};
pub use request::{Answer, CreateRequest, ImportRequest, Request, without_prefix};
pub use running::Ticket;
