//! What opens a volume and is in a Secret that its class names.

use anyhow::{Result, ensure};
use kube_suite::until;

use crate::site::{LIMIT, Site, on_site};

const CLASS: &str = "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: sealed}
provisioner: csi.leister.io
allowVolumeExpansion: true
parameters:
  csi.storage.k8s.io/fstype: ext4
  LUKSEncryption: \"true\"
  csi.storage.k8s.io/node-stage-secret-name: ${pvc.name}
  csi.storage.k8s.io/node-stage-secret-namespace: ${pvc.namespace}
  csi.storage.k8s.io/node-expand-secret-name: ${pvc.name}
  csi.storage.k8s.io/node-expand-secret-namespace: ${pvc.namespace}
";

/// In place of the one before: what an apply leaves out stays.
fn secret(site: &Site, data: &str) -> Result<()> {
    site.cluster.kubectl(&["delete", "secret/sealed", "--ignore-not-found"])?.ok()?;
    let secret =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: sealed}}\nstringData: {{{data}}}\n");
    site.cluster.apply(&secret)
}

#[test]
fn a_volume_is_sealed_with_the_passphrase_of_its_claims_secret_which_may_change() -> Result<()> {
    on_site(|site| {
        site.cluster.apply(CLASS)?;
        secret(site, "luks-passphrase-name: first")?;
        site.claim("sealed", "storageClassName: sealed")?;
        site.cluster.wait("pvc/sealed", "jsonpath={.status.phase}=Bound")?;
        site.pod("seals", "node1", "sealed", "echo precious >/data/file; sync")?;
        site.event("seals", "`luks-passphrase-name` is given without `luks-passphrase`")?;
        secret(site, "luks-passphrase-name: first, luks-passphrase: correct horse")?;
        site.ready("seals")?;
        let guest = site.machines[0].guest();
        let kinds = guest.exec("lsblk --noheadings --output TYPE").ok("what devices it has");
        ensure!(kinds.contains("crypt"), "{kinds}");

        // After a restart nobody has the passphrase but the Secret.
        site.machines[0].leister().kill();
        site.machines[0].leister().start()?;
        let larger = r#"{"spec":{"resources":{"requests":{"storage":"128Mi"}}}}"#;
        site.cluster.kubectl(&["patch", "pvc/sealed", "-p", larger])?.ok()?;
        site.cluster.wait("pvc/sealed", "jsonpath={.status.capacity.storage}=128Mi")?;
        site.exec("seals", "dd if=/dev/zero of=/data/much bs=1M count=70 && sync && rm /data/much")?;
        site.delete(&["pod/seals"])?;

        let both = "luks-passphrase-name: second, luks-passphrase: battery staple, \
                previous-luks-passphrase-name: first, previous-luks-passphrase: correct horse";
        secret(site, both)?;
        site.pod("opens", "node2", "sealed", "")?;
        site.ready("opens")?;
        ensure!(site.exec("opens", "cat /data/file")? == "precious");
        site.delete(&["pod/opens"])?;
        secret(site, "luks-passphrase-name: first, luks-passphrase: correct horse")?;
        site.pod("late", "node1", "sealed", "")?;
        // By its name.
        site.event("late", "first")?;
        secret(site, "luks-passphrase-name: second, luks-passphrase: battery staple")?;
        site.ready("late")?;
        ensure!(site.exec("late", "cat /data/file")? == "precious");
        site.delete(&["pod/late", "pvc/sealed", "secret/sealed", "storageclass/sealed"])?;
        let gone = || guest.exec("! lsblk --noheadings --output TYPE | grep crypt").is_ok().then_some(());
        until("the mapping to go", LIMIT, gone)
    })
}
