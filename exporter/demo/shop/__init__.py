"""A shop of services that logs, and sometimes fails: for the demo, for tests, and to measure detection."""

from exporter.demo.shop.failures import KINDS, Failure
from exporter.demo.shop.shop import DEMO_FIX, Release, Shop, all_failures, demo_shop, live_shop
from exporter.demo.shop.source import SimulatedSource, SimulatorSettings
from exporter.demo.shop.writers import BulkWriter, FileWriter, documents, simulate_to, text_lines

__all__ = [
    "DEMO_FIX",
    "KINDS",
    "BulkWriter",
    "Failure",
    "FileWriter",
    "Release",
    "Shop",
    "SimulatedSource",
    "SimulatorSettings",
    "all_failures",
    "demo_shop",
    "documents",
    "live_shop",
    "simulate_to",
    "text_lines",
]
