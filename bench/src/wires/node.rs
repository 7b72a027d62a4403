//! What runs in the guest that is the node: the same attaches by Leister's hands and by a person's tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use host::{Attachment, Host, HostConfig, Limits};
use model::{Bytes, Filesystem, IscsiRoute, NfsRoute, Route, VolumeId};
use serde::{Deserialize, Serialize};

use super::{Measured, Way};
/// Where a person would mount.
const BY_HAND: &str = "/run/by-hand";

/// How long a device may take to appear.
const APPEARANCE: Duration = Duration::from_secs(60);

/// What the node is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) routes: Vec<Route>,
    pub(crate) size: Bytes,
    pub(crate) rounds: usize,
}

/// One volume, to be attached one way.
#[derive(Clone)]
struct Subject {
    way: Way,
    name: String,
    route: Route,
    size: Bytes,
}

/// Measures both ways in turns; the first half of the routes is ours, the second a person's.
pub(crate) async fn measure(plan: Plan) -> Result<Vec<Measured>> {
    let root = PathBuf::from("/run/leister-bench");
    let host = Host::open(HostConfig { mounts_root: root, limits: Limits::default() }).await?;
    fs::create_dir_all(BY_HAND)?;
    let half = plan.routes.len() / 2;
    let subject = |way, (at, route): (usize, &Route)| Subject {
        way,
        name: format!("volume{at}"),
        route: route.clone(),
        size: plan.size,
    };
    let ours: Vec<_> = plan.routes.iter().take(half).enumerate().map(|r| subject(Way::Leister, r)).collect();
    let hand: Vec<_> = plan.routes.iter().skip(half).enumerate().map(|r| subject(Way::ByHand, r)).collect();
    let mut measured = Vec::new();
    for subjects in [&ours, &hand] {
        measured.push(one_by_one(&host, subjects, "first attach, one at a time", true).await?);
    }
    for round in 0..plan.rounds {
        // Who begins changes, so that neither finds the machine warmer.
        let turns = if round % 2 == 0 { [&ours, &hand] } else { [&hand, &ours] };
        for subjects in turns {
            measured.push(one_by_one(&host, subjects, "one at a time", false).await?);
            measured.push(at_once(&host, subjects).await?);
        }
    }
    for round in 0..plan.rounds {
        let turns = if round % 2 == 0 { [&ours, &hand] } else { [&hand, &ours] };
        for subjects in turns {
            let subject = subjects.first().context("no volume")?;
            let place = subject.attach(&host, false).await?;
            let wrote = tokio::task::spawn_blocking(move || write(&place)).await??;
            subject.detach(&host).await?;
            measured.push(Measured { what: "write".into(), way: subject.way, wrote, ..Measured::default() });
        }
    }
    Ok(measured)
}

async fn one_by_one(host: &Host, subjects: &[Subject], what: &str, first: bool) -> Result<Measured> {
    let way = subjects.first().context("no volume")?.way;
    let mut measured = Measured { what: what.into(), way, ..Measured::default() };
    for subject in subjects {
        let (attach, detach) = subject.cycle(host, first).await?;
        measured.attach.push(attach.as_secs_f64());
        measured.detach.push(detach.as_secs_f64());
    }
    Ok(measured)
}

async fn at_once(host: &Host, subjects: &[Subject]) -> Result<Measured> {
    let way = subjects.first().context("no volume")?.way;
    let what = format!("{} at once", subjects.len());
    let mut measured = Measured { what, way, ..Measured::default() };
    let begun = |attach: bool| {
        subjects.iter().cloned().map(move |subject| {
            let host = host.clone();
            tokio::spawn(async move {
                let started = Instant::now();
                match attach {
                    true => subject.attach(&host, false).await.map(drop)?,
                    false => subject.detach(&host).await?,
                }
                Ok::<_, anyhow::Error>(started.elapsed())
            })
        })
    };
    let attaching: Vec<_> = begun(true).collect();
    for task in attaching {
        measured.attach.push(task.await??.as_secs_f64());
    }
    let detaching: Vec<_> = begun(false).collect();
    for task in detaching {
        measured.detach.push(task.await??.as_secs_f64());
    }
    Ok(measured)
}

impl Subject {
    async fn cycle(&self, host: &Host, first: bool) -> Result<(Duration, Duration)> {
        let started = Instant::now();
        self.attach(host, first).await?;
        let attached = started.elapsed();
        let started = Instant::now();
        self.detach(host).await?;
        Ok((attached, started.elapsed()))
    }

    /// Where it is mounted.
    async fn attach(&self, host: &Host, first: bool) -> Result<PathBuf> {
        let doing = || format!("attach {} {:?}", self.name, self.way);
        match self.way {
            Way::Leister => {
                let filesystem = matches!(self.route, Route::Iscsi(_)).then_some(Filesystem::Ext4);
                let (size, staged_before) = (self.size, !first);
                let wanted = Attachment { filesystem, size, staged_before, ..Attachment::default() };
                let volume = VolumeId::new(&self.name)?;
                host.attach(&volume, &self.route, &wanted).await.with_context(doing)?;
                host.mount(&volume, "bench").await.with_context(doing)
            }
            Way::ByHand => {
                let subject = self.clone();
                tokio::task::spawn_blocking(move || subject.attach_by_hand(first)).await?.with_context(doing)
            }
        }
    }

    async fn detach(&self, host: &Host) -> Result<()> {
        let doing = || format!("detach {} {:?}", self.name, self.way);
        match self.way {
            Way::Leister => {
                let volume = VolumeId::new(&self.name)?;
                host.unmount(&volume, "bench").await.with_context(doing)?;
                host.detach(&volume).await.with_context(doing)
            }
            Way::ByHand => {
                let subject = self.clone();
                tokio::task::spawn_blocking(move || subject.detach_by_hand()).await?.with_context(doing)
            }
        }
    }

    fn attach_by_hand(&self, first: bool) -> Result<PathBuf> {
        let place = self.place();
        fs::create_dir_all(&place)?;
        let at = place.to_string_lossy();
        match &self.route {
            Route::Nfs(NfsRoute { server, path, .. }) => {
                tool("mount", &["-t", "nfs", "-o", "vers=4.2,hard", &format!("{server}:{path}"), &at])?;
            }
            Route::Iscsi(route) => {
                let portal = portal(route)?;
                let words = ["-m", "node", "-T", &route.target, "-p", portal];
                tool("iscsiadm", &[&words[..], &["--op=new"]].concat())?;
                // 15: there is a session already.
                accept("iscsiadm", &[&words[..], &["--login"]].concat(), &[0, 15])?;
                let device = appeared(route, portal)?;
                if first {
                    tool("mkfs.ext4", &["-q", "-F", &device])?;
                }
                tool("mount", &[&device, &at])?;
            }
            other => bail!("nobody measures {other:?}"),
        }
        Ok(place)
    }

    fn detach_by_hand(&self) -> Result<()> {
        tool("umount", &[&self.place().to_string_lossy()])?;
        if let Route::Iscsi(route) = &self.route {
            let words = ["-m", "node", "-T", &route.target, "-p", portal(route)?];
            if !in_use() {
                // 21: another was faster.
                accept("iscsiadm", &[&words[..], &["--logout"]].concat(), &[0, 21])?;
                accept("iscsiadm", &[&words[..], &["--op=delete"]].concat(), &[0, 21])?;
            }
        }
        Ok(())
    }

    fn place(&self) -> PathBuf {
        Path::new(BY_HAND).join(&self.name)
    }
}

fn portal(route: &IscsiRoute) -> Result<&str> {
    route.portals.first().map(String::as_str).context("no portal")
}

/// Whether a person still has a device mounted.
fn in_use() -> bool {
    fs::read_to_string("/proc/mounts").unwrap_or_default().contains(&format!("{BY_HAND}/"))
}

fn appeared(route: &IscsiRoute, portal: &str) -> Result<String> {
    let path = format!("/dev/disk/by-path/ip-{portal}-iscsi-{}-lun-{}", route.target, route.lun);
    let started = Instant::now();
    while !Path::new(&path).exists() {
        ensure!(started.elapsed() < APPEARANCE, "{path} does not appear");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(path)
}

/// Seconds for many small flushed writes, and for a large one.
fn write(place: &Path) -> Result<Vec<f64>> {
    use std::io::Write as _;
    let path = place.join("bench");
    let mut seconds = Vec::new();
    for (count, size) in [(200, 4 << 10), (16, 1 << 20)] {
        let block = vec![7; size];
        let mut file = fs::File::create(&path)?;
        let started = Instant::now();
        for _ in 0..count {
            file.write_all(&block)?;
            if size == 4 << 10 {
                file.sync_all()?;
            }
        }
        file.sync_all()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    fs::remove_file(&path)?;
    Ok(seconds)
}

fn tool(name: &str, words: &[&str]) -> Result<()> {
    accept(name, words, &[0])
}

fn accept(name: &str, words: &[&str], codes: &[i32]) -> Result<()> {
    let output = Command::new(name).args(words).output().with_context(|| format!("run {name}"))?;
    let ok = output.status.code().is_some_and(|code| codes.contains(&code));
    ensure!(ok, "{name} {words:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
