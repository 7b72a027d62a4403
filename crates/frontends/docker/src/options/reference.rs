//! Every option with its help: the one list that reading, the unknown-option message and the manual use.

use model::{Attribute, VolumeOption};

use super::Key;

/// One `-o` option, for the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHelp {
    pub name: &'static str,
    /// Further names that mean the same.
    pub aliases: &'static [&'static str],
    /// How a value looks.
    pub value: &'static str,
    pub meaning: &'static str,
    key: Key,
}

/// All options, in the order in which a person wants to read about them.
pub fn reference() -> &'static [OptionHelp] {
    OPTIONS
}

/// The option a user means; case does not matter.
pub(super) fn find(name: &str) -> Option<Key> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    OPTIONS.iter().find(|o| is(&o.name) || o.aliases.iter().any(is)).map(|o| o.key)
}

pub(super) fn help(key: Key) -> &'static OptionHelp {
    // Every key has its entry: a test says so. The first one stands in so that no message can panic.
    OPTIONS.iter().find(|o| o.key == key).unwrap_or(&OPTIONS[0])
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().flat_map(|o| [o.name].into_iter().chain(o.aliases.iter().copied()))
}

const fn option(
    key: Key,
    name: &'static str,
    aliases: &'static [&'static str],
    value: &'static str,
    meaning: &'static str,
) -> OptionHelp {
    OptionHelp { name, aliases, value, meaning, key }
}

const fn wish(
    option: VolumeOption,
    aliases: &'static [&'static str],
    value: &'static str,
    meaning: &'static str,
) -> OptionHelp {
    OptionHelp { name: option.as_str(), aliases, value, meaning, key: Key::Option(option) }
}

const fn attribute(attribute: Attribute, value: &'static str, meaning: &'static str) -> OptionHelp {
    OptionHelp { name: attribute.as_str(), aliases: &[], value, meaning, key: Key::Attribute(attribute) }
}

const OPTIONS: &[OptionHelp] = &[
    option(
        Key::Size,
        "size",
        &[],
        "20G",
        "size of the volume; a number without a unit is GiB, K M G T P are powers of 1024, KB MB GB TB PB powers \
         of 1000",
    ),
    option(
        Key::Class,
        "class",
        &["storageClass"],
        "gold",
        "kind of storage, as `leister get classes` lists them",
    ),
    option(Key::From, "from", &[], "VOLUME", "start with the content of this volume"),
    option(
        Key::FromSnapshot,
        "fromSnapshot",
        &["fromSnap"],
        "SNAPSHOT",
        "with `from`: start with the content of this snapshot of it",
    ),
    option(
        Key::Provisioning,
        "provisioningType",
        &["spaceReserve"],
        "thin|thick",
        "take space when it is written (thin, none) or now (thick, volume)",
    ),
    option(
        Key::Filesystem,
        "fileSystemType",
        &["fstype"],
        "ext4|xfs|btrfs|ext3",
        "make a block volume and put this file system on it; without it a volume is a directory where the backend \
         has both",
    ),
    option(
        Key::Access,
        "accessMode",
        &[],
        "ReadWriteOnce|ReadWriteMany|ReadOnlyMany",
        "whether one node or several may use it at the same time",
    ),
    option(Key::Backend, "backend", &[], "NAME", "place it on this backend only"),
    option(Key::Pool, "pool", &[], "NAME", "place it in this pool only"),
    option(
        Key::StoragePools,
        "storagePools",
        &[],
        "backend:pool1,pool2",
        "place it in one of these pools; names are regular expressions, backends are separated by `;`",
    ),
    option(
        Key::AdditionalStoragePools,
        "additionalStoragePools",
        &[],
        "backend:pool1,pool2",
        "pools that are suitable whatever the other wishes say",
    ),
    option(
        Key::ExcludeStoragePools,
        "excludeStoragePools",
        &[],
        "backend:pool1,pool2",
        "pools that are never suitable",
    ),
    option(Key::Selector, "selector", &[], "tier=gold; site in (a, b)", "labels that the pool must have"),
    option(Key::Labels, "labels", &[], "key=value,key=value", "labels of the volume itself"),
    OptionHelp {
        name: Attribute::Media.as_str(),
        aliases: &["mediaType"],
        value: "hdd|hybrid|ssd",
        meaning: "kind of disk",
        key: Key::Attribute(Attribute::Media),
    },
    attribute(Attribute::BackendType, "NAME", "driver of the backend"),
    attribute(Attribute::Snapshots, "true|false", "the pool must be able to take snapshots"),
    attribute(Attribute::Clones, "true|false", "the pool must be able to clone"),
    attribute(Attribute::Replication, "true|false", "the pool must be able to mirror"),
    attribute(Attribute::Iops, "NUMBER", "operations per second that the pool must be able to give"),
    attribute(Attribute::Region, "NAME", "region of the pool"),
    attribute(Attribute::Zone, "NAME", "zone of the pool"),
    attribute(Attribute::NasType, "NAME", "protocol of file volumes, such as nfs"),
    attribute(Attribute::SanType, "NAME", "protocol of block volumes, such as iscsi or nvme"),
    wish(
        VolumeOption::UnixPermissions,
        &[],
        "0770",
        "mode of the volume's root directory, octal or as ls shows it",
    ),
    wish(
        VolumeOption::SnapshotDir,
        &["snapshotDirectory"],
        "true|false",
        "show snapshots inside the volume, read-only",
    ),
    wish(VolumeOption::SnapshotPolicy, &[], "NAME", "schedule by which the backend takes snapshots itself"),
    wish(
        VolumeOption::SnapshotReserve,
        &[],
        "PERCENT",
        "share of the volume set aside for snapshots, 0 to 90",
    ),
    wish(VolumeOption::SplitOnClone, &[], "true|false", "make a clone independent of its source"),
    wish(VolumeOption::Encryption, &[], "true|false", "let the backend encrypt the volume"),
    wish(VolumeOption::LuksEncryption, &[], "true|false", "let the node encrypt the volume with LUKS"),
    wish(VolumeOption::ExportPolicy, &[], "NAME", "export policy of a file volume"),
    wish(VolumeOption::SecurityStyle, &[], "unix|mixed", "whose permissions count in a file volume"),
    wish(VolumeOption::TieringPolicy, &[], "NAME", "when cold data moves to a slower tier"),
    wish(VolumeOption::QosPolicy, &[], "NAME", "quality-of-service policy of the backend"),
    wish(
        VolumeOption::AdaptiveQosPolicy,
        &[],
        "NAME",
        "quality-of-service policy that follows the volume's size",
    ),
    wish(VolumeOption::QosType, &[], "NAME", "named quality-of-service type of the backend's config"),
    wish(VolumeOption::Qos, &[], "MIN,MAX,BURST", "operations per second: guaranteed, largest, burst"),
    wish(
        VolumeOption::SpaceAllocation,
        &[],
        "true|false",
        "let a block volume hear of full pools and give freed space back",
    ),
    wish(
        VolumeOption::SkipRecoveryQueue,
        &[],
        "true|false",
        "delete at once, without the backend's time of grace",
    ),
    wish(VolumeOption::FormatOptions, &[], "ARGUMENTS", "further arguments for mkfs of a block volume"),
    wish(VolumeOption::BlockSize, &[], "512|4096", "sector size of a block volume"),
];
