//! Snapshots of several FlexVols at one instant, by a consistency group that lasts no longer than the taking.
//!
//! The array takes them, all or none, and fences writes meanwhile. Then each gets its own remark, with the group's name in
//! it, and the group goes last: while it is there, it tells whose a snapshot without a remark is.

use std::collections::BTreeSet;

use async_trait::async_trait;
use driver::{DriverError, ErrorKind, GroupSnapshot, Groups, Outcome, Result};
use model::{Handle, InstanceId, Owner, SnapshotState};
use sha2::{Digest, Sha256};

use super::OntapDriver;
use super::snapshots::mark;
use crate::error::{ABSENT, CallError};
use crate::layout::Found;
use crate::wire::consistency_groups::{self, ConsistencyGroup};
use crate::wire::snapshots::{self, Snapshot};

const TAKE: &str = "take group snapshot";
const DELETE: &str = "delete group snapshot";

#[async_trait]
impl Groups for OntapDriver {
    async fn take_group(&self, request: &GroupSnapshot) -> Result<Outcome<Vec<SnapshotState>>> {
        let mut members = Vec::new();
        for handle in &request.members {
            members.push(self.ours(handle, TAKE).await?);
        }
        let name = name(&self.array.instance, request);
        let group = self.bind(&name, request).await?;
        let taken = self.take_bound(&group, request, &members).await;
        if !matches!(&taken, Err(error) if error.kind == ErrorKind::Unreachable) {
            self.unbind(&group, TAKE).await?;
        }
        taken
    }

    async fn delete_group(&self, request: &GroupSnapshot) -> Result<Outcome<()>> {
        let fail = self.array.error(DELETE);
        let (client, svm) = (&self.array.client, &self.array.svm);
        let name = name(&self.array.instance, request);
        let mut changed = false;
        if let Some(group) = consistency_groups::find(client, svm, &name).await.map_err(&fail)? {
            changed |= self.discard(&group, request, DELETE).await?;
            self.unbind(&group, DELETE).await?;
        }
        for handle in &request.members {
            let Some(found) = self.array.find(handle).await.map_err(&fail)? else { continue };
            let snapshot = request.snapshot.as_str();
            if found.owner(&self.array) == Owner::Ours
                && let Some(seen) =
                    snapshots::find(client, &found.volume.uuid, snapshot).await.map_err(&fail)?
                && is_of(&seen, &name)
            {
                self.delete_seen(&found, &seen, DELETE).await?;
                changed = true;
            }
        }
        Ok(if changed { Outcome::Changed(()) } else { Outcome::Unchanged(()) })
    }
}

impl OntapDriver {
    /// The consistency group of these volumes and no others.
    async fn bind(&self, name: &str, request: &GroupSnapshot) -> Result<ConsistencyGroup> {
        let fail = self.array.error(TAKE);
        let (client, svm) = (&self.array.client, self.array.svm.as_str());
        let volumes: Vec<&str> = request.members.iter().map(Handle::as_str).collect();
        let made = async || match consistency_groups::create(client, svm, name, &volumes).await {
            Err(error) if error.refusal().is_some() => Ok(Some(error)),
            Err(error) => Err(fail(error)),
            Ok(()) => Ok(None),
        };
        let mut refusal = made().await?;
        let mut group = consistency_groups::find(client, svm, name).await.map_err(&fail)?;
        if group.is_none() && self.release(&volumes, TAKE).await? {
            refusal = made().await?;
            group = consistency_groups::find(client, svm, name).await.map_err(&fail)?;
        }
        let Some(group) = group else {
            let vanished = || {
                let message = format!("consistency group `{name}` vanished while it was being made");
                DriverError::new(ErrorKind::Busy, TAKE, message)
            };
            return Err(refusal.map_or_else(vanished, fail));
        };
        let bound: BTreeSet<&str> = group.volumes.iter().map(|volume| volume.name.as_str()).collect();
        if bound != volumes.into_iter().collect() {
            let message = format!(
                "somebody has changed the volumes of consistency group `{name}`; delete it on the array"
            );
            return Err(DriverError::new(ErrorKind::Conflict, TAKE, message));
        }
        Ok(group)
    }

    async fn take_bound(
        &self,
        group: &ConsistencyGroup,
        request: &GroupSnapshot,
        members: &[Found],
    ) -> Result<Outcome<Vec<SnapshotState>>> {
        let fail = self.array.error(TAKE);
        let (client, name) = (&self.array.client, request.snapshot.as_str());
        let refusal = match consistency_groups::take(client, &group.uuid, name).await {
            Ok(()) => None,
            Err(error) if error.refusal().is_some() => Some(error),
            Err(error) => return Err(fail(error)),
        };
        let mut seen = Vec::new();
        for found in members {
            seen.push(snapshots::find(client, &found.volume.uuid, name).await.map_err(&fail)?);
        }
        let is_ours = match refusal {
            None => true,
            Some(error) => {
                let earlier =
                    consistency_groups::find_picture(client, &group.uuid, name).await.map_err(&fail)?;
                if earlier.is_none() {
                    check(&group.name, request, members, &seen, error, &fail)?;
                }
                earlier.is_some()
            }
        };
        let mut changed = false;
        let mut states = Vec::new();
        for (found, seen) in members.iter().zip(seen) {
            let Some(mut seen) = seen else {
                self.discard(group, request, TAKE).await?;
                let message = format!(
                    "the array has taken no snapshot of `{}`; those of the others are gone",
                    found.handle
                );
                return Err(DriverError::new(ErrorKind::Busy, TAKE, message));
            };
            if is_ours && !is_of(&seen, &group.name) {
                let comment = mark(found, Some(&group.name));
                snapshots::remark(client, &found.volume.uuid, &seen.uuid, &comment).await.map_err(&fail)?;
                seen.comment = Some(comment);
                changed = true;
            }
            states.push(self.shown(found, &seen).ok_or_else(|| {
                let message = format!("`{}` is no name of a snapshot", seen.name);
                DriverError::new(ErrorKind::Internal, TAKE, message)
            })?);
        }
        Ok(if changed { Outcome::Changed(states) } else { Outcome::Unchanged(states) })
    }

    /// Deletes what the group has taken.
    async fn discard(
        &self,
        group: &ConsistencyGroup,
        request: &GroupSnapshot,
        operation: &'static str,
    ) -> Result<bool> {
        let fail = self.array.error(operation);
        let (client, name) = (&self.array.client, request.snapshot.as_str());
        let picture = consistency_groups::find_picture(client, &group.uuid, name).await.map_err(&fail)?;
        let Some(picture) = picture else { return Ok(false) };
        match consistency_groups::delete_picture(client, &group.uuid, &picture.uuid).await {
            Err(error) if !error.is(ABSENT) => Err(fail(error)),
            _ => Ok(true),
        }
    }

    async fn unbind(&self, group: &ConsistencyGroup, operation: &'static str) -> Result<()> {
        match consistency_groups::delete(&self.array.client, &group.uuid).await {
            Err(error) if !error.is(ABSENT) => Err(self.array.error(operation)(error)),
            _ => Ok(()),
        }
    }

    /// Deletes consistency groups that interrupted work of ours has left around these volumes; says whether there were any.
    ///
    /// # Errors
    /// `Conflict` for a group that is not ours: it is never dissolved.
    pub(super) async fn release(&self, volumes: &[&str], operation: &'static str) -> Result<bool> {
        let (client, svm) = (&self.array.client, self.array.svm.as_str());
        let groups = consistency_groups::of_volumes(client, svm, volumes).await;
        let groups = groups.map_err(self.array.error(operation))?;
        let ours = prefix(&self.array.instance);
        if let Some(foreign) = groups.iter().find(|group| !group.name.starts_with(&ours)) {
            let bound = foreign.volumes.iter().map(|volume| volume.name.as_str());
            let bound: Vec<String> =
                bound.filter(|name| volumes.contains(name)).map(|name| format!("`{name}`")).collect();
            let message = format!(
                "{} lies in consistency group `{}` of the array, which is not ours; take it out of that group, or have that \
                 group's snapshots taken on the array",
                bound.join(", "),
                foreign.name
            );
            return Err(DriverError::new(ErrorKind::Conflict, operation, message));
        }
        for group in &groups {
            self.unbind(group, operation).await?;
        }
        Ok(!groups.is_empty())
    }
}

/// # Errors
/// The array has refused to take it: `Conflict` when a member has a snapshot of that name that is not of this group.
fn check(
    group: &str,
    request: &GroupSnapshot,
    members: &[Found],
    seen: &[Option<Snapshot>],
    refusal: CallError,
    fail: impl Fn(CallError) -> DriverError,
) -> Result<()> {
    if seen.iter().all(|seen| seen.as_ref().is_some_and(|seen| is_of(seen, group))) {
        return Ok(());
    }
    let there = members.iter().zip(seen).find(|(_, seen)| seen.is_some()).map(|(found, _)| &found.handle);
    let Some(handle) = there else { return Err(fail(refusal)) };
    let message = format!(
        "`{handle}` has a snapshot `{}` that was not taken with those of the others",
        request.snapshot
    );
    Err(DriverError::new(ErrorKind::Conflict, TAKE, message).because(refusal))
}

/// Whether a snapshot's remark says that it was taken by this group.
fn is_of(snapshot: &Snapshot, group: &str) -> bool {
    snapshot.comment.as_deref().is_some_and(|comment| comment.contains(group))
}

/// Of the consistency group: the same for the same instance, members and snapshot. Trident's have 30 characters at most.
fn name(instance: &InstanceId, request: &GroupSnapshot) -> String {
    let members = request.members.iter().map(Handle::as_str);
    let told: Vec<&str> = std::iter::once(request.snapshot.as_str()).chain(members).collect();
    format!("{}{}", prefix(instance), digest(&told.join("/"), 6))
}

fn prefix(instance: &InstanceId) -> String {
    format!("leister_{}_", digest(instance.as_str(), 4))
}

fn digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}
