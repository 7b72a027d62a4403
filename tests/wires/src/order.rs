//! What the program `hands` is told, and what it answers.

use std::path::PathBuf;
use std::time::Duration;

use host::{Attached, Attachment, Host, HostConfig, HostError, Limits, Passphrases};
use model::{Bytes, Filesystem, NodeName, Route, VolumeId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One call of the hands.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub mounts_root: PathBuf,
    /// Milliseconds for what waits for the network, instead of the usual limit.
    #[serde(default)]
    pub network: Option<u64>,
    /// Milliseconds for a detach, instead of the usual limit.
    #[serde(default)]
    pub detach: Option<u64>,
    pub deed: Deed,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    Attach(Box<Attach>),
    Mount { volume: VolumeId, reference: String },
    Unmount { volume: VolumeId, reference: String },
    Detach { volume: VolumeId },
    Grow { volume: VolumeId, size: Bytes },
    GrowEncrypted { volume: VolumeId, size: Bytes, passphrases: Passphrases },
    Usage { volume: VolumeId },
    References { volume: VolumeId },
    Identity { name: NodeName },
    Doctor,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attach {
    pub volume: VolumeId,
    pub route: Route,
    pub size: Bytes,
    #[serde(default)]
    pub filesystem: Option<Filesystem>,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub mount_options: Vec<String>,
    #[serde(default)]
    pub staged_before: bool,
    #[serde(default)]
    pub encryption: Option<Passphrases>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    Done(Value),
    /// The error's name and text.
    Failed {
        kind: String,
        text: String,
    },
}

impl Order {
    pub async fn obey(self) -> Answer {
        match self.call().await {
            Ok(value) => Answer::Done(value),
            Err(error) => {
                let shown = format!("{error:?}");
                let kind = shown.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
                Answer::Failed { kind, text: error.to_string() }
            }
        }
    }

    async fn call(self) -> Result<Value, HostError> {
        let usual = Limits::default();
        let limits = Limits {
            network: self.network.map_or(usual.network, Duration::from_millis),
            detach: self.detach.map_or(usual.detach, Duration::from_millis),
            ..usual
        };
        let host = Host::open(HostConfig { mounts_root: self.mounts_root, limits }).await?;
        Ok(match self.deed {
            Deed::Attach(attach) => {
                let Attach {
                    volume,
                    route,
                    size,
                    filesystem,
                    read_only,
                    mount_options,
                    staged_before,
                    encryption,
                } = *attach;
                let wanted = Attachment {
                    filesystem,
                    size,
                    read_only,
                    mount_options,
                    staged_before,
                    encryption,
                    ..Attachment::default()
                };
                match host.attach(&volume, &route, &wanted).await? {
                    Attached::Directory { path, formatted } => json!({"path": path, "formatted": formatted}),
                    Attached::Device { path } => json!({"device": path}),
                }
            }
            Deed::Mount { volume, reference } => json!(host.mount(&volume, &reference).await?),
            Deed::Unmount { volume, reference } => json!(host.unmount(&volume, &reference).await?),
            Deed::Detach { volume } => json!(host.detach(&volume).await?),
            Deed::Grow { volume, size } => json!(host.grow(&volume, size, None).await?),
            Deed::GrowEncrypted { volume, size, passphrases } => {
                json!(host.grow(&volume, size, Some(&passphrases)).await?)
            }
            Deed::Usage { volume } => {
                let usage = host.usage(&volume).await?;
                json!({"total": usage.total.get(), "used": usage.used.get()})
            }
            Deed::References { volume } => json!(host.references(&volume)?),
            Deed::Identity { name } => json!(host::identity(name)?),
            Deed::Doctor => {
                json!(host.doctor().await.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
        })
    }
}
