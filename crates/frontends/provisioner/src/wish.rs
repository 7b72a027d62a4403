//! The volume that a claim and its class wish for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use model::{AccessMode, Bytes, Filesystem, Layout, Provisioning, VolumeId, VolumeOption, nearest};
use orchestrator::CreateRequest;

use crate::names::{self, label};
use crate::quantity;

/// What is wished for, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) request: CreateRequest,
    /// The claim whose content it shall have, in the same namespace.
    pub(crate) clone_of: Option<String>,
    pub(crate) reclaim: Reclaim,
}

/// What becomes of a volume whose claim is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reclaim {
    Delete,
    Retain,
}

const PREFIXES: [&str; 2] = ["trident.netapp.io/", "leister.io/"];
const RECLAIM: &str = "reclaimPolicy";
const CLONE: &str = "cloneFromPVC";
const FILESYSTEM: &str = "fileSystem";
const PROTOCOL: &str = "protocol";
const SPACE: &str = "spaceReserve";
const WORDS: [&str; 5] = [RECLAIM, CLONE, FILESYSTEM, PROTOCOL, SPACE];
const FS_TYPE: &str = "fsType";

impl Reclaim {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Reclaim::Delete => "Delete",
            Reclaim::Retain => "Retain",
        }
    }

    /// As a PV or a class says it; without a word it is `Delete`.
    ///
    /// # Errors
    /// Another word.
    pub(crate) fn read(word: Option<&str>) -> Result<Reclaim, String> {
        match word {
            None | Some("Delete") => Ok(Reclaim::Delete),
            Some("Retain") => Ok(Reclaim::Retain),
            Some(other) => Err(format!("`{other}` is not possible; write Delete or Retain")),
        }
    }
}

/// What a claim of a class wishes for.
///
/// # Errors
/// Names the field or annotation, its value and the way out.
pub(crate) fn read(claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<Wish, String> {
    let spec = claim.spec.as_ref().ok_or("the claim has no spec")?;
    let name = names::volume_of(claim).ok_or("the claim has no namespace or no uid")?;
    let volume = VolumeId::new(&name).map_err(|e| {
        format!("{e}; volumes are called <namespace>-<claim>-xxxxx, so give the claim a shorter name")
    })?;
    let mut request = CreateRequest::named(volume);
    request.size = Some(size(spec)?);
    request.access = Some(access(spec)?);
    request.mount_options = class.mount_options.clone().unwrap_or_default();
    for (key, value) in class.parameters.iter().flatten() {
        request
            .take_parameter(key, value)
            .map_err(|e| format!("StorageClass `{}`: {}", class.name_any(), e.sentence()))?;
    }
    let mut wish = Wish {
        request,
        clone_of: source(spec)?,
        reclaim: Reclaim::read(class.reclaim_policy.as_deref())
            .map_err(|e| format!("StorageClass `{}`, reclaimPolicy: {e}", class.name_any()))?,
    };
    for (key, value) in claim.annotations() {
        let Some(word) = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix)) else { continue };
        annotate(&mut wish, word, value).map_err(|problem| format!("annotation {key}: {problem}"))?;
    }
    shape(&mut wish.request, spec, class)?;
    wish.request.labels = labels(claim, class, &name, wish.reclaim);
    Ok(wish)
}

fn size(spec: &PersistentVolumeClaimSpec) -> Result<Bytes, String> {
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let asked = requests.and_then(|requests| requests.get("storage"));
    let asked = asked.ok_or("spec.resources.requests.storage is missing; write one as in 10Gi")?;
    let size = quantity::parse(&asked.0).map_err(|e| format!("spec.resources.requests.storage: {e}"))?;
    if size.is_zero() {
        return Err(format!(
            "spec.resources.requests.storage: `{}` is nothing; write one as in 10Gi",
            asked.0
        ));
    }
    Ok(size)
}

fn access(spec: &PersistentVolumeClaimSpec) -> Result<AccessMode, String> {
    let mut modes = Vec::new();
    for mode in spec.access_modes.iter().flatten() {
        match mode.parse() {
            Ok(AccessMode::ReadWriteOncePod) => {
                return Err(
                    "spec.accessModes: `ReadWriteOncePod` is for CSI volumes only; write ReadWriteOnce"
                        .into(),
                );
            }
            Ok(mode) => modes.push(mode),
            Err(problem) => return Err(format!("spec.accessModes: {problem}")),
        }
    }
    AccessMode::fold(modes)
        .ok_or_else(|| "spec.accessModes is empty; write one as in ReadWriteMany".to_owned())
}

/// The claim that a claim wants to be a copy of, said in the way that came after the annotation.
fn source(spec: &PersistentVolumeClaimSpec) -> Result<Option<String>, String> {
    let (field, kind, name, namespace) = match (&spec.data_source_ref, &spec.data_source) {
        (Some(from), _) => ("dataSourceRef", &from.kind, &from.name, from.namespace.as_ref()),
        (None, Some(from)) => ("dataSource", &from.kind, &from.name, None),
        (None, None) => return Ok(None),
    };
    if kind != "PersistentVolumeClaim" {
        return Err(format!(
            "spec.{field}: a {kind} cannot be the source of such a volume; name a PersistentVolumeClaim, or use a \
             StorageClass of the CSI driver"
        ));
    }
    match namespace {
        Some(namespace) => {
            Err(format!("spec.{field}.namespace: `{namespace}`; only a claim beside this one can be cloned"))
        }
        None => Ok(Some(name.clone())),
    }
}

fn annotate(wish: &mut Wish, word: &str, value: &str) -> Result<(), String> {
    let request = &mut wish.request;
    match word {
        RECLAIM => wish.reclaim = Reclaim::read(Some(value))?,
        CLONE => match &wish.clone_of {
            Some(other) if other != value => {
                return Err(format!(
                    "`{value}`, but the claim's dataSource says `{other}`; leave one of them out"
                ));
            }
            _ => wish.clone_of = Some(value.to_owned()),
        },
        FILESYSTEM => request.filesystem = Some(value.parse::<Filesystem>()?),
        PROTOCOL => {
            request.layout = match value.to_ascii_lowercase().as_str() {
                "file" => Some(Layout::File),
                "block" => Some(Layout::Block),
                "" => None,
                _ => return Err(format!("`{value}` is not possible; write file or block")),
            }
        }
        SPACE => request.provisioning = Some(value.parse::<Provisioning>()?),
        _ => {
            let option = word.parse::<VolumeOption>().map_err(|_| unknown(word))?;
            request.options.insert(option, value.to_owned());
        }
    }
    Ok(())
}

fn unknown(word: &str) -> String {
    let known = WORDS.into_iter().chain(VolumeOption::ALL.iter().map(|option| option.as_str()));
    match nearest(word, known.clone()) {
        Some(near) => format!("it is not known; did you mean `{near}`?"),
        None => format!("it is not known; known are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// A device or a tree of files; where neither is asked for, the pool decides.
fn shape(
    request: &mut CreateRequest,
    spec: &PersistentVolumeClaimSpec,
    class: &StorageClass,
) -> Result<(), String> {
    if spec.volume_mode.as_deref() == Some("Block") {
        if request.layout == Some(Layout::File) {
            return Err(
                "annotation protocol: `file`, but spec.volumeMode is Block; leave one of them out".into()
            );
        }
        if request.filesystem.is_some() {
            return Err(
                "annotation fileSystem: a claim with spec.volumeMode Block has none; leave one of them out"
                    .into(),
            );
        }
        request.layout = Some(Layout::Block);
    } else if request.layout == Some(Layout::Block) && request.filesystem.is_none() {
        // Without one it would be a device, which is not what spec.volumeMode says.
        request.filesystem = Some(of_class(class)?.unwrap_or(Filesystem::Ext4));
    }
    Ok(())
}

fn of_class(class: &StorageClass) -> Result<Option<Filesystem>, String> {
    let plain = |key: &str| {
        PREFIXES
            .iter()
            .find_map(|prefix| key.strip_prefix(prefix).map(str::to_owned))
            .unwrap_or(key.to_owned())
    };
    let found = class.parameters.iter().flatten().find(|(key, _)| plain(key) == FS_TYPE);
    let read = found.map(|(key, value)| {
        value.parse().map_err(|e| format!("StorageClass `{}`, parameter `{key}`: {e}", class.name_any()))
    });
    read.transpose()
}

fn labels(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    name: &str,
    reclaim: Reclaim,
) -> BTreeMap<String, String> {
    let pairs = [
        (label::PROVISIONER, class.provisioner.clone()),
        (label::NAMESPACE, claim.namespace().unwrap_or_default()),
        (label::CLAIM, claim.name_any()),
        (label::CLAIM_ID, claim.uid().unwrap_or_default()),
        (label::VOLUME, name.to_owned()),
        (label::RECLAIM, reclaim.as_str().to_owned()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests;
