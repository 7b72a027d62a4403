//! What a pool can do, so that nobody outside needs to know its kind.

use std::collections::BTreeMap;

use model::Bytes;

use crate::volume::Layout;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// `btrfs`, `xfs` or `lvm`.
    pub kind: &'static str,
    /// What each layout that the pool has can do; the others are refused.
    pub layouts: BTreeMap<Layout, LayoutAbilities>,
    /// Taking over what is there.
    pub import: Ability,
    /// Sizes are whole multiples of it.
    pub granularity: Bytes,
    /// The smallest volume.
    pub smallest: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutAbilities {
    pub thin: Ability,
    pub thick: Ability,
    /// Take, restore and delete snapshots.
    pub snapshots: Ability,
    /// Clones of volumes, and of snapshots where there are those.
    pub clones: Ability,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    Has,
    /// With the reason, for people.
    Lacks(&'static str),
}

impl Ability {
    pub fn has(self) -> bool {
        self == Ability::Has
    }
}

impl LayoutAbilities {
    pub(super) const ALL: LayoutAbilities = LayoutAbilities {
        thin: Ability::Has,
        thick: Ability::Has,
        snapshots: Ability::Has,
        clones: Ability::Has,
    };
}
