//! Snapshots and clones over the wires, used on another node than what they are made of.

use anyhow::{Result, ensure};
use kube_suite::snapshot;

use crate::site::on_site;

#[test]
fn snapshots_are_restored_and_claims_cloned_over_nfs_and_over_iscsi_and_used_on_the_other_node() -> Result<()>
{
    on_site(|site| {
        for (class, mounted) in [("leister", "nfs"), ("leister-ext4", "ext4")] {
            let class = format!("storageClassName: {class}");
            site.claim("origin", &class)?;
            site.cluster.wait("pvc/origin", "jsonpath={.status.phase}=Bound")?;
            site.pod("origin", "node1", "origin", "echo old >/data/file; sync")?;
            site.ready("origin")?;
            ensure!(site.exec("origin", "grep ' /data ' /proc/mounts")?.contains(mounted));
            site.cluster.apply(&snapshot("then", "origin"))?;
            site.cluster.wait("volumesnapshot/then", "jsonpath={.status.readyToUse}=true")?;
            site.exec("origin", "echo new >/data/file; sync")?;
            let restored =
                "dataSource: {kind: VolumeSnapshot, name: then, apiGroup: snapshot.storage.k8s.io}";
            let cloned = "dataSource: {kind: PersistentVolumeClaim, name: origin}";
            for (copy, source, expected) in [("restored", restored, "old"), ("cloned", cloned, "new")] {
                site.claim(copy, &format!("{class}\n  {source}"))?;
                site.pod(copy, "node2", copy, "")?;
                site.ready(copy)?;
                let read = site.exec(copy, "cat /data/file; echo other >/data/file; sync")?;
                ensure!(read == expected, "{copy}, {mounted}: {read}");
            }
            ensure!(site.exec("origin", "cat /data/file")? == "new", "the origin is untouched");
            site.delete(&["pod/origin", "pod/restored", "pod/cloned", "volumesnapshot/then"])?;
            site.delete(&["pvc/origin", "pvc/restored", "pvc/cloned"])?;
        }
        Ok(())
    })
}
