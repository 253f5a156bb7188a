"""Say which entity is anomalous, how sure that is, and why: trained on recent history that nobody cleaned."""

from exporter.detection.detector import Detector, tables
from exporter.detection.localisation import localise
from exporter.detection.settings import DetectionSettings, DetectorSettings
from exporter.detection.view import Detection

__all__ = ["Detection", "DetectionSettings", "Detector", "DetectorSettings", "localise", "tables"]
