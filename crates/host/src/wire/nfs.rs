//! Volumes that are exports of an NFS server.

use std::net::Ipv6Addr;

use model::NfsRoute;

use crate::error::{HostError, Result};
use crate::filesystem::Tools;
use crate::host::{Attached, Attachment};
use crate::lock::blocking;
use crate::mount::Table;
use crate::stage::{Places, check_read_only, make_directory, set_mode};

/// What mount.nfs and the kernel understand. Options that mount something else, or that would let a mount go on in
/// the background after it was reported, are not here.
const KNOWN: &[&str] = &[
    "ro",
    "rw",
    "vers",
    "nfsvers",
    "minorversion",
    "hard",
    "soft",
    "softerr",
    "softreval",
    "nosoftreval",
    "timeo",
    "retrans",
    "rsize",
    "wsize",
    "ac",
    "noac",
    "acregmin",
    "acregmax",
    "acdirmin",
    "acdirmax",
    "actimeo",
    "lookupcache",
    "nconnect",
    "max_connect",
    "trunkdiscovery",
    "notrunkdiscovery",
    "rdirplus",
    "nordirplus",
    "retry",
    "sec",
    "sharecache",
    "nosharecache",
    "resvport",
    "noresvport",
    "proto",
    "port",
    "lock",
    "nolock",
    "intr",
    "nointr",
    "cto",
    "nocto",
    "acl",
    "noacl",
    "local_lock",
    "mountport",
    "mountproto",
    "mountvers",
    "namlen",
    "fsc",
    "nofsc",
    "migration",
    "nomigration",
    "xprtsec",
    "write",
    "noatime",
    "nodiratime",
    "relatime",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "sync",
    "async",
    "_netdev",
    "nofail",
    "defaults",
    "tcp",
    "udp",
];

/// Options of which a mount has one: the first word names them all.
const ONE_OF: &[&[&str]] = &[
    &["vers", "nfsvers"],
    &["hard", "soft", "softerr"],
    &["ro", "rw"],
    &["proto", "tcp", "udp"],
    &["intr", "nointr"],
    &["sync", "async"],
];

/// # Behavior
/// Found mounted from the same place, only what is missing is done. The mount is made by mount.nfs, which speaks with
/// the server's mountd and starts rpc.statd for version 3, and is then looked for in the mount table. A server that
/// does not answer ends the attempt at the limit.
pub(crate) async fn attach(
    places: &Places,
    route: &NfsRoute,
    wanted: &Attachment,
    tools: &Tools,
) -> Result<Attached> {
    let options = merge(&wanted.mount_options, &route.mount_options, wanted.read_only)?;
    let source = source(route)?;
    if !is_staged(places, &source, wanted.read_only, tools).await? {
        let stage = places.stage();
        {
            let stage = stage.clone();
            blocking(&tools.hold, move || make_directory(&stage)).await?;
        }
        let mut tool = tools.quick("mount.nfs").arg(source.clone()).path(&stage);
        if !options.is_empty() {
            tool = tool.arg("-o").arg(options.join(","));
        }
        tool.run().await?;
        if !is_staged(places, &source, wanted.read_only, tools).await? {
            return Err(HostError::Missing {
                volume: places.volume.clone(),
                problem: format!(
                    "mount.nfs said that it mounted {source}, but the mount table does not have it"
                ),
            });
        }
    }
    let (stage, wanted) = (places.stage(), wanted.clone());
    blocking(&tools.hold, move || {
        set_mode(&stage, &wanted)?;
        Ok(Attached::Directory { path: stage, formatted: false })
    })
    .await
}

async fn is_staged(places: &Places, source: &str, read_only: bool, tools: &Tools) -> Result<bool> {
    let (places, source) = (places.clone(), source.to_owned());
    blocking(&tools.hold, move || {
        let table = Table::read()?;
        let Some(staged) = table.at(&places.stage()) else { return Ok(false) };
        if !staged.filesystem.starts_with("nfs") || staged.source.to_str() != Some(&source) {
            return Err(HostError::Conflict {
                volume: places.volume.clone(),
                problem: format!(
                    "{} ({}) is mounted where {source} should be; unmount all of it and detach it first",
                    staged.source.display(),
                    staged.filesystem
                ),
            });
        }
        check_read_only(&places, staged, read_only)?;
        Ok(true)
    })
    .await
}

/// `server:path`, as the mount table shows it.
fn source(route: &NfsRoute) -> Result<String> {
    let invalid = |what, value: &str, problem: &str| HostError::Invalid {
        what,
        value: value.chars().take(200).collect::<String>().escape_default().to_string(),
        problem: problem.to_owned(),
    };
    let server = route.server.as_str();
    let is_v6 = server.parse::<Ipv6Addr>().is_ok();
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if server.is_empty() || server.starts_with('-') || !(is_v6 || server.chars().all(legal)) {
        return Err(invalid("NFS server", server, "is neither a host name nor an address"));
    }
    if !route.path.starts_with('/') || route.path.chars().any(char::is_control) {
        return Err(invalid("NFS export", &route.path, "is not a path that starts with `/`"));
    }
    // The mount table shows no `/` at the end, but for the root's.
    let path = match route.path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    Ok(if is_v6 { format!("[{server}]:{path}") } else { format!("{server}:{path}") })
}

/// Those of the class, then of the backend's those whose key the class did not set.
///
/// # Errors
/// `Invalid` for an option that is none of NFS, or would mount something else.
fn merge(class: &[String], backend: &[String], read_only: bool) -> Result<Vec<String>> {
    let split = |options: &[String]| -> Result<Vec<String>> {
        let words = options.iter().flat_map(|o| o.split(',')).map(str::trim).filter(|o| !o.is_empty());
        words.map(|o| check(o).map(|()| o.to_owned())).collect()
    };
    let mut merged = split(class)?;
    let set: Vec<String> = merged.iter().map(|o| key(o)).collect();
    merged.extend(split(backend)?.into_iter().filter(|o| !set.contains(&key(o))));
    if read_only {
        merged.retain(|o| key(o) != "ro");
        merged.push("ro".to_owned());
    }
    Ok(merged)
}

fn check(option: &str) -> Result<()> {
    let word = option.split('=').next().unwrap_or_default();
    let version = option.strip_prefix('v').is_some_and(|v| ["3", "4", "4.0", "4.1", "4.2"].contains(&v));
    let invalid = |problem: String| {
        Err(HostError::Invalid { what: "mount option", value: option.escape_default().to_string(), problem })
    };
    if option.contains(char::is_whitespace) || option.chars().any(char::is_control) {
        return invalid("has a blank in it; separate options by commas".to_owned());
    }
    if ["vers", "nfsvers"].contains(&word) {
        let value = option.split_once('=').map(|(_, v)| v).unwrap_or_default();
        if !["3", "4", "4.0", "4.1", "4.2"].contains(&value) {
            return invalid("is no version of NFS that is supported; use 3, 4, 4.0, 4.1 or 4.2".to_owned());
        }
    }
    if KNOWN.contains(&word) || version {
        return Ok(());
    }
    let near = model::nearest(word, KNOWN.iter().copied());
    let near = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
    invalid(format!("is not one that an NFS volume may have{near}"))
}

fn key(option: &str) -> String {
    let word = option.split('=').next().unwrap_or_default();
    if word.strip_prefix('v').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit())) {
        return "vers".to_owned();
    }
    if let Some(group) = ONE_OF.iter().find(|g| g.contains(&word)) {
        return group[0].to_owned();
    }
    // `nolock` and `lock` are one key, whichever is set.
    match word.strip_prefix("no").filter(|positive| KNOWN.contains(positive)) {
        Some(positive) => positive.to_owned(),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }
    }

    #[test]
    fn options_of_the_class_win_over_those_of_the_backend() {
        for (class, backend, read_only, expected) in [
            ("", "", false, ""),
            ("", "vers=3,soft", false, "vers=3,soft"),
            ("hard", "vers=3,soft,timeo=50", false, "hard,vers=3,timeo=50"),
            ("nfsvers=4.1", "vers=3", false, "nfsvers=4.1"),
            ("v4.2", "vers=3", false, "v4.2"),
            ("nolock", "lock,nconnect=4", false, "nolock,nconnect=4"),
            ("rsize=4096", "rsize=65536,wsize=65536", false, "rsize=4096,wsize=65536"),
            ("rw", "", true, "ro"),
        ] {
            let merged = merge(&words(class), &words(backend), read_only).unwrap();
            assert_eq!(merged.join(","), expected, "{class} over {backend}");
        }
    }

    #[test]
    fn an_option_that_is_not_for_nfs_is_refused_with_its_name() {
        for (option, hint) in [
            ("bg", "is not one"),
            ("addr=10.0.0.9", "is not one"),
            ("remount", "is not one"),
            ("bind", "is not one"),
            ("tmeo=5", "did you mean `timeo`"),
            ("vers=5", "use 3, 4"),
            ("hard soft", "commas"),
        ] {
            let error = merge(&words(option), &[], false).unwrap_err().to_string();
            assert!(error.contains(option) && error.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_source_is_written_as_the_mount_table_shows_it() {
        let route = |server: &str, path: &str| NfsRoute {
            server: server.to_owned(),
            path: path.to_owned(),
            mount_options: Vec::new(),
        };
        for (server, path, expected) in [
            ("10.0.0.1", "/a", "10.0.0.1:/a"),
            ("fd77::1", "/a/", "[fd77::1]:/a"),
            ("nas.example", "/", "nas.example:/"),
        ] {
            assert_eq!(source(&route(server, path)).unwrap(), expected);
        }
        for (server, path) in [("", "/a"), ("-o", "/a"), ("a b", "/a"), ("a", "b"), ("[fd77::1]", "/a")] {
            assert!(source(&route(server, path)).is_err(), "{server} {path}");
        }
    }
}
