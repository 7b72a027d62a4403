//! What is measured, in OpenMetrics.

use std::time::Duration;

use model::{BackendName, CLAIM, NAMESPACE};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::admission::Queue;
use crate::backend::{BackendHealth, Registry as Backends};
use crate::catalogue::Catalogue;
use crate::operation::Verb;
use crate::record::{VolumeRecord, VolumeStatus};

/// Says by which StorageClass Kubernetes has a volume.
pub type StorageClassOf = dyn Fn(&VolumeRecord) -> Option<String> + Send + Sync;

#[derive(Debug)]
pub(crate) struct Metrics {
    operations: Family<OperationLabels, Histogram>,
    calls: Family<CallLabels, Histogram>,
    repairs: Family<RepairLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    verb: &'static str,
    backend: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    backend: String,
    call: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RepairLabels {
    backend: String,
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    backend: String,
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabels {
    backend: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    backend: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    backend: String,
    pool: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VolumeLabels {
    volume: String,
    backend: String,
    pool: String,
    class: String,
    handle: String,
    // Whose it is in Kubernetes.
    namespace: String,
    pvc: String,
    pv: String,
    storage_class: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SizeLabels {
    volume: String,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        // From a tenth of a millisecond, an embedded pool's, to a minute and a half, a call's limit.
        fn seconds() -> Histogram {
            Histogram::new(exponential_buckets(0.0001, 2.5, 16))
        }
        Metrics {
            operations: Family::new_with_constructor(seconds),
            calls: Family::new_with_constructor(seconds),
            repairs: Family::default(),
        }
    }

    pub(crate) fn operation(
        &self,
        verb: Verb,
        backend: Option<&BackendName>,
        outcome: &'static str,
        took: Duration,
    ) {
        let backend = backend.map(BackendName::to_string).unwrap_or_default();
        let labels = OperationLabels { verb: verb.as_str(), backend, outcome };
        self.operations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn call(
        &self,
        backend: &BackendName,
        call: &'static str,
        outcome: &'static str,
        took: Duration,
    ) {
        let labels = CallLabels { backend: backend.to_string(), call, outcome };
        self.calls.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn repair(&self, backend: &BackendName, what: &'static str) {
        self.repairs.get_or_create(&RepairLabels { backend: backend.to_string(), what }).inc();
    }

    /// Everything, with the gauges as they are now.
    pub(crate) fn render(
        &self,
        catalogue: &Catalogue,
        backends: &Backends,
        storage_class_of: &StorageClassOf,
        leads: bool,
    ) -> String {
        let mut registry = Registry::with_prefix("leister");
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "operation_duration",
            "Time of operations, from request to end",
            seconds(),
            self.operations.clone(),
        );
        registry.register_with_unit(
            "backend_call_duration",
            "Time of calls to backends, waiting excluded",
            seconds(),
            self.calls.clone(),
        );
        registry.register(
            "repairs",
            "Differences between backends and records that were mended",
            self.repairs.clone(),
        );
        self.gauges(&mut registry, catalogue, backends, storage_class_of);
        let leading = Gauge::<i64>::default();
        leading.set(i64::from(leads));
        registry.register(
            "leading",
            "1 on the instance that changes the records and talks to backends",
            leading,
        );
        let mut out = String::new();
        match text::encode(&mut out, &registry) {
            Ok(()) => out,
            Err(error) => {
                tracing::error!(%error, "cannot write the metrics");
                String::new()
            }
        }
    }

    fn gauges(
        &self,
        registry: &mut Registry,
        catalogue: &Catalogue,
        backends: &Backends,
        storage_class_of: &StorageClassOf,
    ) {
        let queues = Family::<QueueLabels, Gauge>::default();
        let up = Family::<BackendLabels, Gauge>::default();
        let space = Family::<PoolLabels, Gauge>::default();
        let volumes = Family::<StateLabels, Gauge>::default();
        let info = Family::<VolumeLabels, Gauge>::default();
        let sizes = Family::<SizeLabels, Gauge>::default();
        let unfinished: Gauge = Gauge::default();
        let number = |bytes: model::Bytes| i64::try_from(bytes.get()).unwrap_or(i64::MAX);

        for backend in backends.all().values() {
            let name = backend.name.to_string();
            for queue in Queue::ALL {
                let labels = QueueLabels { backend: name.clone(), queue: queue.as_str() };
                let depth = i64::try_from(backend.admission.depth(queue)).unwrap_or(i64::MAX);
                queues.get_or_create(&labels).set(depth);
            }
            let is_up = i64::from(matches!(*backend.health(), BackendHealth::Online));
            up.get_or_create(&BackendLabels { backend: name.clone() }).set(is_up);
            for status in VolumeStatus::ALL {
                volumes.get_or_create(&StateLabels { backend: name.clone(), state: status.as_str() }).set(0);
            }
            for pool in backend.pools().iter() {
                let kinds = [
                    ("total", pool.capacity.total),
                    ("used", pool.capacity.used),
                    ("provisioned", pool.capacity.provisioned),
                    ("free_thin", pool.capacity.free_thin),
                    ("free_thick", pool.capacity.free_thick),
                ];
                for (kind, bytes) in kinds {
                    let labels = PoolLabels { backend: name.clone(), pool: pool.name.to_string(), kind };
                    space.get_or_create(&labels).set(number(bytes));
                }
            }
        }
        for record in catalogue.volumes() {
            let labels = StateLabels { backend: record.backend.to_string(), state: record.status().as_str() };
            volumes.get_or_create(&labels).inc();
            let size = SizeLabels { volume: record.id.to_string() };
            sizes.get_or_create(&size).set(number(record.spec.size));
            let word = |key: &str| record.spec.labels.get(key).cloned().unwrap_or_default();
            let labels = VolumeLabels {
                namespace: word(NAMESPACE),
                pvc: word(CLAIM),
                pv: word("pv"),
                storage_class: storage_class_of(record).unwrap_or_default(),
                volume: record.id.to_string(),
                backend: record.backend.to_string(),
                pool: record.pool.to_string(),
                class: record.spec.class.as_ref().map(ToString::to_string).unwrap_or_default(),
                handle: record.handle.to_string(),
            };
            info.get_or_create(&labels).set(1);
        }
        unfinished.set(i64::try_from(catalogue.unfinished_count()).unwrap_or(i64::MAX));

        registry.register("queue_depth", "Calls that wait for their turn on a backend", queues);
        registry.register("backend_up", "1 when the backend answers", up);
        registry.register_with_unit("pool_capacity", "Space of pools", Unit::Bytes, space);
        registry.register("volumes", "Volumes by state", volumes);
        registry.register_with_unit("volume_size", "Sizes of volumes", Unit::Bytes, sizes);
        registry.register("volume_info", "Names of volumes, to join on", info);
        registry.register("unfinished_volumes", "Volumes that are not yet as they shall be", unfinished);
    }
}
