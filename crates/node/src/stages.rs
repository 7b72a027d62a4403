//! Volumes as a container orchestrator has them on this node: staged once, then shown for each use.

use std::path::Path;
use std::time::Duration;

use host::Attachment;
use model::{Filesystem, Layout, VolumeId};
use orchestrator::{Error, ErrorKind, Request, Result, VolumeRecord};
use tokio::time::Instant;

use crate::error::on_node;
use crate::keys::Keys;
use crate::mounts::{Held, Mounts, attachment, too_slow};

/// What a user is given of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Files,
    Device,
}

/// How a volume is wanted on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub shape: Shape,
    /// Where one was asked for.
    pub filesystem: Option<Filesystem>,
    /// In place of those that the volume was made with.
    pub mount_options: Vec<String>,
}

impl Shape {
    /// As a volume can be given.
    pub fn of(record: &VolumeRecord) -> Shape {
        match (record.spec.layout, record.spec.filesystem) {
            (Layout::Block, None) => Shape::Device,
            (Layout::Block, Some(_)) | (Layout::File, _) => Shape::Files,
        }
    }
}

impl Stage {
    /// Why this volume cannot be had so.
    pub fn misfit(&self, record: &VolumeRecord) -> Option<String> {
        match (self.shape, Shape::of(record)) {
            (Shape::Files, Shape::Device) => return Some("it is a raw device".to_owned()),
            (Shape::Device, Shape::Files) => return Some("it has files and is no raw device".to_owned()),
            (Shape::Files, Shape::Files) | (Shape::Device, Shape::Device) => {}
        }
        let is_other = self.filesystem.is_some() && self.filesystem != record.spec.filesystem;
        is_other.then(|| match record.spec.filesystem {
            Some(filesystem) => format!("its file system is {filesystem}"),
            None => "it is a directory on its storage, without a file system of its own".to_owned(),
        })
    }
}

impl Mounts {
    /// Attaches a volume that is published to this node until it is taken back, with what was handed over for it. Run it as a task of its own, so that a
    /// caller who leaves does not leave half of it.
    ///
    /// # Behavior
    /// Does only what is missing: a volume that is staged already stays as it is.
    ///
    /// # Errors
    /// `InUse`: it is not published to this node. `Invalid`: it cannot be had in this shape. `Busy`: not in time.
    pub async fn stage(&self, volume: &VolumeId, wanted: &Stage, keys: &Keys, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        let work = async {
            let held = self.hold(volume).await;
            self.bring_stage(&held, wanted, keys, until).await
        };
        tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| Err(too_slow("staged", volume)))
    }

    /// Detaches a volume; the node stays permitted to use it.
    ///
    /// # Behavior
    /// What is not written yet to a volume that was taken from this node is lost: the storage takes no more from it.
    ///
    /// # Errors
    /// `InUse` while it is shown or mounted anywhere on this node.
    pub async fn unstage(&self, volume: &VolumeId) -> Result<()> {
        let held = self.hold(volume).await;
        let record = self.orchestrator.catalogue().volume(volume);
        self.take_down(&held, record.is_some_and(|record| self.is_taken(&record))).await
    }

    /// Shows a staged volume at `target`; see [`Host::show`](host::Host::show).
    ///
    /// # Errors
    /// `InUse`: it is not staged, or used by others although it shall be alone.
    pub async fn show(&self, volume: &VolumeId, target: &Path, read_only: bool, alone: bool) -> Result<()> {
        let _held = self.hold(volume).await;
        let shown = self.host.show(volume, &reference(target), target, read_only, alone).await;
        shown.map_err(|error| match error {
            host::HostError::NotAttached(_) => {
                Error::new(ErrorKind::InUse, format!("volume `{volume}` is not staged on this node"))
                    .hint("stage it first")
            }
            error => on_node("show", volume, error),
        })
    }

    /// Lets a group read and write all files of a staged volume.
    ///
    /// # Errors
    /// The storage does not let this node do so.
    pub async fn give(&self, volume: &VolumeId, group: u32) -> Result<()> {
        let _held = self.hold(volume).await;
        self.host.give(volume, group).await.map_err(|e| on_node("give to a group", volume, e))
    }

    /// Ends what [`Mounts::show`] did. The volume stays staged.
    ///
    /// # Errors
    /// `InUse` with who holds it.
    pub async fn hide(&self, volume: &VolumeId, target: &Path) -> Result<()> {
        let _held = self.hold(volume).await;
        let hidden = self.host.hide(volume, &reference(target), target).await;
        hidden.map(drop).map_err(|e| on_node("unmount", volume, e))
    }

    /// # Errors
    /// The mount table cannot be read.
    pub fn is_shown(&self, volume: &VolumeId, target: &Path) -> Result<bool> {
        let shown = self.host.is_shown(volume, &reference(target), target);
        shown.map_err(|e| on_node("look at", volume, e))
    }

    async fn bring_stage(&self, held: &Held, wanted: &Stage, keys: &Keys, until: Instant) -> Result<()> {
        let volume = &held.volume;
        if self.kept(volume).is_err() {
            // Its caller may have heard of the publication before the store has told this instance: who leads knows.
            self.run(Request::Find { volume: volume.clone() }, until).await?;
        }
        let record = self.kept(volume)?;
        if let Some(misfit) = wanted.misfit(&record) {
            return Err(Error::invalid(format!("volume `{volume}` cannot be used so: {misfit}")));
        }
        let publication = record.publication(&self.node);
        let request = Request::Publish {
            volume: volume.clone(),
            node: self.node.clone(),
            read_only: publication.is_some_and(|publication| publication.read_only),
            force: false,
            kept: true,
        };
        let route = keys.onto(self.run(request, until).await?.route()?);
        self.hand_over(volume, keys);
        // What it was when it was asked for may have changed while something else was waited for.
        let record = self.kept(volume)?;
        let mut attachment =
            Attachment { encryption: self.passphrases(&record).await?, ..attachment(&record) };
        attachment.read_only |= record.publication(&self.node).is_some_and(|p| p.read_only);
        if !wanted.mount_options.is_empty() {
            attachment.mount_options.clone_from(&wanted.mount_options);
        }
        let attached = self.host.attach(volume, &route, &attachment).await;
        attached.map_err(|e| on_node("attach", volume, e))?;
        if !record.staged {
            // Before anybody can write: from here on this volume is never formatted.
            self.run(Request::MarkStaged { volume: volume.clone() }, until).await?;
        }
        Ok(())
    }

    fn kept(&self, volume: &VolumeId) -> Result<std::sync::Arc<VolumeRecord>> {
        let record = self.orchestrator.catalogue().volume(volume);
        let record = record.ok_or_else(|| Error::not_found("volume", volume))?;
        if self.is_kept(&record) {
            return Ok(record);
        }
        let problem = format!("volume `{volume}` is not published to node `{}`", self.node);
        Err(Error::new(ErrorKind::InUse, problem).hint("publish it to the node first"))
    }
}

/// A name for the use at this place: FNV-1a of its path, with 128 bits.
fn reference(target: &Path) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let path = target.as_os_str().as_encoded_bytes();
    let hash = path.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("at-{hash:032x}")
}
