//! Claims, from the request that makes one until it is Bound.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube_suite::{Asked, RECORDED_ACCOUNT, SIDECARS_ACCOUNT};
use serde::Serialize;

use super::site::{self, Site};
use super::took::took;
use super::{Figures, Requests, WAYS, Way};
use crate::spread::{Spread, median};

#[derive(Debug, Serialize)]
pub(super) struct Claims {
    pub(super) at_once: usize,
    pub(super) way: Way,
    pub(super) bound: Figures,
    /// The part of our CreateVolume, by our log: the rest is the sidecar's own path, and the cluster's.
    pub(super) ours: Option<Figures>,
    /// Milliseconds from the first request until the last one was Bound; the middle of all rounds.
    pub(super) all: f64,
    pub(super) against_floor: f64,
}

/// In turns, so that a machine that drifts drifts for all.
pub(super) async fn measure(
    site: &Site,
    count: usize,
    rounds: usize,
) -> Result<(Vec<Claims>, Vec<Requests>)> {
    let client = site.client().await?;
    let [mut bound, mut ours] = [(); 2].map(|()| WAYS.map(|_| Spread::default()));
    let mut all = WAYS.map(|_| Vec::new());
    let mut asked: [Vec<Asked>; 2] = Default::default();
    const ACCOUNTS: [(&str, &str); 2] = [RECORDED_ACCOUNT, SIDECARS_ACCOUNT];
    for number in 0..rounds {
        for (n, way) in WAYS.into_iter().enumerate() {
            let round = format!("c{count}-{number}-{n}");
            let before = ACCOUNTS.map(|account| site.cluster.asked_by(account).map(|asked| asked.len()));
            let seen = site::claims(&client, way, &round, count).await?;
            all[n].push(seen.all.as_secs_f64() * 1000.0);
            let calls = took(&site.log(way)?, &["CreateVolume"]);
            for (claim, took) in &seen.each {
                bound[n].add(*took);
                if way != Way::Floor {
                    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref());
                    let call = volume.and_then(|volume| calls.get(volume));
                    ours[n].add(*call.context("a volume was made by no call")?);
                }
            }
            site::no_claims(&client, way, &seen, &round).await?;
            if way == Way::Recorded {
                // What is told of an answer may come after it.
                tokio::time::sleep(Duration::from_millis(500)).await;
                for ((asked, account), before) in asked.iter_mut().zip(ACCOUNTS).zip(before) {
                    asked.extend(site.cluster.asked_by(account)?.split_off(before?));
                }
            }
        }
    }
    let all = all.map(median);
    let claims = WAYS.into_iter().enumerate().map(|(n, way)| Claims {
        at_once: count,
        way,
        bound: Figures::of(&bound[n]),
        ours: (way != Way::Floor).then(|| Figures::of(&ours[n])),
        all: all[n],
        against_floor: all[n] / all[Way::Floor as usize],
    });
    let claims = claims.collect();
    let requests = ["leister", "csi-provisioner"].into_iter().zip(asked).flat_map(|(whose, asked)| {
        let is_counted = |asked: &&Asked| asked.resource != "leases.coordination.k8s.io";
        let counts = Asked::counted(asked.iter().filter(is_counted));
        let one = move |((verb, resource), requests)| Requests {
            whose,
            verb,
            resource,
            claims: count * rounds,
            requests,
        };
        counts.into_iter().map(one)
    });
    Ok((claims, requests.collect()))
}
