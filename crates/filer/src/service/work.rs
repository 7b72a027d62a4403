//! Requests, done: who may, in which order, on the pool and then in the kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Bytes, NodeName, Permit, Route};
use tokio::sync::Semaphore;

use super::ServiceSpec;
use super::caller::Caller;
use super::order::Order;
use super::share::{Share, inside, wire_of};
use crate::error::{FilerError, Result};
use crate::pool::Pool;
use crate::volume::{Outcome, VolumeState};
use crate::wire::{PoolView, Wire};

/// A filer's pool, and what serves it.
#[derive(Debug)]
pub(super) struct Work {
    pool: Arc<Pool>,
    name: String,
    overcommit: f64,
    wires: Vec<Wire>,
    order: Order,
    /// Changes that may run at one time; more of them wait.
    room: Semaphore,
    ready: AtomicBool,
}

const AT_ONCE: usize = 64;

impl Work {
    pub(super) fn new(pool: Pool, spec: &ServiceSpec) -> Result<Work> {
        let name = pool.path().file_name().and_then(|name| name.to_str()).unwrap_or("pool").to_owned();
        Ok(Work {
            pool: Arc::new(pool),
            name,
            overcommit: spec.pool.overcommit,
            wires: spec.wires.clone(),
            order: Order::default(),
            room: Semaphore::new(AT_ONCE),
            ready: AtomicBool::new(false),
        })
    }

    pub(super) fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(super) fn wires(&self) -> Vec<Wire> {
        self.wires.clone()
    }

    pub(super) async fn pool(self: &Arc<Self>, caller: &Caller) -> Result<PoolView> {
        let (stats, abilities) =
            self.look(caller, |share| Ok((share.pool.stats()?, share.pool.abilities()))).await?;
        Ok(PoolView {
            name: self.name.clone(),
            stats,
            overcommit: self.overcommit,
            layouts: abilities.layouts.keys().copied().collect(),
            granularity: abilities.granularity,
            smallest: abilities.smallest,
            imports: abilities.import.has(),
            wires: self.wires(),
        })
    }

    /// Does what changes nothing. It waits for nobody.
    pub(super) async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        caller: &Caller,
        look: impl FnOnce(&Share<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (work, caller) = (self.clone(), caller.clone());
        let done =
            tokio::task::spawn_blocking(move || look(&work.share(&caller)).map_err(|e| plain(&caller, e)));
        done.await.map_err(ended)?
    }

    /// Changes a volume, alone, and to the end: also when the caller goes away.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        caller: &Caller,
        handle: &str,
        change: impl FnOnce(&Share<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.ready() {
            return Err(FilerError::Unreachable("the filer is starting; try again in a moment".to_owned()));
        }
        let (work, caller, inside) = (self.clone(), caller.clone(), inside(&caller.tenant, handle));
        let task = tokio::spawn(async move {
            let alone = work.order.lock(&inside).await;
            if let Some(turn) = caller.turn {
                work.order.admit(&inside, turn)?;
            }
            let _place = work.room.acquire().await.map_err(ended)?;
            let here = work.clone();
            let done = tokio::task::spawn_blocking(move || {
                let _alone = alone;
                change(&here.share(&caller)).map_err(|e| plain(&caller, e))
            });
            done.await.map_err(ended)?
        });
        task.await.map_err(ended)?
    }

    pub(super) async fn delete(self: &Arc<Self>, caller: &Caller, handle: &str) -> Result<Outcome<()>> {
        let volume = handle.to_owned();
        self.change(caller, handle, move |share| share.delete(&volume)).await
    }

    pub(super) async fn grow(
        self: &Arc<Self>,
        caller: &Caller,
        handle: &str,
        size: Bytes,
    ) -> Result<Outcome<VolumeState>> {
        let volume = handle.to_owned();
        self.change(caller, handle, move |share| share.grow(&volume, size)).await
    }

    pub(super) async fn restore(
        self: &Arc<Self>,
        caller: &Caller,
        handle: &str,
        name: &str,
    ) -> Result<Outcome<VolumeState>> {
        let (volume, name) = (handle.to_owned(), name.to_owned());
        self.change(caller, handle, move |share| share.restore(&volume, &name)).await
    }

    pub(super) async fn permit(
        self: &Arc<Self>,
        _caller: &Caller,
        _handle: &str,
        _permit: Permit,
    ) -> Result<Outcome<Route>> {
        Err(FilerError::Unsupported("this filer serves no wire".to_owned()))
    }

    pub(super) async fn forbid(
        self: &Arc<Self>,
        caller: &Caller,
        handle: &str,
        node: &str,
    ) -> Result<Outcome<()>> {
        let volume = handle.to_owned();
        let node = NodeName::new(node).map_err(|e| FilerError::Invalid(e.to_string()))?;
        self.change(caller, handle, move |share| share.forbid(&volume, &node))
            .await
            .map(|done| done.map(drop))
    }

    pub(super) async fn repair(self: &Arc<Self>) {}

    fn share<'a>(&'a self, caller: &'a Caller) -> Share<'a> {
        Share { pool: &self.pool, tenant: &caller.tenant, instance: &caller.instance }
    }
}

/// Names of volumes as the tenant knows them.
fn plain(caller: &Caller, error: FilerError) -> FilerError {
    error.reworded(|text| text.replace(&format!("`{}.", caller.tenant), "`"))
}

fn ended(error: impl std::fmt::Display) -> FilerError {
    FilerError::Unreachable(format!("the work ended early: {error}"))
}
