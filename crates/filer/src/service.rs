//! A pool as a service: HTTPS for those who manage volumes, NFS, iSCSI and NVMe for those who use them.

mod accept;
mod caller;
mod order;
mod routes;
mod serving;
mod share;
mod work;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::error::{Context, FilerError, Result};
use crate::pool::{Pool, PoolSpec};
use crate::trust::TrustFiles;
use crate::wire::Wire;
use work::Work;

/// How a filer serves.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Its owner is not looked at: a filer's volumes are its tenants'.
    pub pool: PoolSpec,
    /// Makes the pool if it is not there.
    pub make: bool,
    pub listen: SocketAddr,
    pub trust: TrustFiles,
    /// Addresses that nodes reach the data by.
    pub portals: Vec<IpAddr>,
    /// What to serve by; none: volumes are managed, and no node can reach one.
    pub wires: Vec<Wire>,
    /// Where what is not on the pool is kept.
    pub state: PathBuf,
    /// How often the kernel is compared with the records.
    pub period: Duration,
}

/// A filer that can be reached.
pub struct Service {
    work: Arc<Work>,
    listener: TcpListener,
    tls: TlsAcceptor,
    period: Duration,
}

impl Service {
    /// Opens the pool and takes the port.
    ///
    /// # Errors
    /// `Invalid` for files or portals that cannot be used, `Unsupported` names what the machine lacks to serve by a
    /// wire, `Conflict` for a port or a pool that somebody else has.
    pub async fn start(spec: ServiceSpec) -> Result<Service> {
        let tls = TlsAcceptor::from(Arc::new(spec.trust.for_server()?));
        if spec.portals.is_empty() && !spec.wires.is_empty() {
            return Err(FilerError::Invalid(
                "no portal is given; name the addresses that nodes reach the data by".to_owned(),
            ));
        }
        let listener = TcpListener::bind(spec.listen).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                FilerError::Conflict(format!("port {} is taken; is a filer running already?", spec.listen))
            }
            _ => FilerError::Invalid(format!("cannot listen on {}: {e}", spec.listen)),
        })?;
        let period = spec.period;
        let work = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&spec.state).while_doing("create directory", &spec.state)?;
            let owned = PoolSpec { owner: share::OWNER.to_owned(), ..spec.pool.clone() };
            let pool = if spec.make { Pool::make(&owned)? } else { Pool::open(&owned)? };
            Work::new(pool, &spec)
        });
        let work = work.await.map_err(|e| FilerError::Invalid(format!("the start ended early: {e}")))??;
        Ok(Service { work: Arc::new(work), listener, tls, period })
    }

    /// Where it listens: useful when port 0 was asked for.
    ///
    /// # Errors
    /// Of the system.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().while_doing("look at", "the listening socket")
    }

    /// Restores what nodes may reach, then answers until `stop` ends.
    ///
    /// # Behavior
    /// What nodes reach stays reachable when it ends, however it ends. Until everything is restored it answers that
    /// it is not ready, and changes nothing.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Service { work, listener, tls, period } = self;
        // Ends with this call, also when that is given up.
        let mut repair = JoinSet::new();
        repair.spawn({
            let work = work.clone();
            async move {
                while let Err(error) = work.begin().await {
                    tracing::error!(error = %error, "cannot let clients in; trying again");
                    tokio::time::sleep(period).await;
                }
                tracing::info!("the filer is ready");
                loop {
                    tokio::time::sleep(period).await;
                    if let Err(error) = work.repair().await {
                        tracing::error!(error = %error, "cannot compare the kernel with the records");
                    }
                }
            }
        });
        accept::serve(listener, tls, routes::router(work), stop).await;
        repair.shutdown().await;
    }
}
