//! iSCSI: records of portals, logins and logouts, by `iscsiadm`.
//!
//! A secret goes into the record by writing its file, never through an argument that others could see.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Chap, IscsiRoute, VolumeId};
use tokio::net::TcpStream;

use super::scsi::{self, Session};
use crate::error::{Doing, HostError, Result};
use crate::exec::{Ending, ExecError, Tool};
use crate::filesystem::Tools;
use crate::host::Paths;
use crate::lock::blocking;
use crate::sessions::{Protocol, Sessions};

const RECORDS: &str = "/etc/iscsi/nodes";
/// Exit codes of iscsiadm that are answers. Source: iscsiadm(8) of open-iscsi 2.1.
const SESSION_EXISTS: i32 = 15;
const NO_OBJECT: i32 = 21;
const AUTHORIZATION: i32 = 24;
const FATAL_LOGIN: i32 = 19;
/// How long a portal may take to accept.
const KNOCK: Duration = Duration::from_secs(3);

/// # Errors
/// Names what is no target or portal.
pub(crate) fn check(route: &IscsiRoute) -> Result<()> {
    let invalid = |what, value: &str, problem: &str| {
        Err(HostError::Invalid {
            what,
            value: value.escape_default().to_string(),
            problem: problem.to_owned(),
        })
    };
    let target = route.target.as_str();
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    let kind = ["iqn.", "eui.", "naa."].iter().any(|kind| target.starts_with(kind));
    if !kind || target.len() > 223 || !target.chars().all(legal) {
        return invalid("iSCSI target", target, "is no iSCSI name (`iqn.…`); correct the backend");
    }
    if route.portals.is_empty() {
        return invalid("iSCSI target", target, "has no portal; see the portals of the backend");
    }
    for portal in &route.portals {
        if portal.parse::<SocketAddr>().is_err() {
            return invalid("iSCSI portal", portal, "is not `address:port`; correct the backend");
        }
    }
    let words = route.chap.iter().flat_map(|c| std::iter::once(&c.initiator).chain(&c.target));
    for account in words {
        let secret = account.secret.expose();
        if account.user.is_empty() || account.user.chars().chain(secret.chars()).any(char::is_control) {
            return invalid("CHAP user", &account.user, "or its secret is not one line of text");
        }
    }
    Ok(())
}

/// Logs in by the portals that have no session yet, and returns all sessions with the target by these portals.
///
/// # Behavior
/// One that succeeds is enough; the others are told of.
///
/// # Errors
/// What the first portal said when none succeeded.
pub(crate) async fn login(
    volume: &VolumeId,
    route: &IscsiRoute,
    ours: &Sessions,
    tools: &Tools,
) -> Result<Vec<Session>> {
    ours.want(Protocol::Iscsi, &route.target, &route.portals)?;
    let known = sessions(route)?;
    let missing = missing_of(&route.target, &route.portals, &known);
    let several = ours.paths == Paths::All && route.portals.len() > 1;
    let mine = known.iter().filter(|session| ours.is_ours(&session.target, &session.portal));
    for session in mine.filter(|session| find_record(&session.target, &session.portal).is_some()) {
        // The accounts may have changed since, and it is by the record that a session is made anew.
        write_record(route, &session.portal, several, tools).await?;
    }
    let login = |portal: String| {
        let (volume, route, tools) = (volume.clone(), route.clone(), tools.clone());
        async move { login_by(&volume, &route, &portal, several, &tools).await }
    };
    let is_in = known.iter().any(Session::is_logged_in);
    let first = ours.join(volume, (Protocol::Iscsi, &route.target), missing, is_in, login).await;
    let sessions = sessions(route)?;
    match first {
        Some(error) if sessions.is_empty() => Err(error),
        _ => Ok(sessions),
    }
}

/// Logs in by a portal whose record an attach has made; says whether there is one.
pub(crate) async fn login_again(target: &str, portal: &str, tools: &Tools) -> Result<bool> {
    if find_record(target, portal).is_none() {
        return Ok(false);
    }
    let tool = node(target, portal, tools).arg("--login");
    tool.accept(&[0, SESSION_EXISTS]).run().await?;
    Ok(true)
}

/// Ends a session of ours that has no unit left.
pub(crate) async fn logout(session: &Session, ours: &Sessions, tools: &Tools) -> Result<()> {
    if session.disks().is_empty() && ours.is_ours(&session.target, &session.portal) {
        end(session, tools).await?;
    }
    Ok(())
}

/// Removes our records of a target that has no session of ours left: they hold secrets.
pub(crate) async fn forget(target: &str, ours: &Sessions, tools: &Tools) -> Result<()> {
    let Some(record) = ours.find(target) else { return Ok(()) };
    let is_left = |s: &Session| s.target == target && record.is_ours(&s.portal);
    if scsi::sessions()?.iter().any(is_left) {
        return Ok(());
    }
    for portal in record.ours().filter(|portal| find_record(target, portal).is_some()) {
        node(target, portal, tools).arg("--op=delete").accept(&[0, NO_OBJECT]).run().await?;
    }
    ours.forget(target)
}

/// Ends a session; its record stays.
pub(crate) async fn end(session: &Session, tools: &Tools) -> Result<()> {
    let tool = node(&session.target, &session.portal, tools).arg("--logout");
    tool.accept(&[0, NO_OBJECT]).run().await?;
    Ok(())
}

/// Which of these portals have no session.
pub(crate) fn missing_of<'a>(
    target: &str,
    portals: impl IntoIterator<Item = &'a String>,
    sessions: &[Session],
) -> Vec<String> {
    let has = |portal: &String| sessions.iter().any(|s| s.target == target && same_portal(&s.portal, portal));
    portals.into_iter().filter(|portal| !has(portal)).cloned().collect()
}

fn node(target: &str, portal: &str, tools: &Tools) -> Tool {
    tools.network("iscsiadm").args(["-m", "node", "-T", target, "-p", portal])
}

async fn login_by(
    volume: &VolumeId,
    route: &IscsiRoute,
    portal: &str,
    several: bool,
    tools: &Tools,
) -> Result<()> {
    let node = || node(&route.target, portal, tools);
    if find_record(&route.target, portal).is_none() {
        node().arg("--op=new").run().await?;
    }
    write_record(route, portal, several, tools).await?;
    match node().arg("--login").accept(&[0, SESSION_EXISTS]).run().await {
        Ok(_) => Ok(()),
        Err(error) => Err(explained(volume, route, portal, error, tools).await),
    }
}

async fn write_record(route: &IscsiRoute, portal: &str, several: bool, tools: &Tools) -> Result<()> {
    let (target, at, chap) = (route.target.clone(), portal.to_owned(), route.chap.clone());
    blocking(&tools.hold, move || {
        let record = find_record(&target, &at).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let path = record.doing(|| format!("find the record of portal {at} in {RECORDS}"))?;
        complete(&path, &target, chap.as_ref(), several)
    })
    .await
}

/// What a login that failed is due to, as far as code and portal tell.
async fn explained(
    volume: &VolumeId,
    route: &IscsiRoute,
    portal: &str,
    error: ExecError,
    tools: &Tools,
) -> HostError {
    let ExecError::Failed { ending: Ending::Code(code), .. } = error else { return error.into() };
    let (volume, target) = (volume.clone(), &route.target);
    let denied = |problem: &str| HostError::Denied {
        volume: volume.clone(),
        problem: format!("the target {target} at {portal} {problem}"),
    };
    match (code, &route.chap) {
        (AUTHORIZATION, None) => denied(
            "does not let this node log in: see that it knows this node's initiator name, and set `useCHAP` in the \
             backend if it asks for CHAP",
        ),
        (AUTHORIZATION, Some(_)) => denied(
            "does not take this node's CHAP account: see `chapUsername` and `chapInitiatorSecret` of the backend, \
             and that the target knows this node's initiator name and asks for CHAP",
        ),
        (FATAL_LOGIN, Some(Chap { target: Some(_), .. })) => denied(
            "does not prove by its own CHAP account that it is the one: see `chapTargetUsername` and \
             `chapTargetInitiatorSecret` of the backend",
        ),
        _ => match knock(portal).await {
            Err(reason) => HostError::Unreachable {
                volume,
                problem: format!(
                    "the portal {portal} of the target {target} does not answer ({reason}); see that it is up and \
                     that the backend names the right address and port"
                ),
            },
            Ok(_) => match offered(portal, tools).await {
                Some(targets) if !targets.contains(target) => {
                    let targets = targets.into_iter().take(3).collect::<Vec<_>>().join("`, `");
                    let offer = if targets.is_empty() { "none".to_owned() } else { format!("`{targets}`") };
                    let problem = format!(
                        "the portal {portal} shows this node no target `{target}` but {offer}; see that it exists \
                         and knows this node's initiator name"
                    );
                    HostError::Missing { volume, problem }
                }
                _ => error.into(),
            },
        },
    }
}

/// The targets of a portal, if it tells.
async fn offered(portal: &str, tools: &Tools) -> Option<BTreeSet<String>> {
    let tool =
        tools.network("iscsiadm").args(["-m", "discovery", "-t", "sendtargets", "-o", "nonpersistent"]);
    // 21: it has none for this node.
    let output = tool.args(["-p", portal]).accept(&[0, NO_OBJECT]).run().await.ok()?;
    let names = output.stdout.lines().filter_map(|line| line.split_whitespace().nth(1));
    Some(names.map(str::to_owned).collect())
}

/// Whether a portal accepts, and why not.
pub(crate) async fn knock(portal: &str) -> io::Result<()> {
    match tokio::time::timeout(KNOCK, TcpStream::connect(portal)).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn sessions(route: &IscsiRoute) -> Result<Vec<Session>> {
    let ours = |s: &Session| {
        s.target == route.target && route.portals.iter().any(|portal| same_portal(&s.portal, portal))
    };
    Ok(scsi::sessions()?.into_iter().filter(ours).collect())
}

fn same_portal(one: &str, other: &str) -> bool {
    match (one.parse::<SocketAddr>(), other.parse::<SocketAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// The record is a file named by address and port, or, found by discovery, a directory that ends with the group.
fn find_record(target: &str, portal: &str) -> Option<PathBuf> {
    let portal: SocketAddr = portal.parse().ok()?;
    let name = format!("{},{}", portal.ip(), portal.port());
    let entries = fs::read_dir(Path::new(RECORDS).join(target)).ok()?.flatten();
    let mut paths = entries.filter(|e| {
        let found = e.file_name();
        let rest = found.to_str().and_then(|found| found.strip_prefix(&name));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
    });
    let path = paths.next()?.path();
    Some(if path.is_dir() { path.join("default") } else { path })
}

/// Gives a record what we want of it; all else stays.
fn complete(path: &Path, target: &str, chap: Option<&Chap>, several: bool) -> Result<()> {
    let doing = || format!("write the iSCSI record {}", path.display());
    let record = fs::read_to_string(path).doing(doing)?;
    let text = completed(&record, chap, several);
    if text == record {
        return Ok(());
    }
    // Not among the records: iscsiadm takes every file there for one.
    let records = fs::canonicalize(RECORDS).doing(doing)?;
    let portal = path.parent().filter(|_| path.ends_with("default")).unwrap_or(path).file_name();
    let portal = portal.unwrap_or_default().to_string_lossy();
    // The name of a file may have 255 bytes, that of a target 223.
    let fresh = records.with_file_name(format!(".{portal}-{}", &target[target.len().saturating_sub(160)..]));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh).doing(doing)?;
    file.write_all(text.as_bytes()).doing(doing)?;
    fs::rename(&fresh, path).doing(doing)
}

fn completed(record: &str, chap: Option<&Chap>, several: bool) -> String {
    // We log in, and scan for one unit: nothing shall appear that nobody asked for.
    let mut wanted = vec![
        ("node.startup", "manual"),
        ("node.session.scan", "manual"),
        // A portal that is away shall not keep us; it is tried again when it may be back.
        ("node.session.initial_login_retry_max", "1"),
        ("node.session.auth.authmethod", if chap.is_some() { "CHAP" } else { "None" }),
    ];
    if several {
        // Another path takes over: what waits on a dead one shall be given back soon.
        wanted.push(("node.session.timeo.replacement_timeout", "5"));
    }
    if let Some(chap) = chap {
        wanted.push(("node.session.auth.username", &chap.initiator.user));
        wanted.push(("node.session.auth.password", chap.initiator.secret.expose()));
        if let Some(target) = &chap.target {
            wanted.push(("node.session.auth.username_in", &target.user));
            wanted.push(("node.session.auth.password_in", target.secret.expose()));
        }
    }
    let stays = |line: &&str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        let is_account = key.starts_with("node.session.auth.") && key != "node.session.auth.chap_algs";
        !is_account && !wanted.iter().any(|(name, _)| *name == key)
    };
    let mut lines: Vec<String> = record.lines().filter(stays).map(str::to_owned).collect();
    let end = lines.iter().position(|l| l.starts_with("# END RECORD")).unwrap_or(lines.len());
    lines.splice(end..end, wanted.iter().map(|(name, value)| format!("{name} = {value}")));
    lines.join("\n") + "\n"
}

/// What this node lacks where no login can succeed.
pub(crate) fn lacking(volume: &VolumeId) -> Option<HostError> {
    const TRANSPORT: &str = "/sys/class/iscsi_transport/tcp";
    (!Path::new(TRANSPORT).exists()).then(|| HostError::Unsupported {
        volume: volume.clone(),
        problem: "this node's kernel has no iSCSI over TCP; load it: `modprobe iscsi_tcp`, from the modules of the \
                  package linux-image, and name it in /etc/modules-load.d"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use model::{ChapAccount, Secret};

    use super::*;

    #[test]
    fn a_record_gets_its_accounts_and_keeps_the_rest() {
        let record = "# BEGIN RECORD 2.1.8\nnode.name = iqn.a\nnode.session.auth.password = old\n\
                      node.session.auth.username_in = old\nnode.session.scan = auto\n# END RECORD\n";
        let account =
            |user: &str, secret: &str| ChapAccount { user: user.into(), secret: Secret::new(secret) };
        let chap = Chap { initiator: account("u", "new"), target: None };
        let text = completed(record, Some(&chap), false);
        assert!(text.contains("node.name = iqn.a\n") && text.ends_with("# END RECORD\n"), "{text}");
        assert!(text.contains("auth.password = new\n") && text.contains("session.scan = manual\n"), "{text}");
        assert!(!text.contains("old") && text.contains("authmethod = CHAP\n"), "{text}");
        assert!(!text.contains("replacement_timeout"), "{text}");
        let text = completed(&text, None, true);
        assert!(text.contains("replacement_timeout = 5\n"), "{text}");
        assert!(text.contains("authmethod = None\n") && !text.contains("new"), "{text}");
    }

    #[test]
    fn what_is_no_target_or_portal_is_named() {
        let route = |target: &str, portal: &str| IscsiRoute {
            target: target.to_owned(),
            portals: vec![portal.to_owned()],
            lun: 0,
            serial: "s".to_owned(),
            chap: None,
        };
        check(&route("iqn.2024-01.test:a", "[fd77::b]:3260")).unwrap();
        for (target, portal, named) in [
            ("iqn.2024-01.test:a", "10.0.0.1", "10.0.0.1"),
            ("--logout", "10.0.0.1:3260", "--logout"),
            ("iqn.a/../b", "10.0.0.1:3260", "iqn.a/../b"),
        ] {
            let error = check(&route(target, portal)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
