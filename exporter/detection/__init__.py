"""Say which entity is anomalous, how sure that is, and why: trained on recent history that nobody cleaned."""

from exporter.detection.detector import Detection, Detector
from exporter.detection.localisation import localise
from exporter.detection.rows import TABLES
from exporter.detection.settings import DetectionSettings, DetectorSettings

__all__ = ["TABLES", "Detection", "DetectionSettings", "Detector", "DetectorSettings", "localise"]
