//! What comes next for one volume: from its claim, its PV and its record, without asking anybody.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use orchestrator::VolumeRecord;

use crate::call::{Call, call};
use crate::names::{self, FINALIZER, PROVISIONED_BY, label};
use crate::wish::Reclaim;

/// All that is known of one volume.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) claim: Option<&'a PersistentVolumeClaim>,
    pub(crate) volume: Option<&'a PersistentVolume>,
    pub(crate) record: Option<&'a VolumeRecord>,
    /// What the PV said when it vanished before our eyes.
    pub(crate) last: Option<Reclaim>,
    pub(crate) classes: &'a [Arc<StorageClass>],
    /// The names that we answer to.
    pub(crate) names: &'a [String],
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    Nothing,
    /// Make the volume and its PV, or go on with it.
    Provision,
    /// Say that this is not done, and do nothing.
    Ignore(String),
    /// Say what cannot be right, and do nothing.
    Refuse(String),
    /// The volume is in use: the cluster shall reach it.
    Keep,
    /// Nobody can use the volume, and it has no PV: it goes.
    Delete,
    /// The claim has another volume: this one goes, its PV first.
    Withdraw,
    /// The claim is gone: the volume goes, then its PV.
    Reclaim,
    /// The PV goes, the volume stays.
    Release,
    /// The PV is gone and nobody saw how: the volume stays, and that is said.
    Left,
}

/// # Behavior
/// The end of a volume that somebody may have written to is its PV's, which says whether it is to be deleted. Our
/// finalizer holds the PV until we have read that, so none can end unseen unless somebody takes the finalizer off.
pub(crate) fn next(seen: &Seen<'_>) -> Next {
    match (seen.volume, seen.record.filter(|record| made_by_us(record))) {
        (Some(volume), record) => of_volume(seen, volume, record),
        (None, Some(record)) => of_record(seen, record),
        (None, None) if seen.record.is_some() => wanted(seen, &taken_by_another),
        (None, None) => wanted(seen, &|_| Next::Provision),
    }
}

/// Whether the claim is the one that the record's volume was made for.
pub(crate) fn is_for(record: &VolumeRecord, claim: &PersistentVolumeClaim) -> bool {
    record.spec.labels.get(label::CLAIM_ID) == claim.metadata.uid.as_ref()
}

pub(crate) fn made_by_us(record: &VolumeRecord) -> bool {
    record.spec.labels.contains_key(label::PROVISIONER)
}

/// The PV a claim is bound to, or waits for.
pub(crate) fn bound_to(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

pub(crate) fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// What shall become of its volume. A word that we do not know is no leave to delete anything.
pub(crate) fn reclaim(volume: &PersistentVolume) -> Reclaim {
    let word = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    match word {
        Some(word) => Reclaim::read(Some(word)).unwrap_or(Reclaim::Retain),
        None => Reclaim::Retain,
    }
}

pub(crate) fn has_finalizer(volume: &PersistentVolume) -> bool {
    volume.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

fn of_volume(seen: &Seen<'_>, volume: &PersistentVolume, record: Option<&VolumeRecord>) -> Next {
    let by = volume.annotations().get(PROVISIONED_BY);
    let is_ours = by.is_some_and(|by| seen.names.contains(by)) && (has_finalizer(volume) || record.is_some());
    let next = if is_ours {
        of_our_volume(seen, volume)
    } else if record.is_some() {
        // Somebody wrote a PV for a volume that was left to him.
        Next::Keep
    } else {
        Next::Nothing
    };
    let claim_ref = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let is_of_claim = |claim| claim_ref.is_some_and(|reference| names::refers_to(reference, claim));
    match seen.claim {
        Some(claim) if !is_of_claim(claim) && matches!(next, Next::Keep | Next::Nothing) => {
            match wanted(seen, &taken_by_another) {
                Next::Nothing => next,
                refused => refused,
            }
        }
        _ => next,
    }
}

fn of_our_volume(seen: &Seen<'_>, volume: &PersistentVolume) -> Next {
    let goes = volume.metadata.deletion_timestamp.is_some();
    match (phase(volume), reclaim(volume)) {
        ("Bound", _) => Next::Keep,
        ("Released" | "Failed", Reclaim::Delete) => Next::Reclaim,
        (_, Reclaim::Delete) if goes => Next::Reclaim,
        (_, Reclaim::Retain) if goes => Next::Release,
        ("Released" | "Failed", Reclaim::Retain) => Next::Keep,
        _ => {
            let claim_ref = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let is_elsewhere = |claim: &PersistentVolumeClaim| {
                claim_ref.is_some_and(|reference| names::refers_to(reference, claim))
                    && bound_to(claim).is_some_and(|other| other != volume.name_any())
            };
            if seen.claim.is_some_and(is_elsewhere) { Next::Withdraw } else { Next::Keep }
        }
    }
}

/// A volume of ours without a PV. `staged` says that it has had one.
fn of_record(seen: &Seen<'_>, record: &VolumeRecord) -> Next {
    let unused = if record.staged { Next::Nothing } else { Next::Delete };
    let Some(claim) = seen.claim else {
        return if seen.last == Some(Reclaim::Delete) { Next::Delete } else { unused };
    };
    if !is_for(record, claim) {
        return match unused {
            Next::Delete => Next::Delete,
            _ => wanted(seen, &taken_by_another),
        };
    }
    match bound_to(claim) {
        None if claim.metadata.deletion_timestamp.is_some() => unused,
        None => match wanted(seen, &|_| Next::Provision) {
            // Its class may have gone since; what it was made as is in the record.
            Next::Refuse(_) | Next::Nothing if record.settled => Next::Provision,
            next => next,
        },
        Some(name) if name == record.id.as_str() => match (is_lost(claim), seen.last) {
            (true, Some(Reclaim::Delete)) => Next::Delete,
            (true, Some(Reclaim::Retain)) => Next::Nothing,
            (true, None) => Next::Left,
            (false, _) => Next::Nothing,
        },
        Some(_) => unused,
    }
}

/// What is to be done for the claim, if it waits for us.
fn wanted(seen: &Seen<'_>, answer: &dyn Fn(&PersistentVolumeClaim) -> Next) -> Next {
    let Some(claim) = seen.claim else { return Next::Nothing };
    let waits = claim.metadata.deletion_timestamp.is_none() && bound_to(claim).is_none() && !is_lost(claim);
    if !waits {
        return Next::Nothing;
    }
    match call(claim, seen.classes, seen.names) {
        Call::None => Next::Nothing,
        Call::Volume(_) => answer(claim),
        Call::Ignored(reason) => Next::Ignore(reason),
        Call::Wrong(reason) => Next::Refuse(reason),
    }
}

fn taken_by_another(claim: &PersistentVolumeClaim) -> Next {
    let name = names::volume_of(claim).unwrap_or_default();
    Next::Refuse(format!(
        "the name `{name}` is taken by a volume or PV that was not made for this claim; delete the claim and create it \
         again: it then gets another name"
    ))
}

fn is_lost(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost")
}

#[cfg(test)]
mod tests;
