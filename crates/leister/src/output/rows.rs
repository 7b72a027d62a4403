//! The columns of each kind.

use api::{
    BackendView, ClassView, FindingView, FoundVolume, NodeView, OperationView, PoolView, SnapshotView,
    VolumeView,
};

use super::Shown;
use super::cells::{age, list, maybe, maybe_size, size, span};

impl Shown for VolumeView {
    const KIND: &'static str = "volume";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut columns = vec!["NAME", "STATUS", "SIZE", "CLASS", "BACKEND", "POOL", "AGE"];
        if wide {
            columns.extend(["USED", "LAYOUT", "PROVISIONING", "SNAPSHOTS", "NODES", "HANDLE", "TROUBLE"]);
        }
        columns
    }

    fn row(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.name.clone(),
            self.status.clone(),
            size(self.size),
            maybe(self.class.as_deref()),
            self.backend.clone(),
            self.pool.clone(),
            age(self.created),
        ];
        if wide {
            cells.extend([
                maybe_size(self.used),
                match &self.filesystem {
                    Some(filesystem) => format!("{}/{filesystem}", self.layout),
                    None => self.layout.clone(),
                },
                self.provisioning.clone(),
                self.snapshots.to_string(),
                list(&self.nodes),
                self.handle.clone(),
                maybe(self.trouble.as_deref()),
            ]);
        }
        cells
    }
}

impl Shown for SnapshotView {
    const KIND: &'static str = "snapshot";

    fn name(&self) -> String {
        format!("{}/{}", self.volume, self.name)
    }

    fn header(_: bool) -> Vec<&'static str> {
        vec!["VOLUME", "NAME", "STATUS", "SIZE", "GROUP", "AGE"]
    }

    fn row(&self, _: bool) -> Vec<String> {
        vec![
            self.volume.clone(),
            self.name.clone(),
            self.status.clone(),
            size(self.size),
            list(self.group.iter()),
            age(self.created),
        ]
    }
}

impl Shown for BackendView {
    const KIND: &'static str = "backend";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut columns = vec!["NAME", "DRIVER", "STATUS", "VOLUMES", "POOLS"];
        if wide {
            columns.extend(["CAPABILITIES", "ORIGIN", "REASON"]);
        }
        columns
    }

    fn row(&self, wide: bool) -> Vec<String> {
        let status = if self.suspended { "suspended" } else { self.health.as_str() };
        let mut cells = vec![
            self.name.clone(),
            self.driver.clone(),
            status.to_owned(),
            self.volumes.to_string(),
            list(self.pools.iter().map(|pool| &pool.name)),
        ];
        if wide {
            let able = self.capabilities;
            let abilities = [
                (able.resize, "grow"),
                (able.modify, "modify"),
                (able.snapshots, "snapshot"),
                (able.clones, "clone"),
                (able.groups, "group"),
                (able.import, "import"),
            ];
            cells.extend([
                list(abilities.iter().filter(|(able, _)| *able).map(|(_, name)| name)),
                self.file.clone().unwrap_or_else(|| "stored".to_owned()),
                maybe(self.reason.as_deref()),
            ]);
        }
        cells
    }
}

impl Shown for PoolView {
    const KIND: &'static str = "pool";

    fn name(&self) -> String {
        format!("{}/{}", self.backend, self.name)
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut columns = vec!["BACKEND", "NAME", "TOTAL", "USED", "PROVISIONED", "FREE THIN", "FREE THICK"];
        if wide {
            columns.extend(["LAYOUTS", "LARGEST", "OFFERS", "LABELS"]);
        }
        columns
    }

    fn row(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.backend.clone(),
            self.name.clone(),
            size(self.total),
            size(self.used),
            size(self.provisioned),
            size(self.free_thin),
            size(self.free_thick),
        ];
        if wide {
            cells.extend([
                list(&self.layouts),
                maybe_size(self.largest),
                list(self.offers.iter().map(|(key, value)| format!("{key}={}", value.replace(',', "|")))),
                list(self.labels.iter().map(|(key, value)| format!("{key}={value}"))),
            ]);
        }
        cells
    }
}

impl Shown for ClassView {
    const KIND: &'static str = "class";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        if wide { vec!["NAME", "PARAMETERS", "MOUNT OPTIONS"] } else { vec!["NAME", "PARAMETERS"] }
    }

    fn row(&self, wide: bool) -> Vec<String> {
        let parameters = list(self.parameters.iter().map(|(key, value)| format!("{key}={value}")));
        let mut cells = vec![self.name.clone(), parameters];
        if wide {
            cells.push(list(&self.mount_options));
        }
        cells
    }
}

impl Shown for NodeView {
    const KIND: &'static str = "node";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut columns = vec!["NAME", "ADDRESSES", "AGE"];
        if wide {
            columns.extend(["INITIATOR", "NQN", "TOPOLOGY"]);
        }
        columns
    }

    fn row(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![self.name.clone(), list(&self.addresses), age(self.registered)];
        if wide {
            cells.extend([
                maybe(self.initiator.as_deref()),
                maybe(self.nqn.as_deref()),
                list(self.topology.iter().map(|(key, value)| format!("{key}={value}"))),
            ]);
        }
        cells
    }
}

impl Shown for OperationView {
    const KIND: &'static str = "operation";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut columns = vec!["ID", "VERB", "VOLUME", "STATE", "AGE", "TOOK"];
        if wide {
            columns.extend(["BACKEND", "JOINED", "STAGE", "ERROR"]);
        }
        columns
    }

    fn row(&self, wide: bool) -> Vec<String> {
        let took = self.ended.map(|ended| span(ended.duration_since(self.started).as_secs()));
        let volume = match &self.snapshot {
            Some(snapshot) => format!("{}/{snapshot}", self.volume),
            None => self.volume.clone(),
        };
        let mut cells = vec![
            self.id.clone(),
            self.verb.clone(),
            volume,
            self.state.as_str().to_owned(),
            age(self.started),
            maybe(took.as_deref()),
        ];
        if wide {
            cells.extend([
                maybe(self.backend.as_deref()),
                self.joined.to_string(),
                maybe(self.stage.as_deref()),
                maybe(self.error.as_ref().map(ToString::to_string).as_deref()),
            ]);
        }
        cells
    }
}

impl Shown for FoundVolume {
    const KIND: &'static str = "volume";

    fn name(&self) -> String {
        self.volume.clone().unwrap_or_else(|| self.handle.clone())
    }

    fn header(_: bool) -> Vec<&'static str> {
        vec!["BACKEND", "HANDLE", "VOLUME", "OWNER", "SIZE", "USED", "LAYOUT", "FILESYSTEM", "POOL"]
    }

    fn row(&self, _: bool) -> Vec<String> {
        vec![
            self.backend.clone(),
            self.handle.clone(),
            maybe(self.volume.as_deref()),
            self.owner.clone(),
            size(self.size),
            maybe_size(self.used),
            self.layout.clone(),
            maybe(self.filesystem.as_deref()),
            self.pool.clone(),
        ]
    }
}

impl Shown for FindingView {
    const KIND: &'static str = "finding";

    fn name(&self) -> String {
        self.subject.clone()
    }

    fn header(_: bool) -> Vec<&'static str> {
        vec!["SEVERITY", "SUBJECT", "PROBLEM", "ADVICE"]
    }

    fn row(&self, _: bool) -> Vec<String> {
        vec![
            self.severity.as_str().to_owned(),
            self.subject.clone(),
            self.problem.clone(),
            self.advice.clone(),
        ]
    }
}
