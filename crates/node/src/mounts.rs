//! Volumes on this node: what happens between a container's start and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::{Attached, Attachment, Host, Passphrases};
use model::{Layout, NodeName, VolumeId, VolumeOption, is_encrypted_by_node};
use orchestrator::{Error, ErrorKind, Goal, Orchestrator, Origin, Request, Result, VolumeRecord};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::error::on_node;
use crate::keys::Keys;
use crate::locks::Locks;
use crate::permissions;
use crate::secrets::Secrets;

/// The volumes of this node. Who has what mounted is read from the mount table each time.
pub struct Mounts {
    pub orchestrator: Orchestrator,
    pub host: Host,
    pub node: NodeName,
    pub secrets: Secrets,
    locks: Locks,
    /// Volumes that could not be brought in order when they should have been.
    owed: Mutex<BTreeSet<VolumeId>>,
    /// What was handed over with volumes that are here, for what nobody hands it over for.
    handed: Mutex<BTreeMap<VolumeId, Passphrases>>,
}

/// The right to change what a volume is on this node.
pub struct Held {
    pub volume: VolumeId,
    _lock: OwnedMutexGuard<()>,
}

/// How long the end of a container, or of a failed start, waits for its volume to be freed. Less than what the
/// engine grants beyond the deadlines.
const FREEING: Duration = Duration::from_secs(5);

impl Mounts {
    /// Without passphrases: encrypted volumes are refused.
    pub fn new(orchestrator: Orchestrator, host: Host) -> Mounts {
        let node = orchestrator.settings().node.name.clone();
        Mounts {
            orchestrator,
            host,
            node,
            secrets: Secrets::default(),
            locks: Locks::default(),
            owed: Mutex::default(),
            handed: Mutex::default(),
        }
    }

    /// Where the passphrases of encrypted volumes are.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Mounts {
        Mounts { secrets, ..self }
    }

    pub async fn hold(&self, volume: &VolumeId) -> Held {
        Held { volume: volume.clone(), _lock: self.locks.hold(volume).await }
    }

    /// `None` while somebody is at work on the volume.
    pub fn try_hold(&self, volume: &VolumeId) -> Option<Held> {
        self.locks.try_hold(volume).map(|lock| Held { volume: volume.clone(), _lock: lock })
    }

    /// Mounts a volume for one reference and tells `answer` where.
    ///
    /// # Behavior
    /// A reference that is mounted already is answered with its place. One that nobody waits for any more when
    /// it is mounted is unmounted again: nobody would ever ask for that. Run it as a task of its own, so that a
    /// caller who leaves does not leave half of it.
    pub async fn mount(
        &self,
        volume: VolumeId,
        reference: String,
        limit: Duration,
        answer: tokio::sync::oneshot::Sender<Result<PathBuf>>,
    ) {
        let until = Instant::now() + limit;
        let Ok(held) = tokio::time::timeout_at(until, self.hold(&volume)).await else {
            let _ = answer.send(Err(too_slow("mounted", &volume)));
            return;
        };
        let known = self.host.references(&volume).is_ok_and(|references| references.contains(&reference));
        let mounted = match tokio::time::timeout_at(until, self.bring(&held, &reference, until)).await {
            Ok(mounted) => mounted,
            Err(_) => Err(too_slow("mounted", &volume)),
        };
        if mounted.is_err() && !known {
            self.undo(&held, &reference).await;
        }
        let failed = mounted.is_err();
        if answer.send(mounted).is_err() && !failed && !known {
            tracing::info!("nobody waits for this mount any more");
            self.undo(&held, &reference).await;
        }
    }

    /// Ends one reference; the last one frees the volume.
    ///
    /// # Behavior
    /// A reference that is not there is as good as ended. When it has ended, the container's part is done: if
    /// the volume cannot be freed now, that is tried again later.
    pub async fn unmount(&self, volume: &VolumeId, reference: &str) -> Result<()> {
        let held = self.hold(volume).await;
        let left = self.host.unmount(volume, reference).await.map_err(|e| on_node("unmount", volume, e))?;
        if left == 0 {
            self.free(&held).await;
        }
        Ok(())
    }

    /// Brings a volume on this node in line with who uses it: free without references, published with. One that is
    /// published until somebody takes it back is left alone.
    ///
    /// # Errors
    /// The volume stays as it is; trying again is harmless.
    pub async fn settle(&self, held: &Held) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(45);
        let volume = &held.volume;
        let record = self.orchestrator.catalogue().volume(volume);
        let is_taken = record.as_ref().is_some_and(|record| self.is_taken(record));
        if is_taken {
            self.let_go(volume).await?;
        }
        let references = self.host.references(volume).map_err(|e| on_node("look at", volume, e))?;
        if references.is_empty() && !is_taken && record.as_ref().is_some_and(|record| self.is_kept(record)) {
            return Ok(());
        }
        let request = if references.is_empty() {
            self.take_down(held, is_taken).await?;
            record
                .filter(|record| self.concerns(record))
                .map(|_| Request::Unpublish { volume: volume.clone(), node: self.node.clone() })
        } else {
            record
                .filter(|record| record.goal == Goal::Exist && !self.is_published(record))
                .map(|record| self.publish(&record))
        };
        match request {
            Some(request) => self.orchestrator.run_patiently(request, PATIENCE).await.map(drop),
            None => Ok(()),
        }
    }

    /// As [`settle`](Mounts::settle); what fails is remembered for [`owed`](Mounts::owed).
    pub async fn settle_or_owe(&self, held: &Held) {
        match self.settle(held).await {
            Ok(()) => {
                self.debts().remove(&held.volume);
            }
            Err(error) => {
                let first = self.debts().insert(held.volume.clone());
                // An unreachable backend has been reported by its health.
                if first && error.kind != ErrorKind::Unreachable {
                    tracing::warn!(
                        volume = %held.volume,
                        error = error.sentence(),
                        "the volume could not be brought in order on this node; trying again"
                    );
                } else {
                    tracing::debug!(volume = %held.volume, error = error.sentence(), "still not in order");
                }
            }
        }
    }

    pub fn owed(&self) -> Vec<VolumeId> {
        self.debts().iter().cloned().collect()
    }

    pub fn is_published(&self, record: &VolumeRecord) -> bool {
        record.publication(&self.node).is_some()
    }

    /// Whether the volume stays published to this node without a mount.
    pub fn is_kept(&self, record: &VolumeRecord) -> bool {
        record.publication(&self.node).is_some_and(|publication| publication.kept)
    }

    /// Whether the record says that this node has the volume, or had it until it was taken from it.
    pub fn concerns(&self, record: &VolumeRecord) -> bool {
        record.published.contains_key(&self.node) || record.fenced.contains_key(&self.node)
    }

    /// Whether the volume was taken from this node, which has not let go of it yet.
    pub(crate) fn is_taken(&self, record: &VolumeRecord) -> bool {
        record.fenced.contains_key(&self.node)
    }

    /// Detaches a volume without references. The storage takes no more from this node of one that was taken from it.
    pub(crate) async fn take_down(&self, held: &Held, is_taken: bool) -> Result<()> {
        let volume = &held.volume;
        let detached =
            if is_taken { self.host.abandon(volume).await } else { self.host.detach(volume).await };
        detached.map_err(|e| on_node("detach", volume, e))?;
        self.forget_keys(volume);
        Ok(())
    }

    /// Unmounts what was taken from this node: whatever its containers still write reaches nobody.
    async fn let_go(&self, volume: &VolumeId) -> Result<()> {
        for reference in self.host.references(volume).map_err(|e| on_node("look at", volume, e))? {
            tracing::error!(%volume, reference, "the volume was taken from this node; unmounting it");
            self.host.unmount(volume, &reference).await.map_err(|e| on_node("unmount", volume, e))?;
        }
        Ok(())
    }

    async fn bring(&self, held: &Held, reference: &str, until: Instant) -> Result<PathBuf> {
        let volume = &held.volume;
        self.orchestrator.find(volume, until.saturating_duration_since(Instant::now())).await?;
        let record = self.record(volume)?;
        if self.is_ready_here(&record) {
            // Needs no backend: a second container starts while its array is away.
            match self.host.mount(volume, reference).await {
                Err(host::HostError::NotAttached(_)) => {}
                mounted => return mounted.map_err(|e| on_node("mount", volume, e)),
            }
        }
        let route = self.run(self.publish(&record), until).await?.route()?;
        // What it was when it was asked for may have changed while a create or restore was waited for.
        let record = self.record(volume)?;
        let wanted = Attachment { encryption: self.passphrases(&record).await?, ..attachment(&record) };
        let attached = self.host.attach(volume, &route, &wanted).await;
        match attached.map_err(|e| on_node("attach", volume, e))? {
            Attached::Directory { formatted, .. } => {
                if formatted {
                    tracing::info!(filesystem = ?record.spec.filesystem, "made the volume's file system");
                }
            }
            Attached::Device { .. } => return Err(raw(volume)),
        }
        if !record.staged {
            // Before anybody can write: from here on this volume is never formatted.
            self.run(Request::MarkStaged { volume: volume.clone() }, until).await?;
        }
        self.host.mount(volume, reference).await.map_err(|e| on_node("mount", volume, e))
    }

    /// Whether all but the last step has been done here before.
    fn is_ready_here(&self, record: &VolumeRecord) -> bool {
        record.staged
            && record.goal == Goal::Exist
            && self.is_published(record)
            && self.host.references(&record.id).is_ok_and(|references| !references.is_empty())
    }

    /// Settles a volume without references, but does not let its caller wait for long.
    async fn free(&self, held: &Held) {
        if tokio::time::timeout(FREEING, self.settle_or_owe(held)).await.is_err() {
            self.debts().insert(held.volume.clone());
        }
    }

    async fn undo(&self, held: &Held, reference: &str) {
        match self.host.unmount(&held.volume, reference).await {
            Ok(0) => self.free(held).await,
            Ok(_) => {}
            Err(error) => {
                let error = on_node("unmount", &held.volume, error);
                tracing::warn!(error = error.sentence(), "a mount that nobody waits for stays behind");
            }
        }
    }

    pub(crate) async fn run(&self, request: Request, until: Instant) -> Result<orchestrator::Answer> {
        self.orchestrator.run_patiently(request, until.saturating_duration_since(Instant::now())).await
    }

    fn record(&self, volume: &VolumeId) -> Result<std::sync::Arc<VolumeRecord>> {
        let record =
            self.orchestrator.catalogue().volume(volume).ok_or_else(|| Error::not_found("volume", volume))?;
        match (record.spec.layout, record.spec.filesystem) {
            (Layout::Block, None) => Err(raw(volume)),
            (Layout::Block, Some(_)) | (Layout::File, _) => Ok(record),
        }
    }

    /// What opens a volume, if it is encrypted on its node.
    pub async fn passphrases(&self, record: &VolumeRecord) -> Result<Option<Passphrases>> {
        if !is_encrypted_by_node(&record.spec.options) {
            return Ok(None);
        }
        let handed = self.handed().get(&record.id).cloned();
        match handed {
            Some(handed) => Ok(Some(handed)),
            None => self.secrets.passphrases(&record.id).await.map(Some),
        }
    }

    /// Keeps what was handed over with a volume in memory, until it leaves this node.
    pub fn hand_over(&self, volume: &VolumeId, keys: &Keys) {
        if let Some(passphrases) = &keys.passphrases {
            self.handed().insert(volume.clone(), passphrases.clone());
        }
    }

    pub(crate) fn forget_keys(&self, volume: &VolumeId) {
        self.handed().remove(volume);
    }

    fn handed(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Passphrases>> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, record: &VolumeRecord) -> Request {
        let read_only = is_read_only(record);
        Request::Publish {
            volume: record.id.clone(),
            node: self.node.clone(),
            read_only,
            force: false,
            kept: false,
        }
    }

    fn debts(&self) -> MutexGuard<'_, BTreeSet<VolumeId>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn too_slow(what: &str, volume: &VolumeId) -> Error {
    Error::new(ErrorKind::Busy, format!("volume `{volume}` could not be {what} in time"))
        .hint("see `leister get operations`, and try again")
}

pub(crate) fn attachment(record: &VolumeRecord) -> Attachment {
    let option = |option| record.spec.options.get(&option);
    let is_blank = record.origin == Origin::Made || (record.origin == Origin::Adopted && !record.staged);
    let may_hold_data = record.spec.source.is_some() || !is_blank;
    // What came with content came with its own mode.
    let mode = option(VolumeOption::UnixPermissions).filter(|_| !may_hold_data);
    Attachment {
        filesystem: record.spec.filesystem,
        size: record.spec.size,
        read_only: is_read_only(record),
        mount_options: record.spec.mount_options.clone(),
        format_options: option(VolumeOption::FormatOptions)
            .map(|text| text.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        permissions: mode.and_then(|text| permissions::parse(text)),
        staged_before: record.staged,
        may_hold_data,
        encryption: None,
    }
}

fn is_read_only(record: &VolumeRecord) -> bool {
    record.spec.access == model::AccessMode::ReadOnlyMany
}

fn raw(volume: &VolumeId) -> Error {
    Error::new(ErrorKind::Unsupported, format!("volume `{volume}` is a raw block device"))
        .hint("a container is given a directory; create a volume with `-o fileSystemType=ext4`, or without")
}
