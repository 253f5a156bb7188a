"""Anomalies become incidents that open, continue, resolve and reopen."""
