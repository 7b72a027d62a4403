//! Volumes that can be reached from some places only.

use csi::wire::identity_client::IdentityClient;
use csi::wire::plugin_capability::Type;
use csi::wire::plugin_capability::service::Type as ServiceType;
use csi::wire::*;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::client::{Caller, Kind};
use crate::pools::may_make_pools;
use crate::rig::Rig;

const ZONE: &str = "topology.kubernetes.io/zone";
const SIZE: i64 = 16 << 20;

fn zone(name: &str) -> Topology {
    Topology { segments: [(ZONE.to_owned(), name.to_owned())].into() }
}

fn wanted(name: &str, zones: &[&str]) -> CreateVolumeRequest {
    let requisite: Vec<Topology> = zones.iter().map(|name| zone(name)).collect();
    let preferred = requisite.clone();
    let accessibility_requirements = Some(TopologyRequirement { requisite, preferred });
    CreateVolumeRequest { accessibility_requirements, ..Caller::create(name, Kind::Files, SIZE) }
}

#[test]
fn volumes_are_made_where_they_can_be_reached_and_say_from_where() {
    if !may_make_pools() {
        return;
    }
    let mut rig = Rig::bare();
    let pool = |name: &str| {
        format!(
            "version: 1\nstorageDriverName: linux\nbackendName: {name}\npool: {}\npoolSize: 300MiB\n\
             supportedTopologies: [{{zone: {name}}}]\n",
            rig.path(name).display()
        )
    };
    let files = format!("{}---\n{}", pool("here"), pool("there"));
    let files = rig.write("backends.yaml", &files);
    let socket = rig.path("csi.sock");
    let endpoint = format!("unix://{}", socket.display());
    rig.serve(&["--csi-endpoint", &endpoint, "--config", &files, "--topology", "zone=here"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let caller = Caller::of(&socket);
        let info = caller.node.clone().node_get_info(NodeGetInfoRequest {}).await.unwrap().into_inner();
        assert_eq!(info.accessible_topology, Some(zone("here")));
        let channel = Endpoint::from_shared(endpoint.clone()).unwrap().connect_lazy();
        let asked = GetPluginCapabilitiesRequest {};
        let can = IdentityClient::new(channel).get_plugin_capabilities(asked).await.unwrap().into_inner();
        let constrained = PluginCapability {
            r#type: Some(Type::Service(plugin_capability::Service {
                r#type: ServiceType::VolumeAccessibilityConstraints.into(),
            })),
        };
        assert!(can.capabilities.contains(&constrained), "{can:?}");
        let controller = || caller.controller.clone();
        for name in ["there", "here"] {
            let made = controller().create_volume(wanted(name, &[name])).await.unwrap().into_inner();
            assert_eq!(made.volume.unwrap().accessible_topology, [zone(name)]);
        }
        let mut nowhere = wanted("nowhere", &["nowhere"]);
        nowhere.parameters.insert("storagePools".to_owned(), "here:.*;there:.*".to_owned());
        let nowhere = controller().create_volume(nowhere).await.unwrap_err();
        assert_eq!(nowhere.code(), Code::ResourceExhausted, "{nowhere}");
        assert!(nowhere.message().contains("cannot be reached from the topology"), "{nowhere}");
        let listed = controller().list_volumes(ListVolumesRequest::default()).await.unwrap().into_inner();
        let shown: Vec<Topology> =
            listed.entries.into_iter().flat_map(|entry| entry.volume.unwrap().accessible_topology).collect();
        assert_eq!(shown, [zone("here"), zone("there")]);
        let room = async |name: &str| {
            let parameters = [("storagePools".to_owned(), "here:.*".to_owned())].into();
            let accessible_topology = Some(zone(name));
            let asked =
                GetCapacityRequest { parameters, accessible_topology, ..GetCapacityRequest::default() };
            controller().get_capacity(asked).await.unwrap().into_inner().available_capacity
        };
        assert!(room("here").await > 0);
        assert_eq!(room("there").await, 0);
        for name in ["here", "there"] {
            caller.delete(name).await;
        }
    });
    rig.stop();
}
