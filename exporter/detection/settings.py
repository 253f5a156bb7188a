"""What an operator may set about detection."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from exporter.model import Duration, Settings, Unit

View = Literal["presence", "share", "counts", "deviations"]


class DetectorSettings(Settings):
    """One PyOD detector and the view that it scores."""

    type: str
    """A class of PyOD by name, such as `KNN` or `IForest`, or `module:Class` that derives from PyOD's BaseDetector."""
    view: View
    """`presence` of rare templates, `share` of each template, `counts` of sessions; `deviations` of windows."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the class."""


SESSION_DETECTORS = (
    # k is 5 % of the pool, at most 300: set when the pool is known.
    DetectorSettings(type="KNN", view="presence", options={"method": "mean"}),
    DetectorSettings(type="PCA", view="share", options={"n_components": 0.9}),
    DetectorSettings(type="COPOD", view="counts"),
)
WINDOW_DETECTORS = (
    DetectorSettings(type="KNN", view="deviations", options={"n_neighbors": 20, "method": "mean"}),
    DetectorSettings(type="PCA", view="deviations", options={"n_components": 0.9}),
    DetectorSettings(type="COPOD", view="deviations"),
)


class DetectionSettings(Settings):
    """How unlike its past something must be, and what its past is."""

    history: Duration = timedelta(days=14)
    """How far back counts are remembered."""
    adopt_after: Duration = timedelta(hours=24)
    """After this long a new level is the new normal, and an entity that is gone is no longer missed."""
    known_for: Duration = timedelta(hours=24)
    """How long a service must be known before what is unusual of it is followed until it is over, and before it is
    missed by its own pauses: its first night is like nothing before it."""
    pool: Annotated[int, Unit("vectors")] = Field(default=20_000, ge=100, le=20_000)
    """Vectors that a fit sees at most, chosen by hash."""
    refit_sessions: Annotated[int, Unit("sessions")] = Field(default=500, ge=50)
    """Sessions that are learnt between two fits."""
    refit_windows: Annotated[int, Unit("windows")] = Field(default=60, ge=10)
    """Windows that are learnt between two fits."""
    min_sessions: Annotated[int, Unit("sessions")] = Field(default=200, ge=20)
    """Sessions before the first session may be called anomalous."""
    min_windows: Annotated[int, Unit("windows")] = Field(default=100, ge=5)
    """Windows of all services together before the first may be called anomalous."""
    min_service_windows: Annotated[int, Unit("windows")] = Field(default=10, ge=1)
    """Windows of a service before one of its own may be called anomalous."""
    min_present_windows: Annotated[int, Unit("windows")] = Field(default=30, ge=5)
    """Windows of a service before it may be missed."""
    window_score: Annotated[float, Unit("score")] = Field(default=0.999, gt=0.5, lt=1)
    """Score from which a window is an anomaly; what becomes an incident is decided by `alarm_budget`."""
    max_entities: Annotated[int, Unit("services")] = Field(default=5_000, ge=1)
    """Services that are judged, in the order in which they came."""
    max_sessions: Annotated[int, Unit("sessions")] = Field(default=100_000, ge=100)
    """Sessions that are open at the same time."""
    sessions: tuple[DetectorSettings, ...] = SESSION_DETECTORS
    """What judges sessions; their scores are combined."""
    windows: tuple[DetectorSettings, ...] = WINDOW_DETECTORS
    """What judges windows; their scores are combined."""
