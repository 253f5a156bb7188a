"""The views of detection: what of a source is judged, each from its own side. A new one is a file and an entry here."""

from __future__ import annotations

from exporter.detection.view import View
from exporter.detection.views.absence import Absence
from exporter.detection.views.deviations import Deviations
from exporter.detection.views.novelty import Novelty
from exporter.detection.views.sessions import Sessions
from exporter.detection.views.values import Values

VIEWS: tuple[type[View], ...] = (Deviations, Novelty, Absence, Sessions, Values)
"""In the order in which they look, and in which what they find is told."""
