use model::{Attribute, Bytes, Capacity, Offer, Pool, PoolName};

use super::{BackendFile, PoolFields};

impl BackendFile {
    /// Whether only virtual pools are to be seen.
    pub fn has_virtual_pools(&self) -> bool {
        !self.slices.is_empty()
    }

    /// Names of the virtual pools: `<backend>_pool_<n>`.
    pub fn virtual_pools(&self) -> impl Iterator<Item = &PoolName> {
        self.slices.iter().map(|slice| &slice.name)
    }

    /// The pools that users see, from those that the backend has.
    ///
    /// # Behavior
    /// `physical` carry the family's own offers, capacity and defaults; the file's are laid over them. Without
    /// virtual pools these are shown. With virtual pools only those are: each is made of the physical pools for
    /// which `fits(n, pool)` holds, offers what all of them offer, and has the free space of the emptiest, since
    /// a volume lies in one. A virtual pool that fits none is left out.
    pub fn expose(&self, physical: Vec<Pool>, fits: impl Fn(usize, &Pool) -> bool) -> Vec<Pool> {
        if self.slices.is_empty() {
            return physical.into_iter().map(|pool| self.dress(pool, &self.fields)).collect();
        }
        let slice = |(n, slice): (usize, &super::Slice)| {
            let mut parts = physical.iter().filter(|pool| fits(n, pool)).cloned();
            let mut pool = parts.next()?;
            parts.for_each(|part| merge(&mut pool, part));
            pool.name = slice.name.clone();
            Some(self.dress(pool, &slice.fields))
        };
        self.slices.iter().enumerate().filter_map(slice).collect()
    }

    fn dress(&self, mut pool: Pool, fields: &PoolFields) -> Pool {
        pool.labels.extend(fields.labels.clone());
        for (attribute, word) in [(Attribute::Region, &fields.region), (Attribute::Zone, &fields.zone)] {
            if let Some(word) = word {
                pool.offers.insert(attribute, Offer::words([word]));
            }
        }
        if !fields.topologies.is_empty() {
            pool.topologies.clone_from(&fields.topologies);
        }
        pool.largest = smaller(pool.largest, self.limit);
        let defaults = &fields.defaults;
        if let Some(size) = defaults.size {
            pool.default_size = size;
        }
        if let Some(provisioning) = defaults.provisioning {
            pool.default_provisioning = provisioning;
        }
        if let Some(filesystem) = defaults.filesystem {
            pool.default_filesystem = filesystem;
        }
        pool.default_options.extend(defaults.options.clone());
        pool.name_template.clone_from(&defaults.name_template);
        pool
    }
}

fn merge(pool: &mut Pool, part: Pool) {
    pool.offers.retain(|attribute, offer| part.offers.get(attribute) == Some(offer));
    pool.labels.retain(|key, value| part.labels.get(key) == Some(value));
    pool.layouts.retain(|layout| part.layouts.contains(layout));
    pool.shared.retain(|layout| part.shared.contains(layout));
    pool.accepts.retain(|option| part.accepts.contains(option));
    pool.granularity = pool.granularity.max(part.granularity);
    pool.smallest = pool.smallest.max(part.smallest);
    pool.largest = smaller(pool.largest, part.largest);
    let (a, b) = (pool.capacity, part.capacity);
    pool.capacity = Capacity {
        total: a.total + b.total,
        used: a.used + b.used,
        provisioned: a.provisioned + b.provisioned,
        free_thin: a.free_thin.max(b.free_thin),
        free_thick: a.free_thick.max(b.free_thick),
    };
}

fn smaller(a: Option<Bytes>, b: Option<Bytes>) -> Option<Bytes> {
    a.into_iter().chain(b).min()
}
