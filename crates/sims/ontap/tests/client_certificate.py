"""Reads the cluster with a client certificate: `python client_certificate.py HOST:PORT CERTIFICATE KEY`."""

import sys

import urllib3
from netapp_ontap.host_connection import HostConnection
from netapp_ontap.resources import Cluster

urllib3.disable_warnings()
host, port = sys.argv[1].split(":")
with HostConnection(host, port=int(port), cert=sys.argv[2], key=sys.argv[3], verify=False):
    cluster = Cluster()
    cluster.get()
    print(cluster.name)
