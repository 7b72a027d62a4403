//! On the real kernel: mounts and loop devices, made below a directory of each test's own.

mod busy;
mod deaths;
mod directories;
mod growing;
mod images;
mod proofs;
mod showing;

use std::future::{Future, poll_fn};
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::process::Command;
use std::task::Poll;

use model::{Filesystem, LocalSource};
use rustix::mount::UnmountFlags;

use super::*;
use crate::device::r#loop::Loop;

/// A directory with a host in it; takes down whatever a test left, also one that failed.
struct Rig {
    directory: tempfile::TempDir,
    host: Host,
}

impl Rig {
    async fn new() -> Rig {
        assert!(rustix::process::geteuid().is_root(), "these tests mount: run them as root");
        let directory = tempfile::tempdir().unwrap();
        let host = open(directory.path()).await;
        Rig { directory, host }
    }

    /// As after a restart: nothing is known but what the kernel knows.
    async fn restarted(&self) -> Host {
        open(self.directory.path()).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn directory(&self, name: &str) -> Route {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        Route::Local { source: LocalSource::Directory { path, snapshots: None } }
    }

    /// A sparse image.
    fn image(&self, name: &str, size: Bytes) -> Route {
        let path = self.path(name);
        std::fs::File::create(&path).unwrap().set_len(size.get()).unwrap();
        Route::Local { source: LocalSource::Image { path } }
    }

    fn loops(&self) -> Vec<Loop> {
        let below =
            |l: &Loop| l.backing_path().is_some_and(|p| Path::new(&p).starts_with(self.directory.path()));
        r#loop::list().unwrap().into_iter().filter(below).collect()
    }

    fn assert_clean(&self) {
        assert_eq!(self.loops(), [], "loop devices");
        assert_eq!(Table::read().unwrap().below(self.directory.path()).count(), 0, "mounts");
        let left: Vec<_> =
            std::fs::read_dir(self.path("mounts")).unwrap().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "directories: {left:?}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for entry in
            Table::read().unwrap_or_default().below(self.directory.path()).collect::<Vec<_>>().iter().rev()
        {
            let _ = rustix::mount::unmount(&entry.point, UnmountFlags::DETACH);
        }
        for device in self.loops() {
            if !device.release().is_ok_and(|done| done) {
                eprintln!("{} stays behind", device.path().display());
            }
        }
    }
}

async fn open(directory: &Path) -> Host {
    Host::open(HostConfig {
        mounts_root: directory.join("mounts"),
        limits: Limits::default(),
        paths: Paths::All,
    })
    .await
    .unwrap()
}

fn volume(name: &str) -> VolumeId {
    VolumeId::new(name).unwrap()
}

fn wanted(filesystem: Filesystem, size: Bytes) -> Attachment {
    Attachment { filesystem: Some(filesystem), size, ..Attachment::default() }
}

fn staged_before(wanted: &Attachment) -> Attachment {
    Attachment { staged_before: true, ..wanted.clone() }
}

fn run(tool: &str, args: &[&str]) {
    let output = Command::new(tool).args(args).output().unwrap();
    assert!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Of all that is not zero, and where it lies.
fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut file = std::fs::File::open(path).unwrap();
    let mut chunk = vec![0; 64 << 10];
    let zeros = chunk.clone();
    for n in 0u64.. {
        let read = io::Read::read(&mut file, &mut chunk).unwrap();
        if read == 0 {
            break;
        }
        if chunk[..read] != zeros[..read] {
            hasher.write_u64(n);
            hasher.write(&chunk[..read]);
        }
    }
    hasher.write_u64(file.metadata().unwrap().len());
    hasher.finish()
}

/// Polls at most `times`, then drops the future where it is. `None` when it was dropped.
async fn poll_times<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = times;
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left = left.saturating_sub(1);
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

#[tokio::test]
async fn a_reference_that_is_no_name_is_refused() {
    let rig = Rig::new().await;
    for reference in ["", ".", "..", ".stage", "a/b", "a b", "é", &"x".repeat(129)] {
        for error in [
            rig.host.mount(&volume("v"), reference).await.unwrap_err(),
            rig.host.unmount(&volume("v"), reference).await.unwrap_err(),
        ] {
            assert!(matches!(error, HostError::Invalid { .. }), "{reference}: {error}");
        }
    }
}

#[tokio::test]
async fn what_is_not_attached_says_so() {
    let rig = Rig::new().await;
    let v = volume("v");
    assert!(matches!(rig.host.mount(&v, "a").await, Err(HostError::NotAttached(_))));
    assert!(matches!(rig.host.usage(&v).await, Err(HostError::NotAttached(_))));
    assert!(matches!(rig.host.grow(&v, Bytes::mib(1), None).await, Err(HostError::NotAttached(_))));
    assert_eq!(rig.host.unmount(&v, "a").await.unwrap(), 0);
    rig.host.detach(&v).await.unwrap();
    rig.host.forget(&v).await.unwrap();
    rig.assert_clean();
}

#[tokio::test]
async fn a_volume_that_hangs_delays_no_other() {
    let rig = Rig::new().await;
    let (v, w) = (volume("v"), volume("w"));
    let hung = rig.host.0.volumes.hold(v.clone()).await;
    let route = rig.directory("source");
    assert!(poll_times(1, rig.host.attach(&v, &route, &Attachment::default())).await.is_none());
    rig.host.attach(&w, &route, &Attachment::default()).await.unwrap();
    drop(hung);
    rig.host.attach(&v, &route, &Attachment::default()).await.unwrap();
}
