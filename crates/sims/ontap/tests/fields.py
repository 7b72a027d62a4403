"""Writes the fields that ONTAP's resources have, as the vendor's Python client netapp-ontap knows them.

Run with the interpreter of an environment that has netapp-ontap 9.19.1: `python fields.py OUTPUT_FOLDER`.
A line is `path kind uses`: kind is one of object, text, number, flag, time, any, each with `[]` when it is a list;
uses is any of `e` (expensive: shown only when asked for by name), `c` (may be given when the object is created) and `m` (may be modified).
"""

import re
import sys
from pathlib import Path

from marshmallow import fields as kinds
from netapp_ontap import resources

DEPTH = 5
# Where one resource refers to another, these of its fields are part of the reference.
REFERENCE = {"name", "uuid", "id", "ip", "address", "path", "serial_number", "state"}
# Resources that are given whole inside of another.
WHOLE = {"rules", "clients", "initiators", "hosts", "copies", "volumes", "luns", "namespaces"}
RESOURCES = {
    "aggregate": "Aggregate",
    "cluster": "Cluster",
    "cluster_peer": "ClusterPeer",
    "consistency_group": "ConsistencyGroup",
    "consistency_group_snapshot": "ConsistencyGroupSnapshot",
    "ems_application_log": "EmsApplicationLog",
    "ems_event": "EmsEvent",
    "export_client": "ExportClient",
    "export_policy": "ExportPolicy",
    "export_rule": "ExportRule",
    "fcp_service": "FcpService",
    "igroup": "Igroup",
    "igroup_initiator": "IgroupInitiator",
    "interface": "IpInterface",
    "iscsi_credentials": "IscsiCredentials",
    "iscsi_service": "IscsiService",
    "job": "Job",
    "licence": "LicensePackage",
    "lun": "Lun",
    "lun_attribute": "LunAttribute",
    "lun_map": "LunMap",
    "lun_map_reporting_node": "LunMapReportingNode",
    "nfs_service": "NfsService",
    "node": "Node",
    "nvme_host": "NvmeSubsystemHost",
    "nvme_map": "NvmeSubsystemMap",
    "nvme_namespace": "NvmeNamespace",
    "nvme_service": "NvmeService",
    "nvme_subsystem": "NvmeSubsystem",
    "qos_policy": "QosPolicy",
    "qtree": "Qtree",
    "quota_report": "QuotaReport",
    "quota_rule": "QuotaRule",
    "schedule": "Schedule",
    "snapmirror_policy": "SnapmirrorPolicy",
    "snapmirror_relationship": "SnapmirrorRelationship",
    "snapmirror_transfer": "SnapmirrorTransfer",
    "snapshot": "Snapshot",
    "snapshot_policy": "SnapshotPolicy",
    "storage_unit": "StorageUnit",
    "storage_unit_snapshot": "StorageUnitSnapshot",
    "svm": "Svm",
    "svm_peer": "SvmPeer",
    "volume": "Volume",
}
# What no client of ours reads and what fills thousands of lines.
LEFT_OUT = {
    "metric", "statistics", "analytics", "anti_ransomware", "snaplock", "_tags",
    "copy", "cloud", "cache", "vvol", "rebalancing", "activity_tracking",
}


def kind_of(field):
    if isinstance(field, kinds.List):
        kind, schema = kind_of(field.inner)
        return kind + "[]", schema
    if isinstance(field, kinds.Nested) or hasattr(field, "schema"):
        return "object", field.schema
    if isinstance(field, kinds.Boolean):
        return "flag", None
    if isinstance(field, kinds.Number) or type(field).__name__ == "Size":
        return "number", None
    if isinstance(field, kinds.DateTime):
        return "time", None
    if isinstance(field, kinds.String):
        return "text", None
    return "any", None


def expensive_fields(resource):
    """What the client's own description says is left out unless it is asked for."""
    described = getattr(resource, "get_collection", None) or getattr(resource, "get", None)
    text = described.__doc__ or ""
    _, found, rest = text.partition("### Expensive properties")
    if not found:
        return set()
    return set(re.findall(r"^\* `([^`]+)`", rest.split("###")[0], re.MULTILINE))


def is_expensive(path, expensive):
    return any(path == name or (name.endswith(".*") and path.startswith(name[:-1])) for name in expensive)


def walk(schema, prefix, above, postable, patchable, expensive, lines, referred=False):
    for name, field in sorted(schema.fields.items()):
        name = field.data_key or name
        if name in LEFT_OUT or (referred and name not in REFERENCE | {"_links"}):
            continue
        path = prefix + name
        if name == "_links":
            lines.append((path, "links", ""))
            continue
        kind, nested = kind_of(field)
        uses = ("e" if is_expensive(path, expensive) else "") + ("c" if path in postable else "") + ("m" if path in patchable else "")
        lines.append((path, kind, uses))
        other = nested is not None and ".resources." in type(nested).__module__ and name not in WHOLE
        if nested is not None and (other or type(nested) not in above) and path.count(".") < DEPTH:
            walk(nested, path + ".", above | {type(nested)}, postable, patchable, expensive, lines, other)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for short, name in RESOURCES.items():
        resource = getattr(resources, name)
        schema = resource._schema()
        lines = []
        expensive = expensive_fields(resource)
        walk(schema, "", {type(schema)}, set(schema.postable_fields), set(schema.patchable_fields), expensive, lines)
        text = "".join(" ".join(part for part in line if part) + "\n" for line in lines)
        (folder / f"{short}.txt").write_text(text)


main(Path(sys.argv[1]))
