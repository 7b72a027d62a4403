//! Volumes that are exports of an NFS server.
//!
//! A server that is gone lets every look into its mount wait. So what is here is told from the mount table alone, and
//! only the flush before an unmount and the first look after a mount go to the server.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use model::NfsRoute;

use super::{Places, check_read_only, make_directory, set_mode};
use crate::error::{HostError, Result};
use crate::exec::ExecError;
use crate::filesystem::Tools;
use crate::host::{Attached, Attachment};
use crate::lock::blocking;
use crate::mount::{self, Entry, Options, Table};

pub(super) async fn attach(
    places: &Places,
    route: &NfsRoute,
    wanted: &Attachment,
    tools: &Tools,
) -> Result<Attached> {
    let source = source(route)?;
    let merged = mount::nfs::merge(&wanted.mount_options, &route.mount_options);
    let options = Options::parse(&merged, wanted.read_only)?;
    let text = mount::nfs::text(&options)?;
    let stage = places.stage();
    if !is_staged(places, &source, &options, tools).await? {
        let at = stage.clone();
        blocking(&tools.hold, move || make_directory(&at)).await?;
        let tool = tools.network("mount.nfs").args([source.as_str()]).path(&stage).args(["-o", &text]);
        if let Err(error) = tool.run().await {
            let directory = places.directory();
            blocking(&tools.hold, move || super::remove_empty(&directory)).await?;
            return Err(explained(places, route, error));
        }
        if !is_staged(places, &source, &options, tools).await? {
            return Err(HostError::Missing {
                volume: places.volume.clone(),
                problem: format!(
                    "mount.nfs mounted {source}, but the mount table does not show it; try again"
                ),
            });
        }
        let wanted = wanted.clone();
        blocking(&tools.hold, move || set_mode(&stage, &wanted)).await?;
    }
    Ok(Attached::Directory { path: places.stage(), formatted: false })
}

/// Writes out what the node still holds of a volume, as far as its server can be asked.
///
/// # Behavior
/// Waits for a server that is gone as long as the mount's options say: for ever if they say `hard`. An error of the
/// server has reached the application before, or is nobody's any more.
pub(super) fn flush(places: &Places) {
    let flushed = File::open(places.stage()).and_then(|stage| Ok(rustix::fs::syncfs(&stage)?));
    if let Err(error) = flushed {
        tracing::warn!(volume = %places.volume, %error, "an NFS volume could not be flushed before its unmount");
    }
}

/// Takes down what is flushed.
pub(super) fn unmount(places: &Places) -> Result<()> {
    bounded(places, || super::unmount(places, &places.stage()))
}

/// Lets all that waits for the server fail. The mount stays as long as it is in use.
pub(super) fn end_waiting(places: &Places) {
    if let Err(error) = bounded(places, || mount::end_waiting(&places.stage())) {
        tracing::debug!(volume = %places.volume, %error, "what waits for the server could not be ended");
    }
}

/// Does what may take down the mount.
///
/// # Behavior
/// A client gives back first what its server delegated to it, and waits for one that is gone, for ever: nothing ends that
/// from outside once the mount is taken down. Nothing is lost with it, so it is waited for a while, and then the client is
/// told that it has no server any more, where the kernel knows how (Linux 6.4).
fn bounded<T>(places: &Places, work: impl FnOnce() -> T) -> T {
    const GRACE: Duration = Duration::from_secs(5);
    let stage = &places.stage();
    let device = Table::read().ok().and_then(|table| table.at(stage).map(|entry| entry.device));
    let knob = device.and_then(|(major, minor)| {
        let knob = format!("/sys/fs/nfs/{major}:{minor}/shutdown");
        File::options().write(true).open(knob).ok()
    });
    let Some(mut knob) = knob else { return work() };
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(GRACE) == Err(mpsc::RecvTimeoutError::Timeout) {
                // One that is still there is in use.
                if Table::read().is_ok_and(|table| table.at(stage).is_none()) {
                    let ended = knob.write_all(b"1");
                    tracing::warn!(volume = %places.volume, ?ended, "the server is gone: its client has ended");
                    return;
                }
            }
        });
        let worked = work();
        drop(done);
        worked
    })
}

/// As [`flush`], but a server that is gone is not waited for: what it does not take soon is lost.
pub(super) fn give_up(places: &Places) {
    const GRACE: Duration = Duration::from_secs(5);
    const AGAIN: Duration = Duration::from_millis(500);
    let (at, (done, is_done)) = (places.clone(), mpsc::channel());
    let flushing = std::thread::spawn(move || {
        flush(&at);
        let _ = done.send(());
    });
    let mut patience = GRACE;
    // The flush has the mount open: it is busy, and all that is done to it is to end what waits.
    while is_done.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
        patience = AGAIN;
        end_waiting(places);
    }
    let _ = flushing.join();
}

pub(crate) fn is_nfs(entry: &Entry) -> bool {
    matches!(entry.filesystem.as_str(), "nfs" | "nfs4")
}

async fn is_staged(places: &Places, source: &str, options: &Options, tools: &Tools) -> Result<bool> {
    let (places, source, read_only) = (places.clone(), source.to_owned(), options.is_read_only());
    blocking(&tools.hold, move || {
        let table = Table::read()?;
        let Some(staged) = table.at(&places.stage()) else { return Ok(false) };
        let shown = staged.source.to_string_lossy();
        if !is_nfs(staged) || plain(&shown) != plain(&source) {
            return Err(HostError::Conflict {
                volume: places.volume.clone(),
                problem: format!(
                    "{shown} ({}) is mounted where {source} should be; unmount all of it and detach it first",
                    staged.filesystem
                ),
            });
        }
        check_read_only(&places, staged, read_only)?;
        Ok(true)
    })
    .await
}

/// What `mount.nfs` and the mount table call the export.
fn source(route: &NfsRoute) -> Result<String> {
    let invalid = |what, value: &str, problem: &str| {
        let value = value.escape_default().to_string();
        Err(HostError::Invalid { what, value, problem: problem.to_owned() })
    };
    let NfsRoute { server, path, .. } = route;
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if server.is_empty() || server.starts_with('-') || !server.chars().all(legal) {
        return invalid("NFS server", server, "is neither a name nor an address; correct the backend");
    }
    let is_plain = path.split('/').all(|name| name != "..") && !path.chars().any(char::is_control);
    if !Path::new(path).is_absolute() || !is_plain {
        return invalid("NFS export", path, "is not an absolute path without `..`; correct the backend");
    }
    Ok(if server.contains(':') { format!("[{server}]:{path}") } else { format!("{server}:{path}") })
}

/// The kernel shows neither doubled slashes nor the last one.
fn plain(source: &str) -> String {
    let (server, path) = source.split_once(":/").unwrap_or((source, ""));
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    format!("{server}:/{}", names.join("/"))
}

/// An export that is not there or not for this node is a matter of the backend, not of the tool.
fn explained(places: &Places, route: &NfsRoute, error: ExecError) -> HostError {
    let ExecError::Failed { stderr, .. } = &error else { return error.into() };
    if stderr.contains("No such device") || stderr.contains("unknown filesystem type") {
        let problem =
            "this node's kernel has no NFS; load it: `modprobe nfs`, from the modules of the package linux-image"
                .to_owned();
        return HostError::Unsupported { volume: places.volume.clone(), problem };
    }
    let reason = if stderr.contains("No such file or directory") {
        "has no such export; see that the volume still exists there"
    } else if stderr.contains("access denied") || stderr.contains("Permission denied") {
        "does not let this node in; see that its export policy names this node's addresses"
    } else {
        return error.into();
    };
    let problem = format!("the NFS server {} {reason} ({}: {stderr})", route.server, route.path);
    HostError::Missing { volume: places.volume.clone(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(server: &str, path: &str) -> NfsRoute {
        NfsRoute { server: server.to_owned(), path: path.to_owned(), mount_options: Vec::new() }
    }

    #[test]
    fn an_export_is_called_as_mount_nfs_wants_it() {
        for (server, path, expected) in [
            ("10.0.0.1", "/a", "10.0.0.1:/a"),
            ("nas.example", "/a b/c", "nas.example:/a b/c"),
            ("fd77::b", "/a", "[fd77::b]:/a"),
        ] {
            assert_eq!(source(&route(server, path)).unwrap(), expected);
        }
    }

    #[test]
    fn a_server_or_path_that_is_none_is_refused_by_name() {
        for (server, path) in
            [("", "/a"), ("-o", "/a"), ("a b", "/a"), ("a,b", "/a"), ("a", "b"), ("a", ""), ("a", "/b/../c")]
        {
            let error = source(&route(server, path)).unwrap_err().to_string();
            assert!(error.contains("correct the backend"), "{error}");
        }
    }

    #[test]
    fn sources_are_compared_without_needless_slashes() {
        for (one, other, expected) in [
            ("a:/b/", "a:/b", true),
            ("a:/", "a://", true),
            ("[fd77::b]:/x", "[fd77::b]:/x", true),
            ("a:/b", "a:/bc", false),
            ("a:/b", "b:/b", false),
        ] {
            assert_eq!(plain(one) == plain(other), expected, "{one} {other}");
        }
    }
}
