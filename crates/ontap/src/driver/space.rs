//! Where volumes can go.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use driver::{CreateVolume, DriverError, ErrorKind, Result};
use model::{
    Attribute, Bytes, Capacity, Filesystem, Labels, Layout, Offer, Offers, Pool, PoolName, Provisioning,
    VolumeOptions,
};

use super::OntapDriver;
use crate::client;
use crate::config::Kind;
use crate::layout::{Found, GRANULARITY, SMALLEST, SMALLEST_GROUP};
use crate::wire::aggregates::{self, Aggregate};
use crate::wire::svms;

/// How many times its space an aggregate may promise to thin volumes.
const OVERCOMMIT: u64 = 10;
const DEFAULT_SIZE: Bytes = Bytes::gib(1);

impl OntapDriver {
    /// One call, whatever the number of volumes; the first one lists them too.
    pub(super) async fn look_at_pools(&self) -> Result<Vec<Pool>> {
        const OPERATION: &str = "list pools";
        let fail = self.array.error(OPERATION);
        let aggregates = self.aggregates().await.map_err(&fail)?;
        if !self.array.known.is_complete() {
            self.array.list().await.map_err(&fail)?;
        }
        let promised = self.array.known.promised();
        let mut physical: Vec<Pool> =
            aggregates.iter().filter_map(|aggregate| self.physical(aggregate, &promised)).collect();
        if self.array.config.kind == Kind::NasFlexGroup {
            physical = merged(physical, &self.array.first_pool).into_iter().collect();
        }
        let slices = &self.array.config.slices;
        let fits = |n: usize, pool: &Pool| match slices.get(n) {
            Some(Some(aggregate)) => pool.name.as_str() == aggregate,
            _ => true,
        };
        let shown = self.file.expose(physical.clone(), fits);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = physical.into_iter().chain(shown.clone()).map(|pool| (pool.name.clone(), pool)).collect();
        Ok(shown)
    }

    /// What an account of the SVM may see of its aggregates is what they have free.
    async fn aggregates(&self) -> client::Result<Vec<Aggregate>> {
        let (array, client) = (&self.array, &self.array.client);
        if !array.confined.load(Ordering::Relaxed) {
            match aggregates::list(client, &array.aggregates).await {
                Err(error) if error.kind() == ErrorKind::Denied && array.config.aggregate_usage.is_none() => {
                }
                seen => return seen,
            }
        }
        let mut all = svms::aggregates(client, &array.svm).await?;
        array.confined.store(true, Ordering::Relaxed);
        all.retain(|aggregate| array.aggregates.contains(&aggregate.name));
        Ok(all)
    }

    /// The aggregate for a volume; `None`: the array spreads it.
    ///
    /// # Errors
    /// `NotFound` for a pool that is not ours; `NoCapacity` names what is free.
    pub(super) async fn place(
        &self,
        request: &CreateVolume,
        operation: &'static str,
    ) -> Result<Option<String>> {
        if !self.has_room(request) {
            // What was seen may be old: look again before a refusal.
            self.look_at_pools().await?;
            if !self.has_room(request) {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(pool) = seen.get(&request.pool) else {
                    let message = format!("backend `{}` has no pool `{}`", self.info.backend, request.pool);
                    return Err(DriverError::new(ErrorKind::NotFound, operation, message));
                };
                return Err(request.no_capacity(pool.capacity.free(request.spec.provisioning)));
            }
        }
        if self.array.config.kind == Kind::NasFlexGroup {
            return Ok(None);
        }
        if self.array.aggregates.iter().any(|aggregate| aggregate == request.pool.as_str()) {
            return Ok(Some(request.pool.to_string()));
        }
        let slice = self.file.virtual_pools().position(|name| *name == request.pool);
        if let Some(Some(named)) = slice.and_then(|n| self.array.config.slices.get(n)) {
            return Ok(Some(named.clone()));
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |name: &String| {
            let pool = PoolName::new(name).ok().and_then(|name| seen.get(&name));
            pool.map(|pool| pool.capacity.free(request.spec.provisioning))
        };
        Ok(self.array.aggregates.iter().max_by_key(|name| free(name)).cloned())
    }

    fn has_room(&self, request: &CreateVolume) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = seen.get(&request.pool);
        pool.is_some_and(|pool| request.spec.size <= pool.capacity.free(request.spec.provisioning))
    }

    /// The array's word for a full pool, with ours for what is free.
    pub(super) fn full(&self, request: &CreateVolume, error: DriverError) -> DriverError {
        if error.kind != ErrorKind::NoCapacity {
            return error;
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let free = seen.get(&request.pool).map(|pool| pool.capacity.free(request.spec.provisioning));
        request.no_capacity(free.unwrap_or_default()).because(error)
    }

    /// What grows must still fit.
    ///
    /// # Errors
    /// `NoCapacity` names what is free.
    pub(super) async fn room_to_grow(&self, found: &Found, size: Bytes) -> Result<()> {
        let more = size.saturating_sub(found.size());
        let provisioning = if found.volume.is_thick() { Provisioning::Thick } else { Provisioning::Thin };
        let pool = found.state(&self.array, BTreeSet::new()).pool;
        let free = || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(&pool).map(|pool| pool.capacity.free(provisioning))
        };
        if free().is_none_or(|free| free < more) {
            self.look_at_pools().await?;
        }
        match free() {
            Some(free) if free < more => {
                let message = format!("pool `{pool}` has {free} free; {more} more were asked for");
                Err(DriverError::new(ErrorKind::NoCapacity, super::growth::GROW, message))
            }
            _ => Ok(()),
        }
    }

    fn physical(&self, aggregate: &Aggregate, promised: &HashMap<String, u64>) -> Option<Pool> {
        let config = &self.array.config;
        let blocks = aggregate.space.as_ref()?.block_storage.as_ref()?;
        let promised = promised.get(&aggregate.name).copied().unwrap_or(0);
        let thin = blocks.size.saturating_mul(OVERCOMMIT).saturating_sub(promised);
        let limit =
            config.aggregate_usage.map_or(blocks.size, |percent| blocks.size / 100 * u64::from(percent));
        let available = blocks.available.min(limit.saturating_sub(blocks.used)).min(thin);
        let mut offers = Offers::from([
            (Attribute::BackendType, Offer::words([config.kind.name()])),
            (Attribute::ProvisioningType, Offer::words(["thin", "thick"])),
            (Attribute::Snapshots, Offer::Bool(config.kind != Kind::NasEconomy)),
            (Attribute::Clones, Offer::Bool(config.kind != Kind::NasEconomy)),
            (Attribute::Encryption, Offer::Bool(true)),
        ]);
        let media = aggregate.block_storage.as_ref().and_then(|b| b.storage_type.as_deref());
        if let Some(media @ ("hdd" | "hybrid" | "ssd")) = media {
            offers.insert(Attribute::Media, Offer::words([media]));
        }
        let layout = self.array.layout();
        let shared = layout == Layout::File || !self.array.is_nvme();
        Some(Pool {
            backend: self.info.backend.clone(),
            name: PoolName::new(&aggregate.name).ok()?,
            offers,
            labels: Labels::new(),
            topologies: Vec::new(),
            layouts: BTreeSet::from([layout]),
            shared: if shared { BTreeSet::from([layout]) } else { BTreeSet::new() },
            accepts: config.kind.accepts(),
            capacity: Capacity {
                total: Bytes::new(blocks.size),
                used: Bytes::new(blocks.used.min(blocks.size)),
                provisioned: Bytes::new(promised),
                free_thin: Bytes::new(if available == 0 { 0 } else { thin }),
                free_thick: Bytes::new(available),
            },
            granularity: GRANULARITY,
            smallest: if config.kind == Kind::NasFlexGroup { SMALLEST_GROUP } else { SMALLEST },
            largest: None,
            default_size: DEFAULT_SIZE,
            default_provisioning: Provisioning::Thin,
            default_filesystem: (layout == Layout::Block).then_some(Filesystem::Ext4),
            default_options: VolumeOptions::new(),
            name_template: None,
        })
    }
}

/// One pool over all aggregates: a FlexGroup spans them.
fn merged(pools: Vec<Pool>, name: &PoolName) -> Option<Pool> {
    pools
        .into_iter()
        .reduce(|mut all, pool| {
            let (a, b) = (all.capacity, pool.capacity);
            all.capacity = Capacity {
                total: a.total + b.total,
                used: a.used + b.used,
                provisioned: a.provisioned + b.provisioned,
                free_thin: a.free_thin + b.free_thin,
                free_thick: a.free_thick + b.free_thick,
            };
            all.offers.retain(|attribute, offer| pool.offers.get(attribute) == Some(offer));
            all
        })
        .map(|pool| Pool { name: name.clone(), ..pool })
}
