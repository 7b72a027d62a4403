//! What a person writes for this family: Trident's keys, each of which works or is refused with a reason.

mod account;
mod exports;
mod refused;
mod shared;
mod volumes;

use std::collections::BTreeSet;

use driver::config::{BackendFile, ConfigError, Section};
use model::VolumeOption;

pub(crate) use account::{Account, Management};
pub(crate) use exports::Exports;
pub(crate) use shared::Shared;
pub(crate) use volumes::{Choices, Reserve};

/// Which driver of the family: a choice of layout and of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A FlexVol for each volume, over NFS.
    Nas,
    /// A FlexGroup for each volume, over NFS.
    NasFlexGroup,
    /// A qtree in a FlexVol that many share, over NFS.
    NasEconomy,
    /// A LUN or namespace in a FlexVol of its own, over iSCSI or NVMe.
    San,
    /// A LUN in a FlexVol that many share, over iSCSI.
    SanEconomy,
}

/// By which protocol a block volume is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SanType {
    Iscsi,
    Nvme,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) kind: Kind,
    pub(crate) management: Management,
    pub(crate) account: Account,
    /// PEM; without it any certificate is believed, as Trident does, and the log says so.
    pub(crate) trusted: Option<Vec<u8>>,
    pub(crate) svm: Option<String>,
    pub(crate) data_address: Option<String>,
    /// Only these; empty: all of the SVM.
    pub(crate) aggregates: Vec<String>,
    /// Percent of an aggregate that may be used when a volume is asked for.
    pub(crate) aggregate_usage: Option<u8>,
    pub(crate) nfs_mount_options: Vec<String>,
    pub(crate) exports: Exports,
    pub(crate) san: SanType,
    pub(crate) chap: Option<model::Chap>,
    pub(crate) prefix: String,
    pub(crate) shared: Shared,
    /// The aggregate of each virtual pool that names one.
    pub(crate) slices: Vec<Option<String>>,
}

pub(crate) const PREFIX: &str = "leister_";

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Nas, Kind::NasFlexGroup, Kind::NasEconomy, Kind::San, Kind::SanEconomy];

    /// `storageDriverName`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Nas => "ontap-nas",
            Kind::NasFlexGroup => "ontap-nas-flexgroup",
            Kind::NasEconomy => "ontap-nas-economy",
            Kind::San => "ontap-san",
            Kind::SanEconomy => "ontap-san-economy",
        }
    }

    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) const fn is_nas(self) -> bool {
        matches!(self, Kind::Nas | Kind::NasFlexGroup | Kind::NasEconomy)
    }

    /// Whether many volumes share a FlexVol.
    pub(crate) const fn is_economy(self) -> bool {
        matches!(self, Kind::NasEconomy | Kind::SanEconomy)
    }

    /// The options that volumes may carry.
    pub(crate) fn accepts(self) -> BTreeSet<VolumeOption> {
        use VolumeOption::*;
        let mut accepts = BTreeSet::from([
            SnapshotPolicy,
            Encryption,
            QosPolicy,
            AdaptiveQosPolicy,
            SkipRecoveryQueue,
            TieringPolicy,
        ]);
        accepts.extend(match self {
            Kind::Nas | Kind::NasFlexGroup => {
                vec![SnapshotReserve, SnapshotDir, UnixPermissions, SecurityStyle, SplitOnClone]
            }
            Kind::San => {
                vec![SnapshotReserve, SpaceAllocation, SplitOnClone, LuksEncryption, FormatOptions]
            }
            Kind::NasEconomy => vec![SnapshotReserve, SnapshotDir, UnixPermissions, SecurityStyle],
            Kind::SanEconomy => vec![SnapshotReserve, SpaceAllocation, LuksEncryption, FormatOptions],
        });
        if self == Kind::NasEconomy {
            // The array takes only fixed limits for qtrees.
            accepts.remove(&AdaptiveQosPolicy);
        }
        accepts
    }

    /// Those of them that can change while a volume is in use.
    pub(crate) fn modifiable(self) -> BTreeSet<VolumeOption> {
        use VolumeOption::*;
        let can = match self {
            Kind::Nas | Kind::NasFlexGroup | Kind::San => &[
                SnapshotPolicy,
                SnapshotReserve,
                SnapshotDir,
                UnixPermissions,
                QosPolicy,
                AdaptiveQosPolicy,
                TieringPolicy,
                SkipRecoveryQueue,
            ][..],
            Kind::NasEconomy | Kind::SanEconomy => &[UnixPermissions, QosPolicy, AdaptiveQosPolicy],
        };
        let accepts = self.accepts();
        can.iter().copied().filter(|option| accepts.contains(option)).collect()
    }
}

impl Config {
    /// # Errors
    /// The first mistake, by its key.
    pub(crate) fn read(file: &BackendFile) -> Result<Config, ConfigError> {
        let mut keys = file.section();
        let Some(kind) = Kind::named(file.driver_name()) else {
            let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
            let problem =
                format!("`{}` is another driver; write one of {}", file.driver_name(), known.join(", "));
            return Err(keys.error("storageDriverName", problem));
        };
        refused::check(&mut keys)?;
        let management = account::management(&mut keys)?;
        let (account, trusted) = account::read(&mut keys, file.credentials())?;
        let svm = keys.text("svm")?;
        let data_address = keys.text("dataLIF")?;
        if data_address.is_some() && !kind.is_nas() {
            return Err(keys.error("dataLIF", "SAN drivers use every data LIF of the SVM; remove it"));
        }
        let aggregates = aggregates(&mut keys, kind)?;
        let aggregate_usage = aggregate_usage(&mut keys)?;
        let exports = exports::read(&mut keys, kind)?;
        let nfs_mount_options = exports::mount_options(&mut keys, kind)?;
        let san = san(&mut keys, kind)?;
        let chap = account::chap(&mut keys, kind, san, file.credentials().is_some())?;
        let shared = shared::read(&mut keys, kind)?;
        keys.end()?;
        let mut slices = Vec::new();
        for mut section in file.pool_sections() {
            slices.push(section.text("aggregate")?);
            section.end()?;
        }
        file.check_defaults(&kind.accepts())?;
        for (path, defaults) in file.all_defaults() {
            Choices::of(&defaults.options).map_err(|(option, problem)| {
                file.section().error(&format!("{path}.{}", option.as_str()), problem)
            })?;
        }
        let prefix = file.prefix().unwrap_or(PREFIX).to_owned();
        check_prefix(file, &prefix)?;
        Ok(Config {
            kind,
            management,
            account,
            trusted,
            svm,
            data_address,
            aggregates,
            aggregate_usage,
            nfs_mount_options,
            exports,
            san,
            chap,
            prefix,
            shared,
            slices,
        })
    }
}

fn aggregates(keys: &mut Section, kind: Kind) -> Result<Vec<String>, ConfigError> {
    let one = keys.text("aggregate")?;
    let many = keys.texts("flexgroupAggregateList")?;
    if !many.is_empty() && kind != Kind::NasFlexGroup {
        return Err(
            keys.error("flexgroupAggregateList", "only `ontap-nas-flexgroup` spreads volumes; remove it")
        );
    }
    match (one, many.is_empty()) {
        (Some(_), false) => {
            Err(keys.error("aggregate", "`flexgroupAggregateList` is there too; keep one of them"))
        }
        (Some(_), true) if kind == Kind::NasFlexGroup => Err(keys.error(
            "aggregate",
            "a FlexGroup spans several; write `flexgroupAggregateList`, or leave it out",
        )),
        (Some(one), true) => Ok(vec![one]),
        (None, _) => Ok(many),
    }
}

fn aggregate_usage(keys: &mut Section) -> Result<Option<u8>, ConfigError> {
    let Some(text) = keys.text("limitAggregateUsage")? else { return Ok(None) };
    match text.trim_end_matches('%').parse::<u8>() {
        Ok(percent) if (1..=100).contains(&percent) => Ok(Some(percent)),
        _ => {
            let problem = format!("`{text}` is no share; write a percentage from 1% to 100%");
            Err(keys.error("limitAggregateUsage", problem))
        }
    }
}

fn san(keys: &mut Section, kind: Kind) -> Result<SanType, ConfigError> {
    let Some(text) = keys.text("sanType")? else { return Ok(SanType::Iscsi) };
    if kind.is_nas() {
        return Err(keys.error("sanType", format!("`{}` is reached over NFS; remove it", kind.name())));
    }
    match text.to_ascii_lowercase().as_str() {
        "iscsi" => Ok(SanType::Iscsi),
        "nvme" if kind == Kind::SanEconomy => {
            Err(keys.error("sanType", "LUNs in shared FlexVols are reached over iSCSI only; write iscsi"))
        }
        "nvme" => Ok(SanType::Nvme),
        "fcp" => Err(keys.error("sanType", "Fibre Channel is not supported; write iscsi or nvme")),
        _ => Err(keys.error("sanType", format!("`{text}` is unknown; write iscsi or nvme"))),
    }
}

/// # Source
/// Names of ONTAP volumes hold letters, digits and `_` and do not begin with a digit.
fn check_prefix(file: &BackendFile, prefix: &str) -> Result<(), ConfigError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if prefix.chars().all(legal) && !prefix.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    let problem = format!("`{prefix}` does not fit ONTAP; use letters, digits and `_`, not a digit first");
    Err(file.section().error("storagePrefix", problem))
}
