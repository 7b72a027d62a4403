//! What a claim costs the apiserver of our own requests, by the apiserver's own account.

use anyhow::{Context as _, Result, ensure};
use kube_suite::{Asked, Cluster, RECORDED, RECORDED_ACCOUNT, needs_the_machine, until};

use crate::site::LIMIT;

const CLAIMS: usize = 3;

/// As docs/shared-store.md has them.
#[test]
fn a_claims_life_costs_as_many_requests_of_ours_as_the_manual_says() -> Result<()> {
    needs_the_machine!();
    // Nobody else asks for anything in it.
    let cluster = Cluster::start_without_nodes()?;
    cluster.serve_recorded()?;
    let before = cluster.asked_by(RECORDED_ACCOUNT)?.len();
    ensure!(before > 0, "the account is of nothing");
    let names: Vec<String> = (0..CLAIMS).map(|number| format!("claim-{number}")).collect();
    for name in &names {
        cluster.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n  \
             accessModes: [ReadWriteOnce]\n  storageClassName: {RECORDED}\n  \
             resources: {{requests: {{storage: 64Mi}}}}\n"
        ))?;
    }
    let mut volumes = Vec::new();
    for name in &names {
        cluster.wait(&format!("pvc/{name}"), "jsonpath={.status.phase}=Bound")?;
        let claim = cluster.get(&format!("pvc/{name}"))?;
        volumes.push(claim["spec"]["volumeName"].as_str().context("a claim has no volume")?.to_owned());
    }
    for name in &names {
        cluster.kubectl(&["delete", "pvc", name, "--timeout=120s"])?.ok()?;
    }
    for volume in &volumes {
        cluster.wait(&format!("pv/{volume}"), "delete")?;
    }
    let mut asked = Vec::new();
    let whole = until("the end of each record", LIMIT, || {
        asked = cluster.asked_by(RECORDED_ACCOUNT).ok()?.split_off(before);
        let is_end = |volume: &String| asked.iter().any(|a| a.verb == "delete" && a.name == *volume);
        volumes.iter().all(is_end).then_some(())
    });
    whole.with_context(|| format!("{asked:?}\n{}", cluster.evidence()))?;
    // Leases are kept whether there are claims or not.
    let lives = asked.iter().filter(|asked| asked.resource != "leases.coordination.k8s.io");
    let counts = Asked::counted(lives);
    println!("{CLAIMS} claims, made, bound and deleted: {counts:?}");
    let wanted = [("create", 1), ("delete", 1), ("patch", 3)];
    let wanted = wanted.map(|(verb, each)| ((verb.into(), "volumes.leister.io".into()), each * CLAIMS));
    ensure!(counts == wanted.into(), "{counts:?}");
    Ok(())
}
