use model::{
    AccessMode, Attribute, Bytes, Filesystem, Layout, Offer, Pool, Provisioning, Requirement, VolumeSpec,
    Wishes, is_encrypted_by_node,
};

use super::{Candidate, Demand};

pub(super) struct No {
    pub(super) reason: String,
    /// The same wish fits elsewhere, or when there is room again.
    pub(super) full: bool,
}

fn no<T>(reason: impl Into<String>) -> Result<T, No> {
    Err(No { reason: reason.into(), full: false })
}

/// The volume as it would be in this pool, or why not.
///
/// The order is the one that users of Trident know: exclude, additional, storage pools, attributes, labels;
/// then health, protocol and access, topology, limits and space.
pub(super) fn decide(demand: &Demand, candidate: &Candidate) -> Result<VolumeSpec, No> {
    let pool = &candidate.pool;
    if demand.backend.as_ref().is_some_and(|wanted| *wanted != pool.backend) {
        return no(format!("backend `{}` was asked for", demand.backend.as_ref().map_or("", |b| b.as_str())));
    }
    if demand.pool.as_ref().is_some_and(|wanted| *wanted != pool.name) {
        return no(format!("pool `{}` was asked for", demand.pool.as_ref().map_or("", |p| p.as_str())));
    }
    for wishes in &demand.wishes {
        fits(wishes, pool)?;
    }
    if let Some(obstacle) = &candidate.obstacle {
        return no(obstacle.clone());
    }
    let options = options(demand, pool)?;
    let (layout, filesystem) = shape(demand, pool)?;
    let access = access(demand, pool, layout, filesystem)?;
    if topology_rank(demand, pool).is_none() {
        let reason = "it cannot be reached from the topology asked for".to_owned();
        return Err(No { reason, full: true });
    }
    let provisioning = provisioning(demand, pool)?;
    let size = demand.size.or(demand.smallest).unwrap_or(pool.default_size).round_up(pool.granularity);
    if is_encrypted_by_node(&options) {
        encryption(layout, filesystem, size)?;
    }
    if size < pool.smallest {
        return no(format!("the smallest volume here is {}; {size} were asked for", pool.smallest));
    }
    if let Some(largest) = pool.largest.filter(|largest| size > *largest) {
        return no(format!("the largest volume allowed here is {largest}; {size} were asked for"));
    }
    let free = pool.capacity.free(provisioning);
    if size > free {
        let reason = format!("it has {free} free for {provisioning} volumes; {size} were asked for");
        return Err(No { reason, full: true });
    }
    Ok(VolumeSpec {
        size,
        layout,
        filesystem,
        provisioning,
        access,
        class: demand.class.clone(),
        source: demand.source.clone(),
        options,
        mount_options: demand.mount_options.clone(),
        labels: demand.labels.clone(),
    })
}

/// The place of the first topology asked for that the pool serves; `None` if it serves none.
pub(super) fn topology_rank(demand: &Demand, pool: &Pool) -> Option<usize> {
    if demand.topologies.is_empty() || pool.topologies.is_empty() {
        return Some(demand.topologies.len());
    }
    demand.topologies.iter().position(|wanted| {
        pool.topologies
            .iter()
            .any(|offered| offered.iter().all(|(key, value)| wanted.get(key) == Some(value)))
    })
}

fn fits(wishes: &Wishes, pool: &Pool) -> Result<(), No> {
    if wishes.exclude.as_ref().is_some_and(|list| list.matches(pool)) {
        return no("excludeStoragePools names it");
    }
    if wishes.additional.as_ref().is_some_and(|list| list.matches(pool)) {
        return Ok(());
    }
    let asks_nothing =
        wishes.requirements.is_empty() && wishes.storage_pools.is_none() && wishes.selector.is_none();
    if asks_nothing && wishes.additional.is_some() {
        return no("additionalStoragePools does not name it");
    }
    if wishes.storage_pools.as_ref().is_some_and(|list| !list.matches(pool)) {
        return no("storagePools does not name it");
    }
    for (attribute, wanted) in &wishes.requirements {
        match pool.offers.get(attribute) {
            None => return no(format!("it offers no {attribute}; {wanted} was asked for")),
            Some(offer) if !offer.satisfies(wanted) => {
                return no(format!("{attribute} is {offer}; {wanted} was asked for"));
            }
            Some(_) => {}
        }
    }
    if wishes.selector.as_ref().is_some_and(|selector| !selector.matches(&pool.labels)) {
        return no("its labels do not match the selector");
    }
    Ok(())
}

fn shape(demand: &Demand, pool: &Pool) -> Result<(Layout, Option<Filesystem>), No> {
    let needs_block = demand.filesystem.is_some() || is_encrypted_by_node(&demand.options);
    let asked = demand.layout.or(needs_block.then_some(Layout::Block));
    let has = |layout| pool.layouts.contains(&layout);
    let layout = match asked {
        Some(layout) if has(layout) => layout,
        Some(layout) => return no(format!("it has no {layout} volumes")),
        None if demand.access.is_some_and(AccessMode::is_shared) && pool.shared.contains(&Layout::File) => {
            Layout::File
        }
        None if has(Layout::File) => Layout::File,
        None => Layout::Block,
    };
    let filesystem = match (layout, demand.filesystem) {
        (Layout::File, Some(_)) => return no("a file system can be chosen for block volumes only"),
        (Layout::File, None) => None,
        (Layout::Block, Some(filesystem)) => Some(filesystem),
        // A device was asked for, or just a volume, which then needs a file system.
        (Layout::Block, None) if demand.layout == Some(Layout::Block) => None,
        (Layout::Block, None) => {
            let of_class = demand.wishes.iter().rev().find_map(|wishes| wishes.filesystem);
            of_class.or(pool.default_filesystem).or(Some(Filesystem::Ext4))
        }
    };
    Ok((layout, filesystem))
}

fn access(
    demand: &Demand,
    pool: &Pool,
    layout: Layout,
    filesystem: Option<Filesystem>,
) -> Result<AccessMode, No> {
    let shareable = pool.shared.contains(&layout);
    match demand.access {
        None if shareable && layout == Layout::File => Ok(AccessMode::ReadWriteMany),
        None => Ok(AccessMode::ReadWriteOnce),
        Some(AccessMode::ReadWriteMany) if filesystem.is_some() => {
            no("several nodes cannot write one file system on a block volume")
        }
        Some(access) if access.is_shared() && !shareable => {
            no(format!("its {layout} volumes cannot be shared by several nodes ({access})"))
        }
        Some(access) => Ok(access),
    }
}

/// A node encrypts a device with a file system on it, behind a header.
fn encryption(layout: Layout, filesystem: Option<Filesystem>, size: Bytes) -> Result<(), No> {
    const SMALLEST: Bytes = Bytes::mib(32);
    if layout == Layout::File {
        return no("a node can encrypt block volumes only; ask for a file system (fileSystemType)");
    }
    if filesystem.is_none() {
        return no("a raw device cannot be encrypted by the node; ask for a file system (fileSystemType)");
    }
    if size < SMALLEST {
        return no(format!(
            "the smallest encrypted volume is {SMALLEST}, 16MiB of which are its header; {size} were asked for"
        ));
    }
    Ok(())
}

fn provisioning(demand: &Demand, pool: &Pool) -> Result<Provisioning, No> {
    let of_class = demand.wishes.iter().rev().find_map(Wishes::provisioning);
    let provisioning = demand.provisioning.or(of_class).unwrap_or(pool.default_provisioning);
    match pool.offers.get(&Attribute::ProvisioningType) {
        Some(offer) if !offer.satisfies(&Requirement::Word(provisioning.as_str().to_owned())) => {
            no(format!("provisioningType is {offer}; {provisioning} was asked for"))
        }
        Some(Offer::Bool(_) | Offer::Range { .. } | Offer::Words(_)) | None => Ok(provisioning),
    }
}

fn options(demand: &Demand, pool: &Pool) -> Result<model::VolumeOptions, No> {
    if let Some(option) = demand.options.keys().find(|option| !pool.accepts.contains(option)) {
        let known: Vec<&str> = pool.accepts.iter().map(|option| option.as_str()).collect();
        return no(format!("it does not know the option {option}; it knows: {}", known.join(", ")));
    }
    let mut options = pool.default_options.clone();
    options.extend(demand.options.clone());
    Ok(options)
}
