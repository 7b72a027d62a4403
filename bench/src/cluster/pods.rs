//! Pods, from the request that makes one until it is Running.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use kube_suite::BUSYBOX;
use serde::Serialize;
use serde_json::json;

use super::site::{self, Site, object};
use super::took::took;
use super::{Figures, Way};
use crate::spread::Spread;

#[derive(Debug, Serialize)]
pub(super) struct Pods {
    pub(super) way: Way,
    pub(super) running: Figures,
    /// The part of our calls, by our log.
    pub(super) ours: Option<Figures>,
}

const CALLS: [&str; 3] = ["ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"];
const LIMIT: Duration = Duration::from_secs(120);

/// In turns. The claim is Bound before.
pub(super) async fn measure(site: &Site, rounds: usize) -> Result<Vec<Pods>> {
    let client = site.client().await?;
    let [mut floor, mut local, mut ours] = [(); 3].map(|()| Spread::default());
    for number in 0..rounds {
        let empty = pod(&client, &format!("e{number}"), &json!({ "emptyDir": {} })).await?;
        floor.add(empty);
        let round = format!("p{number}");
        let seen = site::claims(&client, Way::Local, &round, 1).await?;
        let [(claim, _)] = &seen.each[..] else { bail!("one claim was asked for") };
        let name = format!("{round}-0");
        let volume = json!({ "persistentVolumeClaim": { "claimName": name } });
        local.add(pod(&client, &round, &volume).await?);
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
        let calls = took(&site.log(Way::Local)?, &CALLS);
        ours.add(*volume.and_then(|volume| calls.get(volume)).context("a volume that nobody published")?);
        site::no_claims(&client, Way::Local, &seen, &round).await?;
    }
    Ok(vec![
        Pods { way: Way::Floor, running: Figures::of(&floor), ours: None },
        Pods { way: Way::Local, running: Figures::of(&local), ours: Some(Figures::of(&ours)) },
    ])
}

/// Makes one with this volume, and takes it away again.
async fn pod(client: &kube::Client, round: &str, volume: &serde_json::Value) -> Result<Duration> {
    let api = Api::<Pod>::default_namespaced(client.clone());
    let mut data = volume.clone();
    data["name"] = json!("data");
    let spec = json!({
        "hostNetwork": true, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "100000"],
            "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
        }],
        "volumes": [data],
    });
    let is_running = |pod: &Pod| pod.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running"));
    let seen = site::make(&api, round, vec![object(round, 0, &spec)?], is_running).await?;
    let [(made, took)] = &seen.each[..] else { bail!("one pod was asked for") };
    let name = made.metadata.name.clone().context("a pod has a name")?;
    api.delete(&name, &DeleteParams::default()).await?;
    let attachments = Api::<VolumeAttachment>::all(client.clone());
    let gone = async {
        while api.get_opt(&name).await?.is_some()
            || !attachments.list(&ListParams::default()).await?.items.is_empty()
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, gone)
        .await
        .unwrap_or_else(|_| bail!("pod {name} is not gone within {LIMIT:?}"))?;
    Ok(*took)
}
