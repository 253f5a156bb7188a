"""An alert is of the service that its labels speak of, not of what measured that."""

from __future__ import annotations

import pytest

from exporter.reading.owners import owner_of

KSM = {
    "job": "kube-state-metrics",
    "instance": "10.0.0.9:8080",
    "namespace": "shop",
    "service": "kps-kube-state-metrics",
}


@pytest.mark.parametrize(
    ("labels", "service"),
    [
        ({"service": "cart"}, "cart"),
        ({"job": "cart", "instance": "10.0.0.5:8080"}, "cart"),
        ({**KSM, "pod": "cart-7d9f6c5b8-x2k4p", "container": "cart"}, "cart"),
        ({**KSM, "pod": "cart-7d9f6c5b8-x2k4p"}, "cart"),
        ({**KSM, "pod": "db-0", "container": "postgres"}, "postgres"),
        ({**KSM, "deployment": "ledger"}, "ledger"),
        ({**KSM, "statefulset": "db"}, "db"),
        ({**KSM, "daemonset": "fluent-bit"}, "fluent-bit"),
        ({**KSM, "replicaset": "cart-7d9f6c5b8"}, "cart"),
        ({**KSM, "job_name": "backup-28391040"}, "backup"),
        ({**KSM, "job_name": "nightly-x7k2p", "container": "kube-state-metrics"}, "nightly"),
        ({**KSM, "exported_pod": "pay-5d4f6c7b8-abcde", "pod": "kps-kube-state-metrics-6f7d8c9b5-zzzzz"}, "pay"),
        ({**KSM, "namespace": "shop", "resource": "cpu"}, ""),
        ({"job": "node-exporter", "instance": "10.0.0.5:9100", "pod": "node-exporter-x7k2p"}, ""),
        ({"job": "integrations/node_exporter", "instance": "web-1"}, ""),
        ({"job": "kubelet", "metrics_path": "/metrics/cadvisor", "pod": "cart-7d9f6c5b8-x2k4p"}, "cart"),
        ({"job": "blackbox", "instance": "https://shop.test"}, ""),
        ({"job": "mysqld-exporter", "service": "orders-db"}, "orders-db"),
        ({"job": "kubernetes-pods", "app": "mail"}, "mail"),
        ({"app_kubernetes_io_name": "search", "job": "monitoring/search"}, "search"),
        ({"alertname": "DatasourceNoData", "rulename": "Checkout"}, ""),
    ],
)  # fmt: skip
def test_an_alert_is_of_what_its_labels_speak_of(labels: dict[str, str], service: str) -> None:
    assert owner_of(labels) == service
