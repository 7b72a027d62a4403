//! What a caller wants to do with a volume, in our words.

use model::{AccessMode, Filesystem, Layout};
use node::{Shape, Stage};
use orchestrator::VolumeRecord;
use tonic::Status;

use crate::wire::VolumeCapability;
use crate::wire::volume_capability::access_mode::Mode;
use crate::wire::volume_capability::{AccessType, MountVolume};

/// One use of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) stage: Stage,
    /// A directory was asked for by its protocol.
    pub(crate) is_directory: bool,
    pub(crate) mode: Mode,
    /// Whose the files shall be.
    pub(crate) group: Option<u32>,
}

/// All uses that a volume is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) layout: Option<Layout>,
    pub(crate) filesystem: Option<Filesystem>,
    pub(crate) access: AccessMode,
    pub(crate) mount_options: Vec<String>,
}

impl Use {
    /// # Errors
    /// `INVALID_ARGUMENT` names the part that is missing or that we do not have.
    pub(crate) fn read(capability: Option<&VolumeCapability>) -> Result<Use, Status> {
        let capability = capability.ok_or_else(|| invalid("volume_capability is missing"))?;
        let mode = capability.access_mode.map(|access| access.mode());
        let mode = mode.filter(|mode| *mode != Mode::Unknown);
        let mode = mode.ok_or_else(|| invalid("volume_capability has no access_mode that we know"))?;
        match &capability.access_type {
            None => Err(invalid("volume_capability has no access_type; give `mount` or `block`")),
            Some(AccessType::Block(_)) => {
                let stage = Stage { shape: Shape::Device, filesystem: None, mount_options: Vec::new() };
                Ok(Use { stage, is_directory: false, mode, group: None })
            }
            Some(AccessType::Mount(mount)) => files(mount, mode),
        }
    }

    /// Whether the caller will only read.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly)
    }

    /// Whether nobody else on the node may use the volume at the same time.
    pub(crate) fn is_alone(&self) -> bool {
        self.mode == Mode::SingleNodeSingleWriter
    }

    /// Why this volume cannot be used so.
    pub(crate) fn misfit(&self, record: &VolumeRecord) -> Option<String> {
        let spec = &record.spec;
        if let Some(misfit) = self.stage.misfit(record) {
            return Some(misfit);
        }
        if self.is_directory && spec.layout == Layout::Block {
            return Some("it is a block volume".to_owned());
        }
        let fits = match spec.access {
            AccessMode::ReadWriteMany => true,
            AccessMode::ReadOnlyMany => self.is_read_only(),
            AccessMode::ReadWriteOnce | AccessMode::ReadWriteOncePod => !access(self.mode).is_shared(),
        };
        (!fits).then(|| format!("its access mode is {}", spec.access))
    }

    /// # Errors
    /// `INVALID_ARGUMENT` says why this volume cannot be used so.
    pub(crate) fn check(&self, record: &VolumeRecord) -> Result<(), Status> {
        match self.misfit(record) {
            Some(misfit) => Err(invalid(format!("volume `{}` cannot be used so: {misfit}", record.id))),
            None => Ok(()),
        }
    }
}

impl Uses {
    /// # Errors
    /// As [`Use::read`]; also for uses that contradict each other.
    pub(crate) fn read(capabilities: &[VolumeCapability]) -> Result<Uses, Status> {
        let uses: Vec<Use> =
            capabilities.iter().map(|capability| Use::read(Some(capability))).collect::<Result<_, _>>()?;
        let Some(first) = uses.first() else { return Err(invalid("volume_capabilities are missing")) };
        let differs = |other: &&Use| {
            other.stage.shape != first.stage.shape
                || other.stage.filesystem != first.stage.filesystem
                || other.is_directory != first.is_directory
        };
        if uses.iter().any(|other| differs(&other)) {
            return Err(invalid(
                "volume_capabilities contradict each other; ask for one access_type and fs_type",
            ));
        }
        let layout = match first.stage.shape {
            Shape::Device => Some(Layout::Block),
            Shape::Files if first.stage.filesystem.is_some() => Some(Layout::Block),
            Shape::Files if first.is_directory => Some(Layout::File),
            // What the storage does best.
            Shape::Files => None,
        };
        Ok(Uses {
            layout,
            filesystem: first.stage.filesystem,
            access: widest(&uses),
            mount_options: first.stage.mount_options.clone(),
        })
    }
}

fn files(mount: &MountVolume, mode: Mode) -> Result<Use, Status> {
    let group =
        match mount.volume_mount_group.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                invalid(format!("volume_mount_group: `{text}` is no group; write its number"))
            })?),
        };
    let is_directory = mount.fs_type.eq_ignore_ascii_case("nfs");
    let filesystem = match mount.fs_type.as_str() {
        "" => None,
        _ if is_directory => None,
        text => Some(text.parse().map_err(|problem| invalid(format!("fs_type: {problem}, nfs")))?),
    };
    let stage = Stage { shape: Shape::Files, filesystem, mount_options: mount.mount_flags.clone() };
    Ok(Use { stage, is_directory, mode, group })
}

const fn access(mode: Mode) -> AccessMode {
    match mode {
        Mode::Unknown | Mode::SingleNodeWriter | Mode::SingleNodeReaderOnly | Mode::SingleNodeMultiWriter => {
            AccessMode::ReadWriteOnce
        }
        Mode::SingleNodeSingleWriter => AccessMode::ReadWriteOncePod,
        Mode::MultiNodeReaderOnly => AccessMode::ReadOnlyMany,
        Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter => AccessMode::ReadWriteMany,
    }
}

fn widest(uses: &[Use]) -> AccessMode {
    let modes = || uses.iter().map(|other| access(other.mode));
    if modes().all(|mode| !mode.is_shared()) && modes().any(|mode| mode == AccessMode::ReadWriteOnce) {
        return AccessMode::ReadWriteOnce;
    }
    AccessMode::fold(modes()).unwrap_or_default()
}

fn invalid(problem: impl Into<String>) -> Status {
    Status::invalid_argument(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::volume_capability::{AccessMode as Access, BlockVolume};

    fn capability(fs_type: Option<&str>, mode: Mode) -> VolumeCapability {
        let mount = |text: &str| MountVolume { fs_type: text.to_owned(), ..MountVolume::default() };
        VolumeCapability {
            access_mode: Some(Access { mode: mode.into() }),
            access_type: Some(match fs_type {
                Some(text) => AccessType::Mount(mount(text)),
                None => AccessType::Block(BlockVolume {}),
            }),
        }
    }

    #[test]
    fn uses_are_read_in_our_words() {
        use Mode::*;
        for (capabilities, layout, access) in [
            (vec![capability(Some(""), SingleNodeWriter)], None, AccessMode::ReadWriteOnce),
            (vec![capability(Some("XFS"), SingleNodeWriter)], Some(Layout::Block), AccessMode::ReadWriteOnce),
            (
                vec![capability(Some("nfs"), MultiNodeMultiWriter)],
                Some(Layout::File),
                AccessMode::ReadWriteMany,
            ),
            (
                vec![capability(None, SingleNodeSingleWriter)],
                Some(Layout::Block),
                AccessMode::ReadWriteOncePod,
            ),
            (
                vec![
                    capability(Some(""), SingleNodeReaderOnly),
                    capability(Some(""), SingleNodeSingleWriter),
                ],
                None,
                AccessMode::ReadWriteOnce,
            ),
            (
                vec![capability(Some(""), SingleNodeWriter), capability(Some(""), MultiNodeReaderOnly)],
                None,
                AccessMode::ReadWriteMany,
            ),
        ] {
            let uses = Uses::read(&capabilities).unwrap();
            assert_eq!((uses.layout, uses.access), (layout, access), "{capabilities:?}");
        }
    }

    #[test]
    fn what_is_missing_unknown_or_contradicts_is_named() {
        let plain = capability(Some(""), Mode::SingleNodeWriter);
        let without_type = VolumeCapability { access_type: None, ..plain.clone() };
        let mut group = plain.clone();
        let mount = MountVolume { volume_mount_group: "staff".to_owned(), ..MountVolume::default() };
        group.access_type = Some(AccessType::Mount(mount));
        for (capabilities, part) in [
            (vec![], "are missing"),
            (vec![without_type], "access_type"),
            (vec![capability(Some(""), Mode::Unknown)], "access_mode"),
            (vec![capability(Some("ext5"), Mode::SingleNodeWriter)], "ext4"),
            (vec![group], "volume_mount_group"),
            (vec![plain, capability(None, Mode::SingleNodeWriter)], "contradict"),
        ] {
            let status = Uses::read(&capabilities).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(part), "{}", status.message());
        }
    }
}
