"""The vendor's own client, strict about every answer, against the simulator: `python netapp_client.py URL PASSWORD`.

Ends with `all N steps passed`; the first surprise ends it with a traceback.
"""

import sys
from urllib.parse import urlparse

import urllib3
from netapp_ontap import config
from netapp_ontap.error import NetAppRestError
from netapp_ontap.host_connection import HostConnection
from netapp_ontap.resources import (
    Aggregate,
    Cluster,
    ConsistencyGroup,
    ConsistencyGroupSnapshot,
    EmsApplicationLog,
    ExportClient,
    ExportPolicy,
    ExportRule,
    Igroup,
    IgroupInitiator,
    IpInterface,
    IscsiCredentials,
    IscsiService,
    Job,
    LicensePackage,
    Lun,
    LunAttribute,
    LunMap,
    LunMapReportingNode,
    NfsService,
    Node,
    NvmeNamespace,
    NvmeService,
    NvmeSubsystem,
    NvmeSubsystemHost,
    NvmeSubsystemMap,
    QosPolicy,
    Qtree,
    QuotaReport,
    QuotaRule,
    Schedule,
    SnapmirrorPolicy,
    SnapmirrorRelationship,
    SnapmirrorTransfer,
    Snapshot,
    SnapshotPolicy,
    Svm,
    SvmPeer,
    Volume,
)

MIB = 1 << 20
SVM = {"name": "svm1"}
STEPS = []


def step(function):
    STEPS.append(function)
    return function


def refused(code, action):
    try:
        action()
    except NetAppRestError as error:
        assert str(error.http_err_response.http_response.json()["error"]["code"]) == str(code), error
        return
    raise AssertionError(f"nothing was refused; {code} was expected")


def volume(name, mib=100, **more):
    made = Volume(
        name=name, svm=SVM, aggregates=[{"name": "aggr1"}], size=mib * MIB, guarantee={"type": "none"}, **more
    )
    made.post(hydrate=True)
    return made


def gone(made, **query):
    # What `fields=*` leaves out must be asked for by name.
    now = Volume(uuid=made.uuid)
    now.get(fields="nas.path")
    if now.to_dict().get("nas", {}).get("path"):
        unmounted = Volume(uuid=made.uuid)
        unmounted.nas = {"path": ""}
        unmounted.patch()
    made.delete(**query)


@step
def equipment_is_read():
    cluster = Cluster()
    cluster.get()
    assert cluster.version.generation == 9
    assert len(list(Node.get_collection(fields="serial_number"))) == 2
    assert {own.name for own in Aggregate.get_collection(fields="**")} == {"aggr1", "aggr2"}
    assert {own.name for own in LicensePackage.get_collection()} >= {"nfs", "iscsi"}
    svm = Svm.find(name="svm1", fields="**")
    svm.get(fields="**")
    assert svm.state == "running" and len(svm.aggregates) == 2
    found = list(IpInterface.get_collection(**{"services": "data_nfs", "svm.uuid": svm.uuid, "fields": "ip.address,state"}))
    assert found and all(own.state == "up" for own in found)
    assert {own.name for own in SnapshotPolicy.get_collection(fields="*")} >= {"none", "default"}
    assert len(list(Schedule.get_collection(fields="*"))) >= 3
    assert len(list(NfsService.get_collection(fields="**"))) == 1


@step
def a_volume_lives():
    made = volume("v1", nas={"path": "/v1", "export_policy": {"name": "default"}}, comment="first")
    assert made.size == 100 * MIB and made.state == "online"
    made.get(fields="**")
    assert made.nas.path == "/v1" and made.space.size == 100 * MIB
    made.size = 200 * MIB
    made.comment = "grown"
    made.patch(hydrate=True)
    assert (made.size, made.comment) == (200 * MIB, "grown")
    made.name = "v1_renamed"
    made.patch(hydrate=True)
    assert Volume.find(name="v1_renamed").uuid == made.uuid
    refused(1, lambda: volume("v1_renamed"))
    refused(917534, lambda: volume("small", mib=1))
    gone(made)
    assert Volume.find(name="v1_renamed") is None
    refused(917927, made.get)


@step
def snapshots_clones_and_restores():
    made = volume("base", nas={"path": "/base"})
    taken = Snapshot(made.uuid, name="s1", comment="one")
    taken.post(hydrate=True)
    assert taken.name == "s1" and taken.volume.name == "base"
    Snapshot(made.uuid, name="s2").post()
    assert [own.name for own in Snapshot.get_collection(made.uuid, fields="**")] == ["s1", "s2"]
    child = Volume(
        name="child",
        svm=SVM,
        clone={"is_flexclone": True, "parent_volume": {"name": "base"}, "parent_snapshot": {"name": "s1"}},
    )
    child.post(hydrate=True)
    child.get(fields="clone")
    assert child.clone.is_flexclone and child.clone.parent_volume.name == "base"
    refused(1638555, taken.delete)
    child.clone = {"split_initiated": True}
    child.patch()
    child.get(fields="clone")
    assert not child.clone.is_flexclone
    back = Volume(uuid=made.uuid)
    back.patch(**{"restore_to.snapshot.name": "s1"})
    assert [own.name for own in Snapshot.get_collection(made.uuid)] == ["s1"]
    taken.delete()
    gone(child, force=True)
    gone(made, force=True)


@step
def a_flexgroup_lives():
    made = Volume(
        name="fg", svm=SVM, style="flexgroup", size=1600 * MIB, guarantee={"type": "none"},
        aggregates=[{"name": "aggr1"}, {"name": "aggr2"}], constituents_per_aggregate=4, nas={"path": "/fg"},
    )
    made.post(hydrate=True)
    assert made.style == "flexgroup"
    made.size = 2000 * MIB
    made.patch()
    gone(made)


@step
def qtrees_and_quotas():
    made = volume("pool", nas={"path": "/pool"})
    qtree = Qtree(name="q1", volume={"name": "pool"}, svm=SVM, security_style="unix", unix_permissions=755)
    qtree.post(hydrate=True)
    assert qtree.id == 1
    qtree.get(fields="**")
    assert qtree.path == "/pool/q1"
    default = QuotaRule(volume={"name": "pool"}, svm=SVM, type="tree", qtree={"name": ""}, space={"hard_limit": 0})
    default.post(hydrate=True)
    made.quota = {"enabled": True}
    made.patch()
    rule = QuotaRule(volume={"name": "pool"}, svm=SVM, type="tree", qtree={"name": "q1"}, space={"hard_limit": 10 * MIB})
    rule.post(hydrate=True)
    rule.space.hard_limit = 20 * MIB
    rule.patch(hydrate=True)
    assert rule.space.hard_limit == 20 * MIB
    reports = list(QuotaReport.get_collection(fields="**", **{"volume.name": "pool"}))
    assert any(own.to_dict().get("space", {}).get("hard_limit") == 20 * MIB for own in reports)
    qtree.name = "q1_renamed"
    qtree.patch(hydrate=True)
    assert list(QuotaRule.get_collection(**{"qtree.name": "q1_renamed", "fields": "**"}))
    qtree.delete()
    assert not list(QuotaRule.get_collection(**{"qtree.name": "q1_renamed"}))
    made.get(fields="quota")
    assert made.quota.state == "on"
    gone(made)


@step
def export_policies_and_rules():
    policy = ExportPolicy(name="p1", svm=SVM)
    policy.post(hydrate=True)
    for client in ["10.0.0.1", "10.0.0.2"]:
        rule = ExportRule(
            policy.id, clients=[{"match": client}], protocols=["nfs"], ro_rule=["any"], rw_rule=["any"], superuser=["any"]
        )
        rule.post(hydrate=True)
    assert rule.index == 2
    refused(1704070, lambda: ExportRule(
        policy.id, clients=[{"match": "10.0.0.1"}], protocols=["nfs"], ro_rule=["any"], rw_rule=["any"]
    ).post())
    rule.rw_rule = ["never"]
    rule.patch(hydrate=True)
    ExportClient(policy.id, rule.index, match="10.0.0.3").post()
    rule.get()
    assert [own.match for own in rule.clients] == ["10.0.0.2", "10.0.0.3"]
    made = volume("exported", nas={"path": "/exported", "export_policy": {"name": "p1"}})
    refused(1703945, policy.delete)
    rule.delete()
    assert len(list(ExportRule.get_collection(policy.id, fields="**"))) == 1
    policy.get(fields="**")
    assert len(policy.rules) == 1
    gone(made)
    policy.delete()


@step
def luns_igroups_and_maps():
    made = volume("blocks", mib=500)
    lun = Lun(name="/vol/blocks/lun0", svm=SVM, os_type="linux", space={"size": 100 * MIB}, comment="mine")
    lun.post(hydrate=True)
    lun.get(fields="**")
    assert len(lun.serial_number) == 12 and lun.location.volume.name == "blocks"
    refused(5374242, lambda: Lun(name="/vol/blocks/lun0", svm=SVM, os_type="linux", space={"size": 100 * MIB}).post())
    lun.space.size = 200 * MIB
    lun.patch(hydrate=True)
    assert lun.space.size == 200 * MIB
    shrunk = Lun(uuid=lun.uuid)
    shrunk.space = {"size": 100 * MIB}
    refused(5374892, shrunk.patch)
    LunAttribute(lun.uuid, name="fstype", value="ext4").post()
    note = LunAttribute(lun.uuid, name="fstype")
    note.get()
    note.value = "xfs"
    note.patch()
    note.get()
    assert note.value == "xfs"
    igroup = Igroup(name="node1", svm=SVM, os_type="linux", protocol="iscsi")
    igroup.post(hydrate=True)
    IgroupInitiator(igroup.uuid, name="iqn.1994-05.com.redhat:node1").post()
    refused(5374035, IgroupInitiator(igroup.uuid, name="iqn.1994-05.com.redhat:node1").post)
    refused(5374023, Igroup(name="node1", svm=SVM, os_type="linux", protocol="iscsi").post)
    mapped = LunMap(svm=SVM, lun={"name": "/vol/blocks/lun0"}, igroup={"name": "node1"})
    mapped.post(hydrate=True)
    assert mapped.logical_unit_number == 0
    refused(5374922, LunMap(svm=SVM, lun={"name": "/vol/blocks/lun0"}, igroup={"name": "node1"}).post)
    nodes = list(LunMapReportingNode.get_collection(lun.uuid, igroup.uuid, fields="*"))
    assert len(nodes) == 2
    nodes[1].delete()
    refused(1254197, lun.delete)
    refused(1254213, igroup.delete)
    shown = Lun.find(name="/vol/blocks/lun0", fields="lun_maps,status")
    assert shown.status.mapped and shown.lun_maps[0].igroup.name == "node1"
    child = Lun(name="/vol/blocks/lun1", svm=SVM, clone={"source": {"name": "/vol/blocks/lun0"}})
    child.post(hydrate=True)
    assert child.space.size == 200 * MIB
    child.name = "/vol/blocks/lun2"
    child.patch(hydrate=True)
    mapped.delete()
    IgroupInitiator(igroup.uuid, name="iqn.1994-05.com.redhat:node1").delete()
    igroup.delete()
    lun.delete()
    child.delete()
    service = next(iter(IscsiService.get_collection(fields="**")))
    assert service.target.name.startswith("iqn.")
    credentials = next(iter(IscsiCredentials.get_collection(fields="**", initiator="default")))
    credentials.authentication_type = "chap"
    credentials.chap = {"inbound": {"user": "in", "password": "secretsecret"}}
    credentials.patch()
    credentials.get()
    assert credentials.chap.inbound.user == "in"
    gone(made)


@step
def nvme_lives():
    made = volume("fast", mib=500)
    assert len(list(NvmeService.get_collection(fields="**"))) == 1
    namespace = NvmeNamespace(name="/vol/fast/ns0", svm=SVM, os_type="linux", space={"size": 100 * MIB, "block_size": 4096})
    namespace.post(hydrate=True)
    namespace.get(fields="**")
    namespace.space.size = 200 * MIB
    namespace.comment = "grown"
    namespace.patch(hydrate=True)
    assert namespace.space.size == 200 * MIB
    subsystem = NvmeSubsystem(name="sub1", svm=SVM, os_type="linux", comment="ours")
    subsystem.post(hydrate=True)
    assert subsystem.target_nqn.endswith("sub1")
    refused(72090025, NvmeSubsystem(name="sub1", svm=SVM, os_type="linux").post)
    nqn = "nqn.2014-08.org.nvmexpress:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    NvmeSubsystemHost(subsystem.uuid, nqn=nqn).post()
    assert [own.nqn for own in NvmeSubsystemHost.get_collection(subsystem.uuid, fields="*")] == [nqn]
    mapped = NvmeSubsystemMap(svm=SVM, subsystem={"name": "sub1"}, namespace={"name": "/vol/fast/ns0"})
    mapped.post(hydrate=True)
    assert mapped.nsid == "00000001h"
    refused(72090016, namespace.delete)
    refused(72090017, subsystem.delete)
    mapped.delete()
    NvmeSubsystemHost(subsystem.uuid, nqn=nqn).delete()
    namespace.delete()
    subsystem.delete()
    gone(made)


@step
def quality_of_service():
    fixed = QosPolicy(name="gold", svm=SVM, fixed={"max_throughput_iops": 1000})
    fixed.post(hydrate=True)
    adaptive = QosPolicy(name="silver", svm=SVM, adaptive={"expected_iops": 100, "peak_iops": 500})
    adaptive.post(hydrate=True)
    refused(8454154, QosPolicy(name="gold", svm=SVM, fixed={"max_throughput_iops": 1}).post)
    made = volume("limited", qos={"policy": {"name": "gold"}})
    made.get(fields="qos")
    assert made.qos.policy.name == "gold"
    refused(8454147, fixed.delete)
    made.qos = {"policy": {"name": "silver"}}
    made.patch()
    fixed.fixed = {"max_throughput_iops": 2000}
    fixed.patch(hydrate=True)
    assert fixed.fixed.max_throughput_iops == 2000
    fixed.delete()
    gone(made)
    adaptive.delete()


@step
def groups_events_and_mirrors():
    first, second = volume("g1"), volume("g2")
    group = ConsistencyGroup(
        name="cg1", svm=SVM,
        volumes=[{"name": own, "provisioning_options": {"action": "add"}} for own in ("g1", "g2")],
    )
    group.post(hydrate=True)
    taken = ConsistencyGroupSnapshot(group.uuid, name="both")
    taken.post(hydrate=True)
    assert len(taken.snapshot_volumes) == 2
    assert [own.name for own in Snapshot.get_collection(first.uuid)] == ["both"]
    refused(53411921, ConsistencyGroupSnapshot(group.uuid, name="both").post)
    group.delete()
    assert [own.name for own in Snapshot.get_collection(second.uuid)] == ["both"]
    EmsApplicationLog(
        app_version="1", autosupport_required=False, category="heartbeat", computer_name="here",
        event_description="{}", event_id=1, event_source="leister", severity="notice",
    ).post()
    assert [own.name for own in SnapmirrorPolicy.get_collection(fields="type,copy_all_source_snapshots", name="Asynchronous")]
    assert list(SvmPeer.get_collection(fields="**")) == []
    target = volume("target", type="dp")
    mirror = SnapmirrorRelationship(source={"path": "svm1:g1"}, destination={"path": "svm1:target"})
    mirror.post(hydrate=True)
    assert mirror.state == "uninitialized"
    SnapmirrorTransfer(mirror.uuid).post()
    mirror.get(fields="**")
    assert mirror.state == "snapmirrored"
    assert "both" not in [own.name for own in Snapshot.get_collection(target.uuid)]
    broken = SnapmirrorRelationship(uuid=mirror.uuid)
    broken.state = "broken_off"
    broken.patch()
    mirror.delete()
    for own in (target, first, second):
        gone(own)


@step
def pages_queries_and_counts():
    made = [volume(f"many_{number:02}", mib=20 + number) for number in range(12)]
    assert len(list(Volume.get_collection(name="many_*", max_records=5, fields="size"))) == 12
    assert Volume.count_collection(name="many_*") == 12
    assert len(list(Volume.get_collection(name="many_01|many_02"))) == 2
    assert len(list(Volume.get_collection(name="many_*", size=f">{25 * MIB}"))) == 6
    assert len(list(Volume.get_collection(name="many_*", size=f"{21 * MIB}..{23 * MIB}"))) == 3
    assert len(list(Volume.get_collection(name="!many_*"))) == 1
    ordered = [own.name for own in Volume.get_collection(name="many_*", order_by="size desc", max_records=5)]
    assert ordered == sorted(ordered, reverse=True)
    refused(262179, lambda: list(Volume.get_collection(colour="red")))
    refused(262197, lambda: list(Volume.get_collection(fields="colour")))
    Volume.patch_collection({"comment": "all"}, name="many_*")
    assert Volume.count_collection(comment="all") == 12
    Volume.delete_collection(comment="all")
    assert Volume.count_collection(name="many_*") == 0
    assert all(own.state == "success" for own in Job.get_collection(fields="**", state="success"))
    assert len(made) == 12


def main(url, password):
    config.STRICT_FIELD_ACCEPTANCE = True
    config.RETRY_ON_INCOMPLETE_LOCATION = False
    where = urlparse(url)
    urllib3.disable_warnings()
    config.CONNECTION = HostConnection(
        where.hostname, username="admin", password=password, port=where.port, scheme=where.scheme, verify=False,
        poll_interval=1, poll_timeout=120,
    )
    for function in STEPS:
        function()
        print(function.__name__.replace("_", " "), flush=True)
    print(f"all {len(STEPS)} steps passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
