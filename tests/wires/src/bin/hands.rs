//! A node's hands as a program, for tests: reads one command as JSON from standard input, does it, and says what came
//! of it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it says is its answer")]

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use host::{Attached, Attachment, Host, HostConfig, Limits, Multipath};
use model::{Bytes, Filesystem, Route, VolumeId};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
enum Command {
    Attach(Attach),
    /// Attaches all at once.
    AttachAll {
        volumes: Vec<Attach>,
    },
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
        #[serde(default)]
        force: bool,
    },
    DetachAll {
        volumes: Vec<VolumeId>,
    },
    Grow {
        volume: VolumeId,
        size: u64,
    },
    Usage {
        volume: VolumeId,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attach {
    volume: VolumeId,
    route: Route,
    #[serde(default)]
    filesystem: Option<Filesystem>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    mount_options: Vec<String>,
    #[serde(default)]
    staged_before: bool,
    #[serde(default)]
    single: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let command: Command = serde_json::from_str(&text)?;
    let limits = Limits { quick: Duration::from_secs(30), long: Duration::from_secs(120) };
    let host = Host::open(HostConfig { mounts_root: PathBuf::from("/run/hands"), limits }).await?;
    Ok(match command {
        Command::Attach(wanted) => attach(&host, wanted).await?,
        Command::AttachAll { volumes } => {
            let mut tasks = tokio::task::JoinSet::new();
            for wanted in volumes {
                let host = host.clone();
                tasks.spawn(async move { attach(&host, wanted).await });
            }
            tasks.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?.join("\n")
        }
        Command::Mount { volume, reference } => host.mount(&volume, &reference).await?.display().to_string(),
        Command::Unmount { volume, reference } => host.unmount(&volume, &reference).await?.to_string(),
        Command::Detach { volume, force } => {
            host.detach(&volume, force).await?;
            "detached".to_owned()
        }
        Command::DetachAll { volumes } => {
            let mut tasks = tokio::task::JoinSet::new();
            for volume in volumes {
                let host = host.clone();
                tasks.spawn(async move { host.detach(&volume, false).await });
            }
            tasks.join_all().await.into_iter().collect::<Result<Vec<()>, _>>()?;
            "detached".to_owned()
        }
        Command::Grow { volume, size } => {
            host.grow(&volume, Bytes::new(size)).await?;
            "grown".to_owned()
        }
        Command::Usage { volume } => {
            let usage = host.usage(&volume).await?;
            format!("{} {}", usage.total.get(), usage.inodes)
        }
    })
}

async fn attach(host: &Host, wanted: Attach) -> anyhow::Result<String> {
    let attachment = Attachment {
        filesystem: wanted.filesystem,
        size: Bytes::new(wanted.size),
        read_only: wanted.read_only,
        mount_options: wanted.mount_options,
        staged_before: wanted.staged_before,
        multipath: if wanted.single { Multipath::Single } else { Multipath::Auto },
        ..Attachment::default()
    };
    Ok(match host.attach(&wanted.volume, &wanted.route, &attachment).await? {
        Attached::Directory { path, formatted } => format!("{} {formatted}", path.display()),
        Attached::Device { path } => path.display().to_string(),
    })
}
