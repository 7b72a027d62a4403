//! What a node needs to use a wire: tools, parts of the kernel, settings.

use std::fmt;
use std::path::Path;

use crate::exec::Tool;
use crate::host::Finding;

/// A way by which storage is reached over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wire {
    Nfs,
    Iscsi,
    /// Several paths to one iSCSI unit.
    Multipath,
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
        }
    }

    fn parts(self) -> &'static [Part] {
        match self {
            // Loaded by the first mount.
            Wire::Nfs => &[],
            Wire::Iscsi => &[Part { shown_at: "sys/class/iscsi_transport/tcp", module: "iscsi_tcp" }],
            Wire::Multipath => &[Part { shown_at: "sys/module/dm_multipath", module: "dm_multipath" }],
        }
    }

    /// What this node lacks to use the wire, with the package or module that brings it. Changes nothing.
    pub async fn examine(self) -> Vec<Finding> {
        let mut findings = missing(self, Path::new("/"));
        if self == Wire::Multipath
            && findings.is_empty()
            && let Err(error) = Tool::new("multipathd").args(["show", "daemon"]).run().await
        {
            let advice = "start it: `systemctl enable --now multipathd`";
            findings.push(self.finding("multipathd", format!("does not answer: {error}"), advice.to_owned()));
        }
        findings
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
        })
    }
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
        for directory in ["usr/sbin", "sys/class/iscsi_transport/tcp", "sys/module/dm_multipath"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        for tool in ["mount.nfs", "iscsiadm", "iscsid", "multipath", "multipathd"] {
            fs::write(root.path().join("usr/sbin").join(tool), "").unwrap();
        }
        for wire in [Wire::Nfs, Wire::Iscsi, Wire::Multipath] {
            assert_eq!(missing(wire, root.path()), []);
        }
    }
}
