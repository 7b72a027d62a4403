//! Where a volume goes. Pure: demands and pools in; places in order, or the reason per pool, out.

mod decide;

use model::{
    AccessMode, BackendName, Bytes, ClassName, Filesystem, Labels, Layout, Pool, PoolName, Provisioning,
    Source, Topology, VolumeOptions, VolumeSpec, Wishes,
};

use crate::{Error, ErrorKind, Result};

/// Everything known of a wish before a place is chosen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    pub(crate) size: Option<Bytes>,
    pub(crate) smallest: Option<Bytes>,
    pub(crate) layout: Option<Layout>,
    pub(crate) filesystem: Option<Filesystem>,
    pub(crate) access: Option<AccessMode>,
    pub(crate) provisioning: Option<Provisioning>,
    pub(crate) class: Option<ClassName>,
    /// The class's, then the request's own.
    pub(crate) wishes: Vec<Wishes>,
    pub(crate) source: Option<Source>,
    pub(crate) options: VolumeOptions,
    pub(crate) mount_options: Vec<String>,
    pub(crate) labels: Labels,
    pub(crate) backend: Option<BackendName>,
    pub(crate) pool: Option<PoolName>,
    pub(crate) topologies: Vec<Topology>,
}

/// A pool and what is against using it at all.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) pool: Pool,
    /// Offline, suspended, unable to clone, …
    pub(crate) obstacle: Option<String>,
}

/// A place, with the volume as it would be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) pool: Pool,
    pub(crate) spec: VolumeSpec,
}

/// Why one pool will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub backend: BackendName,
    pub pool: PoolName,
    pub reason: String,
    /// Only space is lacking.
    pub(crate) full: bool,
}

/// Places in the order in which to try them: wished topology first, then most free space.
///
/// # Errors
/// The reason for each pool, when none will do.
pub(crate) fn place(demand: &Demand, candidates: &[Candidate]) -> Result<Vec<Placement>, Vec<Refusal>> {
    let mut places = Vec::new();
    let mut refusals = Vec::new();
    for candidate in candidates {
        let pool = &candidate.pool;
        match decide::decide(demand, candidate) {
            Ok(spec) => {
                let rank = decide::topology_rank(demand, pool).unwrap_or(usize::MAX);
                let free = pool.capacity.free(spec.provisioning);
                let place = Placement { pool: pool.clone(), spec };
                places.push((rank, std::cmp::Reverse(free), place));
            }
            Err(no) => refusals.push(Refusal {
                backend: pool.backend.clone(),
                pool: pool.name.clone(),
                reason: no.reason,
                full: no.full,
            }),
        }
    }
    if places.is_empty() {
        return Err(refusals);
    }
    places.sort_by_key(|(rank, free, _)| (*rank, *free));
    Ok(places.into_iter().map(|(_, _, place)| place).collect())
}

/// The refusals as one error, with the reason of each pool; without a pool, with what is wrong with backends.
pub(crate) fn refuse(refusals: &[Refusal], outages: &[String]) -> Error {
    if refusals.is_empty() {
        let message = "no backend has a pool to place a volume on";
        let (message, hint) = match outages {
            [] => (message.to_owned(), "create a backend with `leister create backend -f FILE`"),
            _ => (format!("{message}: {}", outages.join("; ")), "see `leister get backends`"),
        };
        return Error::new(ErrorKind::Unreachable, message).hint(hint).retry(driver::Retry::Later);
    }
    let kind = if refusals.iter().any(|r| r.full) { ErrorKind::NoCapacity } else { ErrorKind::Invalid };
    let mut reasons: Vec<String> =
        refusals.iter().take(8).map(|r| format!("{}/{}: {}", r.backend, r.pool, r.reason)).collect();
    if refusals.len() > reasons.len() {
        reasons.push(format!("and {} more pools", refusals.len() - reasons.len()));
    }
    let hint = match kind {
        ErrorKind::NoCapacity => "free or add space, or ask for less or elsewhere",
        _ => "change the request or the class, or add a pool that fits; see `leister get pools -o wide`",
    };
    Error::new(kind, format!("no pool will do: {}", reasons.join("; "))).hint(hint)
}
