"""The scheduler of jobs: each at its pace, also where the clock by which APScheduler plans is set forward or back."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

__all__ = ["EVENT_JOB_MAX_INSTANCES", "Every", "make_scheduler", "plan_for_now"]


class Every(BaseTrigger):  # type: ignore[misc]
    """At once, and then so long after it was looked: what a clock that is years ahead has left out is not counted."""

    def __init__(self, interval: timedelta) -> None:
        self.interval = interval

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        return now + self.interval if previous else now


def make_scheduler() -> AsyncIOScheduler:
    """Without jobs. A tick that finds its job running is not queued: jobs take all the work there is."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    # Of a job it can only know that it was broken off: what fails in one is told where it fails.
    logging.getLogger("apscheduler.executors").setLevel(logging.CRITICAL)
    defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    return AsyncIOScheduler(timezone="UTC", job_defaults=defaults)


def plan_for_now(scheduler: AsyncIOScheduler) -> None:
    """The clock was set: what was planned by it is hours ahead, or long past."""
    for job in scheduler.get_jobs():
        job.modify(next_run_time=datetime.now(UTC))
