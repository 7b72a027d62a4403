//! Backends: opened in the background, probed, kept away from when they do not answer.

mod breaker;
mod registry;
mod shown;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use driver::config::BackendFile;
use driver::{Capabilities, Driver, DriverError, ErrorKind};
use jiff::Timestamp;
use model::{BackendName, Bytes, Pool, PoolName, Provisioning};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::admission::{Admission, Queue};
use crate::metrics::Metrics;
use crate::orchestrator::{Limits, Periods};
use crate::{Error, Result};
use breaker::Breaker;
pub(crate) use registry::Registry;
pub use shown::{BackendHealth, BackendOrigin, BackendView};

/// Opens backends: the only place that knows the families.
#[async_trait]
pub trait Families: Send + Sync + 'static {
    async fn open(&self, file: &BackendFile) -> Result<Arc<dyn Driver>, DriverError>;
}

/// A backend as somebody has written it, and where.
pub(crate) type Standing = (BackendFile, BackendOrigin);

/// A backend as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BackendRecord {
    pub(crate) format: u32,
    pub(crate) name: BackendName,
    pub(crate) config: serde_json::Value,
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) name: BackendName,
    pub(crate) file: BackendFile,
    pub(crate) origin: BackendOrigin,
    pub(crate) admission: Admission,
    driver: ArcSwapOption<Arc<dyn Driver>>,
    health: ArcSwap<BackendHealth>,
    pools: ArcSwap<Vec<Pool>>,
    breaker: Breaker,
    changed: Notify,
    /// Grows when the pools are asked for, so that waiters share one answer.
    refreshes: AtomicU64,
    refreshing: tokio::sync::Mutex<()>,
    /// Held while it is opened: opening locks what is opened, and would meet itself.
    opening: tokio::sync::Mutex<()>,
    call_limit: Duration,
    metrics: Arc<Metrics>,
    opened: Arc<Notify>,
}

impl Backend {
    pub(crate) fn new(
        file: BackendFile,
        origin: BackendOrigin,
        limits: &Limits,
        periods: &Periods,
        metrics: Arc<Metrics>,
        opened: Arc<Notify>,
    ) -> Backend {
        Backend {
            name: file.name().clone(),
            file,
            origin,
            admission: Admission::new(limits),
            driver: ArcSwapOption::empty(),
            health: ArcSwap::from_pointee(BackendHealth::Opening),
            pools: ArcSwap::from_pointee(Vec::new()),
            breaker: Breaker::new(),
            changed: Notify::new(),
            refreshes: AtomicU64::new(0),
            refreshing: tokio::sync::Mutex::new(()),
            opening: tokio::sync::Mutex::new(()),
            call_limit: periods.call,
            metrics,
            opened,
        }
    }

    pub(crate) fn health(&self) -> Arc<BackendHealth> {
        self.health.load_full()
    }

    pub(crate) fn pools(&self) -> Arc<Vec<Pool>> {
        self.pools.load_full()
    }

    pub(crate) fn pool(&self, name: &PoolName) -> Option<Pool> {
        self.pools.load().iter().find(|pool| pool.name == *name).cloned()
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.driver
            .load()
            .as_ref()
            .map(|driver| Capabilities::of(driver.as_ref().as_ref()))
            .unwrap_or_default()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.driver.load().is_some()
    }

    /// Opens it, or sees why not. Whoever comes while that goes on waits for its end.
    pub(crate) async fn open(&self, families: &dyn Families) -> Result<()> {
        let _turn = self.opening.lock().await;
        if self.driver.load().is_some() {
            return Ok(());
        }
        let opened = match tokio::time::timeout(self.call_limit, families.open(&self.file)).await {
            Ok(opened) => opened,
            Err(_) => Err(self.silent("open backend")),
        };
        match opened {
            Ok(driver) => {
                self.driver.store(Some(Arc::new(driver)));
                let pools = self.refresh().await;
                self.changed.notify_waiters();
                pools.map_err(Error::from)
            }
            Err(error) => {
                let error = Error::from(error);
                self.set_health(BackendHealth::Failed { reason: error.sentence() });
                Err(error)
            }
        }
    }

    /// The driver, once it is opened.
    ///
    /// # Errors
    /// `Unreachable` when it is not within the time.
    pub(crate) async fn driver(&self, patience: Duration) -> Result<Arc<dyn Driver>> {
        let opened = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(driver) = self.driver.load_full() {
                    return Ok(driver.as_ref().clone());
                }
                if let BackendHealth::Failed { reason } = &*self.health() {
                    return Err(self.unusable(format!("could not be opened: {reason}")));
                }
                changed.await;
            }
        };
        match tokio::time::timeout(patience, opened).await {
            Ok(result) => result,
            Err(_) => Err(self.unusable("is still being opened".to_owned()).hint("try again in a moment")),
        }
    }

    /// Makes one call: in its queue, within the time limit, measured, and not at all while the breaker is open.
    pub(crate) async fn call<T>(
        &self,
        queue: Queue,
        call: &'static str,
        work: impl Future<Output = driver::Result<T>>,
    ) -> driver::Result<T> {
        if !self.breaker.allows() {
            let reason = match &*self.health() {
                BackendHealth::Unreachable { reason, .. } => reason.clone(),
                _ => "it did not answer".to_owned(),
            };
            let message = format!("backend `{}` is left alone for a while: {reason}", self.name);
            return Err(DriverError::new(ErrorKind::Unreachable, call, message));
        }
        let limited = async {
            let started = Instant::now();
            let result = match tokio::time::timeout(self.call_limit, work).await {
                Ok(result) => result,
                Err(_) => Err(self.silent(call)),
            };
            let outcome = result.as_ref().err().map_or("ok", |error| error.kind.as_str());
            self.metrics.call(&self.name, call, outcome, started.elapsed());
            result
        };
        let result = self.admission.run(queue, limited).await;
        match &result {
            Err(error) if error.kind == ErrorKind::Unreachable => {
                if self.breaker.failed() {
                    let reason = error.to_string();
                    self.set_health(BackendHealth::Unreachable { since: Timestamp::now(), reason });
                }
            }
            _ => {
                self.breaker.worked();
                if !matches!(*self.health(), BackendHealth::Online) {
                    self.set_health(BackendHealth::Online);
                }
            }
        }
        result
    }

    /// Asks for the pools; those who ask meanwhile share the answer.
    pub(crate) async fn refresh(&self) -> driver::Result<()> {
        let before = self.refreshes.load(Ordering::SeqCst);
        let _alone = self.refreshing.lock().await;
        if self.refreshes.load(Ordering::SeqCst) > before {
            return Ok(());
        }
        let Some(driver) = self.driver.load_full() else { return Ok(()) };
        let pools = self.call(Queue::Read, "list pools", driver.pools()).await?;
        self.pools.store(Arc::new(pools));
        self.refreshes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// The probe of the health task: gets past an open breaker.
    pub(crate) async fn probe(&self, families: &dyn Families) {
        if self.driver.load().is_none() {
            if let Err(error) = self.open(families).await {
                tracing::debug!(backend = %self.name, error = error.sentence(), "still not opened");
            }
            return;
        }
        self.breaker.try_again();
        if let Err(error) = self.refresh().await {
            tracing::debug!(backend = %self.name, %error, "still unreachable");
            if error.kind == ErrorKind::Denied && self.file.credentials().is_some() {
                self.open_anew(families).await;
            }
        }
    }

    /// The secret that its file names may be another one by now. What is open stays until it opens with that.
    async fn open_anew(&self, families: &dyn Families) {
        let _turn = self.opening.lock().await;
        match tokio::time::timeout(self.call_limit, families.open(&self.file)).await {
            Ok(Ok(driver)) => {
                tracing::info!(backend = %self.name, "opened anew, with the secret as it is now");
                self.driver.store(Some(Arc::new(driver)));
                if let Err(error) = self.refresh().await {
                    tracing::debug!(backend = %self.name, %error, "cannot ask for pools");
                }
            }
            Ok(Err(error)) => tracing::warn!(backend = %self.name, %error, "its account is refused"),
            Err(_) => tracing::debug!(backend = %self.name, "no answer to opening it anew"),
        }
    }

    /// Counts what has just been placed, until the backend is asked again.
    pub(crate) fn spend(&self, pool: &PoolName, size: Bytes, provisioning: Provisioning) {
        self.pools.rcu(|pools| {
            let mut pools = Vec::clone(pools);
            if let Some(pool) = pools.iter_mut().find(|p| p.name == *pool) {
                let capacity = &mut pool.capacity;
                capacity.provisioned = capacity.provisioned + size;
                capacity.free_thin = capacity.free_thin - size;
                if provisioning == Provisioning::Thick {
                    capacity.free_thick = capacity.free_thick - size;
                }
            }
            pools
        });
    }

    /// Its user said: no new volumes.
    pub(crate) fn is_suspended(&self) -> bool {
        self.file.user_state() == driver::config::UserState::Suspended
    }

    pub(crate) fn view(&self, volumes: usize) -> BackendView {
        BackendView {
            name: self.name.clone(),
            driver: self.file.driver_name().to_owned(),
            origin: self.origin.clone(),
            health: BackendHealth::clone(&self.health()),
            suspended: self.is_suspended(),
            capabilities: self.capabilities(),
            pools: Vec::clone(&self.pools()),
            volumes,
            config: self.file.redacted(),
        }
    }

    fn set_health(&self, health: BackendHealth) {
        let before = self.health.swap(Arc::new(health.clone()));
        let differs = before.as_str() != health.as_str();
        match &health {
            BackendHealth::Online if differs => {
                tracing::info!(backend = %self.name, "backend is online");
                self.opened.notify_one();
            }
            BackendHealth::Unreachable { reason, .. } if differs => {
                tracing::warn!(backend = %self.name, reason, "backend does not answer");
            }
            BackendHealth::Failed { reason } if differs => {
                tracing::error!(backend = %self.name, reason, "backend cannot be opened");
            }
            _ => {}
        }
        self.changed.notify_waiters();
    }

    fn unusable(&self, what: String) -> Error {
        Error::new(ErrorKind::Unreachable, format!("backend `{}` {what}", self.name))
            .retry(driver::Retry::Later)
    }

    fn silent(&self, call: &'static str) -> DriverError {
        let message = format!("no answer within {} s", self.call_limit.as_secs());
        DriverError::new(ErrorKind::Unreachable, call, message).with("backend", &self.name)
    }
}
