//! What a node needs to use a wire: tools, parts of the kernel, settings.

use std::fmt;
use std::path::Path;

use crate::device::nvme;
use crate::error::Result;
use crate::exec::Tool;
use crate::host::Finding;
use crate::identity::{self, IdentityFiles};

/// A way by which storage is reached over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wire {
    Nfs,
    Iscsi,
    /// Several paths to one iSCSI unit.
    Multipath,
    /// Over TCP.
    Nvme,
}

/// Shows that a part of the kernel is there: what sysfs has when it is loaded, and the module that brings it.
struct Part {
    shown_at: &'static str,
    module: &'static str,
}

impl Wire {
    fn tools(self) -> &'static [&'static str] {
        match self {
            Wire::Nfs => &["mount.nfs"],
            Wire::Iscsi => &["iscsiadm", "iscsid"],
            Wire::Multipath => &["multipath", "multipathd"],
            // The kernel's own files suffice.
            Wire::Nvme => &[],
        }
    }

    fn parts(self) -> &'static [Part] {
        match self {
            // Loaded by the first mount.
            Wire::Nfs => &[],
            Wire::Iscsi => &[Part { shown_at: "sys/class/iscsi_transport/tcp", module: "iscsi_tcp" }],
            Wire::Multipath => &[Part { shown_at: "sys/module/dm_multipath", module: "dm_multipath" }],
            Wire::Nvme => &[Part { shown_at: "sys/module/nvme_tcp", module: "nvme_tcp" }],
        }
    }

    /// What this node lacks to use the wire, with the package or module that brings it. Changes nothing.
    pub async fn examine(self) -> Vec<Finding> {
        let mut findings = missing(self, Path::new("/"));
        if !findings.is_empty() {
            return findings;
        }
        match self {
            Wire::Nfs => {}
            Wire::Iscsi => {
                findings.extend(name(self, identity::initiator(&IdentityFiles::default().initiator)))
            }
            Wire::Multipath => findings = self.multipath().await,
            Wire::Nvme => {
                findings.extend(name(self, identity::nqn(&IdentityFiles::default().nqn)));
                if !nvme::has_multipath() {
                    let problem =
                        "the kernel's own multipath is off: a subsystem is reached by one portal only";
                    let advice = "start the kernel with `nvme_core.multipath=Y`";
                    findings.push(self.finding("nvme_core", problem.to_owned(), advice.to_owned()));
                }
            }
        }
        findings
    }

    async fn multipath(self) -> Vec<Finding> {
        match Tool::new("multipathd").args(["show", "config"]).run().await {
            Ok(output) => harmful(&output.stdout)
                .into_iter()
                .map(|(setting, harm, better)| {
                    let advice = format!("write `{better}` into the defaults of /etc/multipath.conf");
                    self.finding("multipathd", format!("{setting}: {harm}"), advice)
                })
                .collect(),
            Err(error) => {
                let advice = "start it: `systemctl enable --now multipathd`";
                vec![self.finding("multipathd", format!("does not answer: {error}"), advice.to_owned())]
            }
        }
    }

    fn finding(self, subject: &str, problem: String, advice: String) -> Finding {
        Finding { volume: None, subject: format!("{self}: {subject}"), problem, advice }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wire::Nfs => "NFS",
            Wire::Iscsi => "iSCSI",
            Wire::Multipath => "multipath",
            Wire::Nvme => "NVMe/TCP",
        })
    }
}

/// Settings of multipathd that do harm, with the harm and what to write instead.
///
/// # Source
/// multipath.conf(5) of multipath-tools 0.9: `off` (also written `no`) and `greedy`; `recheck_wwid` since 0.8.4.
fn harmful(config: &str) -> Vec<(String, &'static str, &'static str)> {
    let setting = |key: &str| {
        let mut found = config.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix(' '));
        Some(found.next()?.trim().trim_matches('"').to_owned())
    };
    let mut harmful = Vec::new();
    if let Some(found) = setting("find_multipaths").filter(|s| ["off", "no", "greedy"].contains(&s.as_str()))
    {
        let harm = "multipathd takes disks with a single path, too, before their owners can use them";
        harmful.push((format!("find_multipaths is `{found}`"), harm, "find_multipaths strict"));
    }
    if let Some(found) = setting("recheck_wwid").filter(|s| s != "yes") {
        let harm = "a path that comes back as another unit can be written to before anybody has looked at it";
        harmful.push((format!("recheck_wwid is `{found}`"), harm, "recheck_wwid yes"));
    }
    harmful
}

fn name(wire: Wire, name: Result<Option<String>>) -> Option<Finding> {
    let (problem, advice) = match (name, wire) {
        (Ok(Some(_)), _) => return None,
        (Err(error), _) => (error.to_string(), "correct the file"),
        (Ok(None), Wire::Nvme) => ("it has no NVMe name".to_owned(), "start leister anew, and it makes one"),
        (Ok(None), _) => (
            "it has no initiator name".to_owned(),
            "write `InitiatorName=` and what `iscsi-iname` says into /etc/iscsi/initiatorname.iscsi",
        ),
    };
    Some(wire.finding("this node", problem, advice.to_owned()))
}

fn missing(wire: Wire, root: &Path) -> Vec<Finding> {
    let tools = wire.tools().iter().filter(|tool| !crate::exec::is_installed(root, tool)).map(|tool| {
        let advice = crate::exec::advice(tool);
        wire.finding(tool, "the tool is not installed".to_owned(), advice)
    });
    let parts = wire.parts().iter().filter(|part| !root.join(part.shown_at).exists()).map(|part| {
        let advice = format!("load it: `modprobe {0}`, and name it in /etc/modules-load.d", part.module);
        wire.finding(part.module, "this part of the kernel is not loaded".to_owned(), advice)
    });
    tools.chain(parts).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_bare_node_is_told_which_packages_and_modules_it_lacks() {
        let root = tempfile::tempdir().unwrap();
        for (wire, expected) in [
            (Wire::Nfs, &["nfs-common"][..]),
            (Wire::Iscsi, &["open-iscsi", "open-iscsi", "modprobe iscsi_tcp"]),
            (Wire::Multipath, &["multipath-tools", "multipath-tools", "modprobe dm_multipath"]),
            (Wire::Nvme, &["modprobe nvme_tcp"]),
        ] {
            let found = missing(wire, root.path());
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, expected) in found.iter().zip(expected) {
                assert!(finding.to_string().contains(expected), "{finding}");
            }
        }
    }

    #[test]
    fn a_node_that_has_them_is_told_nothing() {
        let root = tempfile::tempdir().unwrap();
        for directory in
            ["usr/sbin", "sys/class/iscsi_transport/tcp", "sys/module/dm_multipath", "sys/module/nvme_tcp"]
        {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        for tool in ["mount.nfs", "iscsiadm", "iscsid", "multipath", "multipathd"] {
            fs::write(root.path().join("usr/sbin").join(tool), "").unwrap();
        }
        for wire in [Wire::Nfs, Wire::Iscsi, Wire::Multipath, Wire::Nvme] {
            assert_eq!(missing(wire, root.path()), []);
        }
    }

    #[test]
    fn a_setting_that_steals_disks_or_trusts_paths_is_told_from_one_that_does_not() {
        for (setting, is_harmful) in
            [("strict", false), ("yes", false), ("smart", false), ("no", true), ("greedy", true)]
        {
            let config = format!(
                "defaults {{\n\tverbosity 2\n\tfind_multipaths \"{setting}\"\n\tfind_multipaths_timeout 1\n\t\
                 recheck_wwid \"yes\"\n}}\n"
            );
            let expected = if is_harmful { vec![format!("find_multipaths is `{setting}`")] } else { vec![] };
            assert_eq!(harmful(&config).into_iter().map(|found| found.0).collect::<Vec<_>>(), expected);
        }
        let trusting = harmful("defaults {\n\trecheck_wwid \"no\"\n}\n");
        assert_eq!(trusting[0].2, "recheck_wwid yes");
        assert_eq!(harmful("defaults {\n}\n"), []);
    }
}
