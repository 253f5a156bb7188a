"""What must stand on the first screen of a phone, whatever failed; written before the page that shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.servers.browser import Browser

PHONE = (390, 844)

PARTS: Mapping[str, str] = {
    "headline": "h1",
    "impact": ".impact",
    "decisive line": ".decisive",
    "known fix": ".known",
    "actions": ".actions",
}
"""What a person reads first at night, in this order, and where it stands."""

LEAST_TARGET = 24
"""Pixels that what is touched has each way (WCAG 2.2, 2.5.8)."""

MEASURE = """
const seen = {};
for (const [name, selector] of Object.entries(PARTS)) {
  const element = document.querySelector('main ' + selector);
  if (!element) continue;
  const box = element.getBoundingClientRect();
  const targets = [...element.querySelectorAll('a.button, button')].map(e => e.getBoundingClientRect());
  seen[name] = {
    top: box.top, bottom: box.bottom, left: box.left, right: box.right, text: element.innerText.trim(),
    targets: targets.map(box => Math.min(box.width, box.height)),
  };
}
return {seen, wide: document.documentElement.scrollWidth, folded: document.querySelectorAll('main details').length};
"""


def wrong(page: Browser, url: str) -> list[str]:
    """What is not on the first screen of a page as it must be."""
    width, height = PHONE
    page.resize(width, height)
    page.open(url)
    found = page.execute(f"const PARTS = {json.dumps(dict(PARTS))}; {MEASURE}")
    said = [f"{name} is missing" for name in PARTS if name not in found["seen"]]
    below = 0.0
    for name, box in found["seen"].items():
        if not box["text"]:
            said.append(f"{name} says nothing")
        if box["top"] < below or box["bottom"] > height or box["left"] < 0 or box["right"] > width:
            said.append(f"{name} stands from {box['top']:.0f} to {box['bottom']:.0f}")
        if box["targets"] and min(box["targets"]) < LEAST_TARGET:
            said.append(f"{name} has what is too small to touch")
        below = box["top"]
    if found["wide"] > width:
        said.append(f"it is {found['wide']} wide")
    if not found["folded"]:
        said.append("nothing is folded")
    return said
