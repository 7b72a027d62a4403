//! The pool that volumes lie in, wherever it is: one set of calls for here and there.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ::driver::{DriverError, ErrorKind};
use filer::{
    Client, CreateVolume, FilerError, ForeignState, Outcome, PoolStats, SnapshotState, VolumeState,
    WIRE_LABEL, Wire,
};
use model::{Bytes, Layout, NodeName, Permit, Route};

use crate::config::Remote;
use crate::error::translate;
use crate::layout;

/// A pool, opened.
#[derive(Debug)]
pub(crate) enum Array {
    /// On this machine. Calls block, so each has a thread; it goes on when its caller goes away.
    Local { pool: Arc<filer::Pool>, overcommit: f64, calls: std::sync::atomic::AtomicU64 },
    /// On a filer. It goes on there when its caller goes away.
    Remote { client: Client, config: Box<Remote> },
}

/// A pool's space, and what can be made of it.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    pub(crate) stats: PoolStats,
    pub(crate) overcommit: f64,
    /// What its nodes can be reached by; `None`: the pool is on the node itself.
    pub(crate) wires: Option<Vec<Wire>>,
}

/// What the pool can do: asked once, when it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) layouts: BTreeSet<filer::Layout>,
    pub(crate) granularity: Bytes,
    pub(crate) smallest: Bytes,
    pub(crate) imports: bool,
    /// Whether it can set space aside.
    pub(crate) thick: bool,
}

/// Why a call gave nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    Filer(FilerError),
    Died(tokio::task::JoinError),
}

type Result<T> = std::result::Result<T, Trouble>;

/// One call, here or there.
macro_rules! call {
    ($self:ident, |$pool:ident| $here:expr, |$client:ident| $there:expr) => {
        match $self {
            Array::Local { pool, calls, .. } => {
                calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let $pool = pool.clone();
                match tokio::task::spawn_blocking(move || $here).await {
                    Ok(result) => result.map_err(Trouble::Filer),
                    Err(e) => Err(Trouble::Died(e)),
                }
            }
            Array::Remote { client: $client, .. } => $there.await.map_err(Trouble::Filer),
        }
    };
}

impl Array {
    /// Calls made so far: of the pool, or requests to the filer.
    #[cfg(test)]
    pub(crate) fn calls(&self) -> u64 {
        match self {
            Array::Local { calls, .. } => calls.load(std::sync::atomic::Ordering::Relaxed),
            Array::Remote { client, .. } => client.calls(),
        }
    }

    pub(crate) async fn space(&self) -> Result<Space> {
        let (stats, there) = call!(self, |pool| Ok((pool.stats()?, None)), |client| async {
            let view = the_pool(client).await?;
            Ok((view.stats, Some((view.overcommit, view.wires))))
        })?;
        let (overcommit, wires) = match (self, there) {
            (Array::Local { overcommit, .. }, _) => (*overcommit, None),
            (Array::Remote { .. }, Some((overcommit, wires))) => (overcommit, Some(wires)),
            (Array::Remote { .. }, None) => (1.0, None),
        };
        Ok(Space { stats, overcommit, wires })
    }

    pub(crate) async fn find(&self, handle: &str) -> Result<Option<VolumeState>> {
        let name = handle.to_owned();
        call!(self, |pool| pool.find(&name), |client| client.find(&name))
    }

    /// Volumes of all instances.
    pub(crate) async fn list(&self) -> Result<Vec<VolumeState>> {
        call!(self, |pool| pool.list(), |client| client.list())
    }

    pub(crate) async fn create(&self, wanted: CreateVolume) -> Result<Outcome<VolumeState>> {
        call!(self, |pool| pool.create(&wanted), |client| client.create(&wanted))
    }

    /// Its snapshots go with it.
    pub(crate) async fn delete(&self, handle: &str) -> Result<Outcome<()>> {
        let name = handle.to_owned();
        call!(self, |pool| pool.delete_whole(&name), |client| client.delete(&name))
    }

    pub(crate) async fn grow(&self, handle: &str, size: Bytes) -> Result<Outcome<VolumeState>> {
        let name = handle.to_owned();
        call!(self, |pool| pool.grow(&name, size), |client| client.grow(&name, size))
    }

    pub(crate) async fn modify(
        &self,
        handle: &str,
        changes: filer::ModifyVolume,
    ) -> Result<Outcome<VolumeState>> {
        let name = handle.to_owned();
        call!(self, |pool| pool.modify(&name, &changes), |client| client.modify(&name, &changes))
    }

    pub(crate) async fn mark_staged(&self, handle: &str) -> Result<Outcome<VolumeState>> {
        let name = handle.to_owned();
        call!(self, |pool| pool.mark_staged(&name), |client| client.mark_staged(&name))
    }

    pub(crate) async fn permit(&self, handle: &str, permit: &Permit) -> Result<Outcome<Route>> {
        let (name, permit) = (handle.to_owned(), permit.clone());
        let permitted = call!(
            self,
            |pool| pool.permit(&name, &permit).map(|done| done.map(|state| layout::route(&state))),
            |client| client.permit(&name, &permit)
        )?;
        Ok(match self {
            Array::Local { .. } => permitted,
            Array::Remote { config, .. } => permitted.map(|route| config.adjusted(route)),
        })
    }

    pub(crate) async fn forbid(&self, handle: &str, node: &NodeName) -> Result<Outcome<()>> {
        let (name, node) = (handle.to_owned(), node.clone());
        call!(self, |pool| pool.forbid(&name, &node).map(|done| done.map(drop)), |client| client
            .forbid(&name, node.as_str()))
    }

    pub(crate) async fn take(&self, handle: &str, snapshot: &str) -> Result<Outcome<SnapshotState>> {
        let (name, snapshot) = (handle.to_owned(), snapshot.to_owned());
        call!(self, |pool| pool.take(&name, &snapshot), |client| client.take(&name, &snapshot))
    }

    pub(crate) async fn delete_snapshot(&self, handle: &str, snapshot: &str) -> Result<Outcome<()>> {
        let (name, snapshot) = (handle.to_owned(), snapshot.to_owned());
        call!(self, |pool| pool.delete_snapshot(&name, &snapshot), |client| client
            .delete_snapshot(&name, &snapshot))
    }

    pub(crate) async fn list_snapshots(&self, handle: &str) -> Result<Vec<SnapshotState>> {
        let name = handle.to_owned();
        call!(self, |pool| pool.list_snapshots(&name), |client| client.list_snapshots(&name))
    }

    pub(crate) async fn restore(&self, handle: &str, snapshot: &str) -> Result<Outcome<VolumeState>> {
        let (name, snapshot) = (handle.to_owned(), snapshot.to_owned());
        call!(self, |pool| pool.restore(&name, &snapshot), |client| client.restore(&name, &snapshot))
    }

    pub(crate) async fn find_foreign(&self, name: &str) -> Result<Option<ForeignState>> {
        let name = name.to_owned();
        call!(
            self,
            |pool| Ok(pool.list_foreign()?.into_iter().find(|foreign| foreign.name == name)),
            |client| client.find_foreign(&name)
        )
    }

    pub(crate) async fn import(&self, original: &str, wanted: CreateVolume) -> Result<Outcome<VolumeState>> {
        let original = original.to_owned();
        call!(self, |pool| pool.import(&original, &wanted), |client| client.import(&original, &wanted))
    }

    /// Labels a volume with the wire its nodes are to reach it by, where it has one.
    pub(crate) fn label(&self, wanted: &mut CreateVolume, layout: Layout) {
        if let Array::Remote { config, .. } = self
            && let Some(wire) = config.wire(layout)
        {
            wanted.labels.insert(WIRE_LABEL.to_owned(), wire.to_string());
        }
    }
}

/// The one pool that a filer has.
pub(crate) async fn the_pool(client: &Client) -> std::result::Result<filer::PoolView, FilerError> {
    let pools = client.pools().await?;
    let first = pools.into_iter().next();
    first.ok_or_else(|| FilerError::NotFound(format!("filer {} has no pool", client.url())))
}

impl Limits {
    pub(crate) fn of_pool(pool: &filer::Pool) -> Limits {
        let abilities = pool.abilities();
        Limits {
            layouts: abilities.layouts.keys().copied().collect(),
            granularity: abilities.granularity,
            smallest: abilities.smallest,
            imports: abilities.import.has(),
            thick: abilities.layouts.values().any(|layout| layout.thick.has()),
        }
    }

    pub(crate) fn of_view(view: &filer::PoolView) -> Limits {
        Limits {
            layouts: view.layouts.clone(),
            granularity: view.granularity,
            smallest: view.smallest,
            imports: view.imports,
            thick: view.thick,
        }
    }
}

impl Trouble {
    pub(crate) fn is(&self, kind: filer::ErrorKind) -> bool {
        matches!(self, Trouble::Filer(error) if error.kind() == kind)
    }

    pub(crate) fn in_operation(self, operation: &'static str) -> DriverError {
        match self {
            Trouble::Filer(error) => translate(operation, error),
            Trouble::Died(error) => died(operation, error),
        }
    }
}

pub(crate) fn died(operation: &'static str, error: tokio::task::JoinError) -> DriverError {
    DriverError::new(ErrorKind::Internal, operation, "the work on the pool ended early").because(error)
}

impl Remote {
    /// The filer's route with what the config says of it.
    fn adjusted(&self, mut route: Route) -> Route {
        match &mut route {
            Route::Nfs(nfs) => {
                nfs.mount_options.clone_from(&self.nfs_mount_options);
                if let Some(first) = self.data_addresses.first() {
                    nfs.server = first.to_string();
                }
            }
            Route::Iscsi(iscsi) => self.replace(&mut iscsi.portals),
            Route::Nvme(nvme) => self.replace(&mut nvme.portals),
            Route::Local { .. } => {}
        }
        route
    }

    /// The same port at other addresses.
    fn replace(&self, portals: &mut Vec<String>) {
        let port = portals.first().and_then(|portal| Some(portal.parse::<SocketAddr>().ok()?.port()));
        if let (Some(port), false) = (port, self.data_addresses.is_empty()) {
            let at = |address: &IpAddr| SocketAddr::new(*address, port).to_string();
            *portals = self.data_addresses.iter().map(at).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use filer::TrustFiles;
    use model::{IscsiRoute, NfsRoute};

    use super::*;

    #[test]
    fn the_config_holds_over_the_filers_addresses() {
        let trust = TrustFiles { certificate: "/c".into(), key: "/k".into(), ca: "/a".into() };
        let mut config = Remote {
            url: "https://f".into(),
            trust,
            protocol: None,
            nfs_mount_options: vec!["hard".into()],
            data_addresses: Vec::new(),
        };
        let nfs =
            Route::Nfs(NfsRoute { server: "10.0.0.1".into(), path: "/v".into(), mount_options: vec![] });
        let iscsi = Route::Iscsi(IscsiRoute {
            target: "iqn".into(),
            portals: vec!["10.0.0.1:3260".into()],
            lun: 1,
            serial: "s".into(),
            chap: None,
        });
        assert_eq!(config.adjusted(iscsi.clone()), iscsi);
        config.data_addresses = vec!["10.9.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let Route::Nfs(nfs) = config.adjusted(nfs) else { panic!() };
        assert_eq!(
            (nfs.server.as_str(), nfs.mount_options.as_slice()),
            ("10.9.0.1", &["hard".to_owned()][..])
        );
        let Route::Iscsi(iscsi) = config.adjusted(iscsi) else { panic!() };
        assert_eq!(iscsi.portals, ["10.9.0.1:3260", "[fd00::1]:3260"]);
    }
}
