"""Which service an alert is of, as its labels say: not the exporter that measured it, nor what discovered that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from exporter.reading.peeling import service_of

_NAMED = ("service", "service_name", "app", "app_kubernetes_io_name", "application", "component")
_WORKLOADS = ("deployment", "statefulset", "daemonset", "workload", "cronjob", "replicaset", "created_by_name")
_LONGEST = 200

# What tells of others: a label that names it names no service of theirs.
_MEASURES_OTHERS = re.compile(
    r"(?i)kube-state-metrics|(?:^|[-_/])(?:node|[a-z0-9]+)[-_]exporter(?:$|[-_])|[a-z]exporter$|cadvisor|kubelet|blackbox|"
    r"pushgateway|alertmanager|(?:^|[-_/])prometheus(?:$|[-_/])|^probe|^kubernetes(?:-|$)|^integrations/|^monitoring$|"
    r"serviceMonitor/|podMonitor/|federate|scrape"
)

_OF_A_JOB = re.compile(r"-[0-9]{8,10}(?:-[a-z0-9]{5})?$|-[a-z0-9]{5}$")
_OF_A_SET = re.compile(r"-[0-9a-f]{8,10}$")


def owner_of(labels: Mapping[str, str]) -> str:
    """The service that an alert is of; nothing where its labels say none.

    >>> owner_of({"service": "kps-kube-state-metrics", "container": "app", "pod": "cart-7d9f6c5b8-x2k4p"})
    'cart'
    >>> owner_of({"job": "node-exporter", "instance": "10.0.0.5:9100"}), owner_of({"job": "cart"})
    ('', 'cart')
    """
    return next((name[:_LONGEST] for name in _candidates(labels) if name and not _MEASURES_OTHERS.search(name)), "")


def _candidates(labels: Mapping[str, str]) -> Iterator[str]:
    """Names of a service, the surest first. Prometheus calls what a metric itself said of them `exported_…`."""
    for front in ("exported_", "", "label_"):
        yield from (labels.get(f"{front}{name}", "") for name in _NAMED)
    for front in ("exported_", ""):
        yield from (_OF_A_SET.sub("", labels.get(f"{front}{name}", "")) for name in _WORKLOADS)
        yield _OF_A_JOB.sub("", labels.get(f"{front}job_name", ""))
        pod, container = labels.get(f"{front}pod", ""), labels.get(f"{front}container", "")
        yield service_of(pod or None, container or None) or ""
        yield service_of(pod or None, None) or ""
    yield from (labels.get("exported_job", ""), labels.get("job", ""))
