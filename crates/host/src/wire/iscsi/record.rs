//! The node record of open-iscsi, completed in its file: as arguments, secrets would be seen by everybody.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::Chap;

use crate::error::{Doing, HostError, Result};

const DATABASE: &str = "/etc/iscsi/nodes";
const END: &str = "# END RECORD";

/// What we want of a session: no unit is attached but the one that is asked for, a dead portal is given up soon, and
/// a path that fails hands its I/O back to multipath.
const WANTED: [(&str, &str); 6] = [
    ("node.startup", "manual"),
    ("node.session.scan", "manual"),
    ("node.session.initial_login_retry_max", "1"),
    ("node.conn[0].timeo.login_timeout", "10"),
    ("node.session.timeo.replacement_timeout", "5"),
    ("node.conn[0].startup", "manual"),
];

/// Completes the record that iscsiadm has made.
pub(super) fn set(target: &str, portal: SocketAddr, chap: Option<&Chap>) -> Result<()> {
    let directory = Path::new(DATABASE).join(target);
    let found = files(&directory, portal);
    if found.is_empty() {
        return Err(HostError::System {
            doing: format!("find the node record of {portal} below {}", directory.display()),
            hint: "iscsiadm said that it made one".to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        });
    }
    for file in found {
        let doing = || format!("complete the node record {}", file.display());
        let text = completed(&fs::read_to_string(&file).doing(doing)?, chap);
        let fresh = directory.join(".leister.new");
        let mut written = File::create(&fresh).doing(doing)?;
        written.set_permissions(Permissions::from_mode(0o600)).doing(doing)?;
        written.write_all(text.as_bytes()).doing(doing)?;
        fs::rename(&fresh, &file).doing(doing)?;
    }
    Ok(())
}

/// `ADDRESS,PORT`, `ADDRESS,PORT,GROUP/default`.
fn files(directory: &Path, portal: SocketAddr) -> Vec<PathBuf> {
    let prefix = format!("{},{}", portal.ip(), portal.port());
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.filter(|e| {
        let name = e.file_name();
        let rest = name.to_str().and_then(|n| n.strip_prefix(&prefix));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
    });
    ours.map(|e| e.path())
        .map(|p| if p.is_dir() { p.join("default") } else { p })
        .filter(|p| p.is_file())
        .collect()
}

fn completed(text: &str, chap: Option<&Chap>) -> String {
    let mut wanted: Vec<(&str, &str)> = WANTED.to_vec();
    match chap {
        Some(chap) => {
            wanted.push(("node.session.auth.authmethod", "CHAP"));
            wanted.push(("node.session.auth.username", &chap.initiator.user));
            wanted.push(("node.session.auth.password", chap.initiator.secret.expose()));
            if let Some(target) = &chap.target {
                wanted.push(("node.session.auth.username_in", &target.user));
                wanted.push(("node.session.auth.password_in", target.secret.expose()));
            }
        }
        None => wanted.push(("node.session.auth.authmethod", "None")),
    }
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let replaced = |line: &str| {
        let key = key(line);
        wanted.iter().any(|(k, _)| *k == key) || key.starts_with("node.session.auth.") && is_account(&key)
    };
    let mut lines: Vec<String> =
        text.lines().filter(|l| !replaced(l) && *l != END).map(str::to_owned).collect();
    lines.extend(wanted.iter().map(|(key, value)| format!("{key} = {value}")));
    lines.push(END.to_owned());
    lines.join("\n") + "\n"
}

fn is_account(key: &str) -> bool {
    ["username", "password", "username_in", "password_in"].iter().any(|k| key.ends_with(&format!(".{k}")))
}

#[cfg(test)]
mod tests {
    use model::{ChapAccount, Secret};

    use super::*;

    const RECORD: &str = "# BEGIN RECORD 2.1.8\nnode.name = iqn.x\nnode.startup = automatic\n\
        node.session.auth.username = old\nnode.session.auth.password_in = older\n# END RECORD\n";

    #[test]
    fn a_record_gets_what_is_wanted_and_loses_accounts_of_before() {
        let chap = Chap {
            initiator: ChapAccount { user: "node".to_owned(), secret: Secret::new("word") },
            target: None,
        };
        let text = completed(RECORD, Some(&chap));
        assert!(text.contains("node.name = iqn.x\n") && text.ends_with("# END RECORD\n"), "{text}");
        assert!(text.contains("node.session.auth.password = word\n") && !text.contains("old"), "{text}");
        assert_eq!(text.matches("node.startup").count(), 1, "{text}");
        let open = completed(&text, None);
        assert!(!open.contains("word") && open.contains("authmethod = None"), "{open}");
    }
}
