"""The state file as a whole: copy it, look whether it is whole, put a copy back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from exporter.config import Config
from exporter.state.copies import back_up, look, restore
from exporter.wording.text import number, one_line


def back_up_state(config: Config, target: Path) -> int:
    """Also while the daemon runs."""
    size = back_up(config.state, target)
    print(f"{config.state} is copied to {target} ({number(size)} bytes)")
    return 0


def check_state(config: Config, form: str) -> int:
    """3 when something is wrong with it."""
    found = look(config.state)
    if form == "json":
        print(json.dumps(asdict(found), ensure_ascii=False))
        return 3 if found.wrong else 0
    rows = ", ".join(f"{number(count)} {table}" for table, count in found.rows.items() if count)
    print(f"{config.state}: version {found.version}, {number(found.size)} bytes: {rows or 'no rows'}")
    for text in found.wrong:
        print(f"  {one_line(text)}")
    print("something is wrong with it" if found.wrong else "it is whole")
    return 3 if found.wrong else 0


def restore_state(config: Config, copy: Path) -> int:
    """Only while no daemon runs."""
    kept = restore(config.state, copy)
    print(f"{copy} is the state file {config.state} now" + (f"; what was there is {kept}" if kept else ""))
    return 0
