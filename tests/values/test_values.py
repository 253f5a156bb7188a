"""What the figures of values rest on is what it says it is."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

from tests.evaluate.published import hdfs_files, hdfs_labels, mined, sessions
from tests.values.logs import FULL, LOGS, START, make
from tests.values.pairs import words

LINES = (
    "081109 203518 143 INFO dfs.DataNode$DataXceiver: Receiving block blk_{0} src: /10.250.19.102:54106 dest: :50010",
    "081109 203519 143 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block blk_{0} terminating",
)


def test_the_same_seed_makes_the_same_logs_and_another_seed_others(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "again", "other")]
    made = []
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        folder.mkdir()
        made.append(make(folder, seed, FULL[:2], rate=0.5))
    first, again, other = ([(folder / f"{log}.log").read_text() for log in LOGS] for folder in folders)
    assert first == again != other
    assert made[0].planted == made[1].planted


def test_half_an_hour_goes_wrong_every_four_hours_after_a_day(tmp_path: Path) -> None:
    planted = make(tmp_path, 3, FULL, rate=0.5).planted
    assert planted[0].start - START > timedelta(days=1)
    assert {later.start - one.start for one, later in itertools.pairwise(planted)} == {timedelta(hours=4)}
    assert {one.end - one.start for one in planted} == {timedelta(minutes=30)}
    assert {one.fault for one in planted} == set(FULL)


def test_two_hundred_words_say_how_something_ended() -> None:
    well, badly = words()
    assert (len(well), len(badly)) == (100, 100)
    assert len({*well, *badly}) == 200


def test_loghub_is_read_as_it_is_published(tmp_path: Path) -> None:
    (tmp_path / "HDFS").mkdir()
    text = "".join(line.format(block) + "\n" for block in (11, -12, 13) for line in LINES)
    (tmp_path / "HDFS" / "HDFS.log").write_text(text)
    labels = tmp_path / "HDFS" / "anomaly_label.csv"
    labels.write_text("BlockId,Label\nblk_11,Normal\nblk_-12,Anomaly\nblk_13,Normal\n")
    assert hdfs_files(tmp_path) == (tmp_path / "HDFS" / "HDFS.log", labels)
    assert hdfs_labels(labels).sessions == {"blk_11": False, "blk_-12": True, "blk_13": False}
    assert sessions(tmp_path / "HDFS" / "HDFS.log", labels)["recall"] == 0.0
    traces = tmp_path / "Event_traces.csv"
    traces.write_text("BlockId,Label,Type,Features\nblk_11,Success,,[E5]\nblk_-12,Fail,21,[E5]\n")
    assert hdfs_labels(traces).sessions == {"blk_11": False, "blk_-12": True}


def test_structured_samples_are_mined_by_content(tmp_path: Path) -> None:
    path = tmp_path / "Apache" / "Apache_2k.log_structured.csv"
    path.parent.mkdir()
    rows = [f'{line},"child {line}, done",E1,"child <*>, done"' for line in range(5)]
    path.write_text("\n".join(["LineId,Content,EventId,EventTemplate", *rows, ""]))
    assert list(mined(tmp_path)) == [("Apache", 1.0, 1.0)]
