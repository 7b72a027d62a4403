//! What the program `hands` is told, and what it answers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use host::{Attached, Attachment, Host, HostConfig, HostError, Limits, Passphrases, Paths, Wire};
use model::{Bytes, Filesystem, NodeName, Route, VolumeId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::tools;

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
    /// Milliseconds before something is mended, instead of the usual limit.
    #[serde(default)]
    pub patience: Option<u64>,
    #[serde(default)]
    pub single_path: bool,
    pub deed: Deed,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    Attach(Box<Attach>),
    Mount {
        volume: VolumeId,
        reference: String,
    },
    Unmount {
        volume: VolumeId,
        reference: String,
    },
    Detach {
        volume: VolumeId,
    },
    /// Detaches what its storage has taken from this node.
    Abandon {
        volume: VolumeId,
    },
    Grow {
        volume: VolumeId,
        size: Bytes,
    },
    GrowEncrypted {
        volume: VolumeId,
        size: Bytes,
        passphrases: Passphrases,
    },
    Usage {
        volume: VolumeId,
    },
    References {
        volume: VolumeId,
    },
    Identity {
        name: NodeName,
    },
    Doctor {
        wires: Vec<String>,
    },
    /// Heals again and again until this is mended or found, or the milliseconds are over.
    Heal {
        until: String,
        millis: u64,
    },
    /// All of them at the same time; also says which tools ran, and how many at once.
    AtOnce(Vec<Deed>),
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
        let usual = Limits::default();
        let limits = Limits {
            network: self.network.map_or(usual.network, Duration::from_millis),
            detach: self.detach.map_or(usual.detach, Duration::from_millis),
            patience: self.patience.map_or(usual.patience, Duration::from_millis),
            ..usual
        };
        let paths = if self.single_path { Paths::One } else { Paths::All };
        match Host::open(HostConfig { mounts_root: self.mounts_root, limits, paths }).await {
            Ok(host) => self.deed.answer(&host).await,
            Err(error) => Answer::of(&error),
        }
    }
}

impl Answer {
    fn of(error: &HostError) -> Answer {
        let shown = format!("{error:?}");
        let kind = shown.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(deeper) = cause {
            text = format!("{text}: {deeper}");
            cause = deeper.source();
        }
        Answer::Failed { kind, text }
    }
}

impl Deed {
    async fn answer(self, host: &Host) -> Answer {
        match self.call(host).await {
            Ok(value) => Answer::Done(value),
            Err(error) => Answer::of(&error),
        }
    }

    async fn call(self, host: &Host) -> Result<Value, HostError> {
        Ok(match self {
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
            Deed::Abandon { volume } => json!(host.abandon(&volume).await?),
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
            Deed::Heal { until, millis } => {
                let end = Instant::now() + Duration::from_millis(millis);
                let mut mended = Vec::new();
                loop {
                    let healing = host.heal().await?;
                    mended.extend(healing.mended);
                    let found: Vec<String> = healing.findings.iter().map(ToString::to_string).collect();
                    let is_seen = mended.iter().chain(&found).any(|text| text.contains(&until));
                    if is_seen || Instant::now() > end {
                        return Ok(json!({"mended": mended, "found": found}));
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            Deed::AtOnce(deeds) => {
                let since = Instant::now();
                let each = deeds.into_iter().map(|deed| async move {
                    let answer = Box::pin(deed.answer(host)).await;
                    json!({"answer": answer, "ms": since.elapsed().as_millis()})
                });
                let answers = futures::future::join_all(each).await;
                let (tools, peak) = tools::so_far();
                json!({"answers": answers, "tools": tools, "peak": peak})
            }
            Deed::Doctor { wires } => {
                let all = [Wire::Nfs, Wire::Iscsi, Wire::Multipath, Wire::Nvme];
                let wires = all.into_iter().filter(|wire| wires.contains(&wire.to_string())).collect();
                json!(host.doctor(&wires).await.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
        })
    }
}
