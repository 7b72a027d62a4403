//! Requests, done: who may, in which order, on the pool and then in the kernel.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Bytes, NodeName, Permit, Route};
use tokio::sync::Semaphore;

use super::ServiceSpec;
use super::caller::Caller;
use super::order::Order;
use super::serving::Serving;
use super::share::{Share, inside};
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
    serving: Serving,
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
            serving: Serving::open(spec)?,
            order: Order::default(),
            room: Semaphore::new(AT_ONCE),
            ready: AtomicBool::new(false),
        })
    }

    pub(super) fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
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
            thick: abilities.layouts.values().any(|layout| layout.thick.has()),
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
        let (work, volume) = (self.clone(), handle.to_owned());
        self.change(caller, handle, move |share| {
            // Nobody is permitted, or the pool refuses; the kernel must let go of the data before it goes.
            if let Some(state) = share.find(&volume)?.filter(|state| state.permits.is_empty()) {
                share.own(&state.handle)?;
                work.serving.withdraw(&share.inside(&volume))?;
            }
            share.delete(&volume)
        })
        .await
    }

    pub(super) async fn grow(
        self: &Arc<Self>,
        caller: &Caller,
        handle: &str,
        size: Bytes,
    ) -> Result<Outcome<VolumeState>> {
        let (work, volume) = (self.clone(), handle.to_owned());
        self.change(caller, handle, move |share| {
            let grown = share.grow(&volume, size)?;
            // Also when the pool had done it before: the kernel may not have.
            work.serving.grown(&share.inside(&volume), size)?;
            Ok(grown)
        })
        .await
    }

    pub(super) async fn restore(
        self: &Arc<Self>,
        caller: &Caller,
        handle: &str,
        name: &str,
    ) -> Result<Outcome<VolumeState>> {
        let (work, volume, name) = (self.clone(), handle.to_owned(), name.to_owned());
        self.change(caller, handle, move |share| {
            // What the kernel still has open would be the content of before.
            if share.own(&volume)?.permits.is_empty() {
                work.serving.withdraw(&share.inside(&volume))?;
            }
            share.restore(&volume, &name)
        })
        .await
    }

    /// Notes the permit, then makes it so. What the kernel cannot do is taken back.
    pub(super) async fn permit(
        self: &Arc<Self>,
        caller: &Caller,
        handle: &str,
        permit: Permit,
    ) -> Result<Outcome<Route>> {
        let (work, volume) = (self.clone(), handle.to_owned());
        self.change(caller, handle, move |share| {
            let before =
                share.own(&volume)?.permits.into_iter().find(|had| had.node.name == permit.node.name);
            if !work.serving.serves_any() {
                return Err(FilerError::Unsupported(
                    "this filer serves no wire; start it with `--wires nfs,iscsi`".to_owned(),
                ));
            }
            let noted = share.permit(&volume, &permit)?;
            let changed = noted.changed();
            match work.serving.serve(&noted.into_state(), Some(&permit.node.name)) {
                Ok(route) if changed => Ok(Outcome::Changed(route)),
                Ok(route) => Ok(Outcome::Unchanged(route)),
                Err(error) => {
                    if changed {
                        match before {
                            Some(before) => share.permit(&volume, &before)?,
                            None => share.forbid(&volume, &permit.node.name)?,
                        };
                    }
                    Err(error)
                }
            }
        })
        .await
    }

    /// Fences the node, then strikes its permit out.
    pub(super) async fn forbid(
        self: &Arc<Self>,
        caller: &Caller,
        handle: &str,
        node: &str,
    ) -> Result<Outcome<()>> {
        let (work, volume) = (self.clone(), handle.to_owned());
        let node = NodeName::new(node).map_err(|e| FilerError::Invalid(e.to_string()))?;
        self.change(caller, handle, move |share| {
            let mut left = share.own_inside(&volume)?;
            left.permits.retain(|permit| permit.node.name != node);
            work.serving.fence(&left)?;
            Ok(share.forbid(&volume, &node)?.map(drop))
        })
        .await
    }

    /// Restores what nodes may reach, then lets them in.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<()> {
        self.repair().await?;
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes the kernel serve what the records say, one volume after another, and lets clients in. A volume that cannot
    /// be served keeps none of the others.
    pub(super) async fn repair(self: &Arc<Self>) -> Result<()> {
        let work = self.clone();
        let listed = tokio::task::spawn_blocking(move || {
            work.serving.prepare()?;
            work.to_serve()
        });
        for handle in listed.await.map_err(ended)?? {
            let alone = self.order.lock(&handle).await;
            let (work, name) = (self.clone(), handle.clone());
            let done = tokio::task::spawn_blocking(move || {
                let _alone = alone;
                work.mend(&name)
            });
            if let Err(error) = done.await.map_err(ended).and_then(|done| done) {
                tracing::error!(volume = handle, error = %error, "a volume cannot be served as its record says");
            }
        }
        let work = self.clone();
        tokio::task::spawn_blocking(move || work.serving.answer()).await.map_err(ended)?
    }

    /// Names of volumes that somebody may reach, or that the kernel knows of.
    fn to_serve(&self) -> Result<BTreeSet<String>> {
        if !self.serving.serves_any() {
            return Ok(BTreeSet::new());
        }
        let mut handles = self.serving.list()?;
        let permitted = self.pool.list()?.into_iter().filter(|state| !state.permits.is_empty());
        handles.extend(permitted.map(|state| state.handle));
        Ok(handles)
    }

    fn mend(&self, handle: &str) -> Result<()> {
        match self.pool.find(handle)? {
            None => self.serving.withdraw(handle),
            Some(state) => self.serving.fence(&state),
        }
    }

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
