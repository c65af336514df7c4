"""Prometheus exporter for Databricks job runs."""

__version__ = "0.1.0"
