use clap::ValueEnum;

/// What can be shown. Plural, singular and short names, as users of kubectl expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    #[value(aliases = ["backend", "b", "be"])]
    Backends,
    #[value(aliases = ["class", "c", "sc", "storageclass", "storageclasses"])]
    Classes,
    #[value(aliases = ["pool", "p"])]
    Pools,
    #[value(aliases = ["volume", "v", "vol", "vols"])]
    Volumes,
    #[value(aliases = ["snapshot", "s", "snap", "snaps"])]
    Snapshots,
    #[value(aliases = ["node", "n", "no"])]
    Nodes,
    #[value(aliases = ["operation", "o", "op", "ops"])]
    Operations,
}

/// What can be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deletable {
    #[value(alias = "volumes", alias = "v", alias = "vol", alias = "vols")]
    Volume,
    /// Named VOLUME/SNAPSHOT
    #[value(alias = "snapshots", alias = "s", alias = "snap", alias = "snaps")]
    Snapshot,
    /// Snapshots that were taken together, by their name
    #[value(alias = "groups", alias = "g")]
    Group,
    #[value(alias = "backends", alias = "b", alias = "be")]
    Backend,
    #[value(alias = "classes", alias = "c", alias = "sc", alias = "storageclass")]
    Class,
    #[value(alias = "nodes", alias = "n", alias = "no")]
    Node,
}

impl Deletable {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Deletable::Volume => "volume",
            Deletable::Snapshot => "snapshot",
            Deletable::Group => "group",
            Deletable::Backend => "backend",
            Deletable::Class => "class",
            Deletable::Node => "node",
        }
    }
}
