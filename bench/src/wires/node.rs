//! What runs in the guest that is the node: the same attaches by Leister's hands and by a person's tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use host::{Attachment, Host, HostConfig, Limits, Paths};
use model::{Bytes, Filesystem, IscsiRoute, NamespaceId, NfsRoute, NvmeRoute, Route, VolumeId};
use serde::{Deserialize, Serialize};

use super::{Measured, Way};
/// Where a person would mount.
const BY_HAND: &str = "/run/by-hand";

/// So many are attached one at a time; of more, the figures would not be others.
const FEW: usize = 8;

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
    let host =
        Host::open(HostConfig { mounts_root: root, limits: Limits::default(), paths: Paths::All }).await?;
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
        let (few, rest) = subjects.split_at(FEW.min(subjects.len()));
        measured.push(one_by_one(&host, few, "first attach, one at a time", true).await?);
        if !rest.is_empty() {
            measured.push(at_once(&host, rest, true).await?);
        }
    }
    for round in 0..plan.rounds {
        // Who begins changes, so that neither finds the machine warmer.
        let turns = if round % 2 == 0 { [&ours, &hand] } else { [&hand, &ours] };
        for subjects in turns {
            measured
                .push(one_by_one(&host, &subjects[..FEW.min(subjects.len())], "one at a time", false).await?);
            measured.push(at_once(&host, subjects, false).await?);
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

async fn at_once(host: &Host, subjects: &[Subject], first: bool) -> Result<Measured> {
    let way = subjects.first().context("no volume")?.way;
    let what = format!("{}{} at once", if first { "first attach, " } else { "" }, subjects.len());
    let mut measured = Measured { what, way, ..Measured::default() };
    let begun = |attach: bool| {
        subjects.iter().cloned().map(move |subject| {
            let host = host.clone();
            tokio::spawn(async move {
                let started = Instant::now();
                match attach {
                    true => subject.attach(&host, first).await.map(drop)?,
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
                let filesystem = (!matches!(self.route, Route::Nfs(_))).then_some(Filesystem::Ext4);
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
                {
                    let mut in_use = in_use();
                    // One that is written anew is not there for a moment.
                    if *in_use == 0 {
                        tool("iscsiadm", &[&words[..], &["--op=new"]].concat())?;
                    }
                    *in_use += 1;
                }
                // 15: there is a session already.
                accept("iscsiadm", &[&words[..], &["--login"]].concat(), &[0, 15])?;
                mount_device(&appeared(|| unit(route))?, &at, first)?;
            }
            Route::Nvme(route) => {
                let (address, port) = address(route)?;
                let to = ["-a", address, "-s", port, "-n", &route.subsystem];
                tool("nvme", &[&["connect", "-t", "tcp"][..], &to].concat())?;
                mount_device(&appeared(|| namespace(route))?, &at, first)?;
            }
            other => bail!("nobody measures {other:?}"),
        }
        Ok(place)
    }

    fn detach_by_hand(&self) -> Result<()> {
        tool("umount", &[&self.place().to_string_lossy()])?;
        match &self.route {
            Route::Iscsi(route) => {
                remove(&unit(route).context("no device")?)?;
                // A person does not log out twice at once, nor while another disk is on its way out.
                let mut in_use = in_use();
                *in_use -= 1;
                if *in_use > 0 {
                    return Ok(());
                }
                let words = ["-m", "node", "-T", &route.target, "-p", portal(route)?];
                // 21: another was faster.
                accept("iscsiadm", &[&words[..], &["--logout"]].concat(), &[0, 21])?;
                accept("iscsiadm", &[&words[..], &["--op=delete"]].concat(), &[0, 21])
            }
            Route::Nvme(route) => tool("nvme", &["disconnect", "-n", &route.subsystem]),
            _ => Ok(()),
        }
    }

    fn place(&self) -> PathBuf {
        Path::new(BY_HAND).join(&self.name)
    }
}

fn portal(route: &IscsiRoute) -> Result<&str> {
    route.portals.first().map(String::as_str).context("no portal")
}

/// How many disks of the target a person has, from before its login to after its removal.
fn in_use() -> MutexGuard<'static, usize> {
    static IN_USE: Mutex<usize> = Mutex::new(0);
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(route: &NvmeRoute) -> Result<(&str, &str)> {
    route.portals.first().and_then(|portal| portal.rsplit_once(':')).context("no portal")
}

fn mount_device(device: &Path, at: &str, first: bool) -> Result<()> {
    let device = device.to_string_lossy();
    if first {
        tool("mkfs.ext4", &["-q", "-F", &device])?;
    }
    tool("mount", &[&device, at])
}

/// As Red Hat's storage guide removes a disk: what is in the caches is written, then the kernel forgets it.
fn remove(device: &Path) -> Result<()> {
    tool("blockdev", &["--flushbufs", &device.to_string_lossy()])?;
    let name = device.file_name().context("no name of a device")?;
    fs::write(Path::new("/sys/block").join(name).join("device/delete"), "1").context("remove a disk")
}

fn appeared(find: impl Fn() -> Option<PathBuf>) -> Result<PathBuf> {
    let started = Instant::now();
    loop {
        if let Some(device) = find() {
            return Ok(device);
        }
        ensure!(started.elapsed() < APPEARANCE, "no device appears");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// What a person reads from `/dev/disk/by-path`; no guest has udev.
fn unit(route: &IscsiRoute) -> Option<PathBuf> {
    for session in entries(Path::new("/sys/class/iscsi_session")) {
        let target = fs::read_to_string(session.join("targetname")).unwrap_or_default();
        if target.trim() != route.target {
            continue;
        }
        for channel in entries(&session.join("device")) {
            for unit in entries(&channel) {
                let is_it = unit.to_string_lossy().ends_with(&format!(":{}", route.lun));
                if let Some(disk) = entries(&unit.join("block")).first().filter(|_| is_it) {
                    return Some(Path::new("/dev").join(disk.file_name()?));
                }
            }
        }
    }
    None
}

fn namespace(route: &NvmeRoute) -> Option<PathBuf> {
    let NamespaceId::Nguid(wanted) = &route.namespace else { return None };
    let is_it = |disk: &PathBuf| {
        // Of one path, beside the device over all of them.
        if fs::read_to_string(disk.join("hidden")).unwrap_or_default().trim() == "1" {
            return false;
        }
        let text = fs::read_to_string(disk.join("nguid")).unwrap_or_default();
        text.trim().replace('-', "") == *wanted
    };
    let disk = entries(Path::new("/sys/block")).into_iter().find(is_it)?;
    Some(Path::new("/dev").join(disk.file_name()?))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
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
    let run = || Command::new(name).args(words).output().with_context(|| format!("run {name}"));
    let mut output = run()?;
    // Debian's `nvme disconnect` now and then frees twice when several run at once: a person repeats it.
    while output.status.code().is_none() {
        output = run()?;
    }
    let ok = output.status.code().is_some_and(|code| codes.contains(&code));
    ensure!(ok, "{name} {words:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
