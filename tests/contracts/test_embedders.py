"""What every embedder owes, over the hashing one and a real model."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.memory.embedding import HashingEmbedder, HashingSettings, normalise, words
from exporter.memory.likeness import UNLIKE
from exporter.model import Embedder, PermanentError
from integrations.sentence_transformers import SentenceTransformersSettings, identity


@pytest.fixture(scope="session")
def transformer(embedding_model: str) -> Embedder:
    settings = SentenceTransformersSettings(type="sentence_transformers", model=embedding_model)
    return settings.build()


@pytest.fixture(params=["hashing", "sentence_transformers"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "hashing":
        return HashingSettings().build()
    built: Embedder = request.getfixturevalue("transformer")
    return built


def similarity(embedder: Embedder, a: str, b: str) -> float:
    first, second = embedder.embed([a, b])
    return float(np.dot(first, second))


def test_every_text_gets_a_unit_vector(embedder: Embedder) -> None:
    texts = [
        "connection refused",
        "",
        "   ",
        "12345",
        "<*> <*>",
        "long " * 5_000,
        "\x00\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
        "日本語のログ",
    ]
    vectors = np.asarray(embedder.embed(texts))
    assert vectors.shape == (len(texts), embedder.dimensions)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-3)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert list(embedder.embed([])) == []


def test_the_same_text_gets_the_same_vector_whatever_stands_beside_it(embedder: Embedder) -> None:
    alone = embedder.embed(["connection refused"])[0]
    among = embedder.embed(["a much longer text about something else entirely", "connection refused"])[1]
    assert np.dot(alone, among) == pytest.approx(1.0, abs=1e-4)


def test_what_is_alike_is_nearer_than_what_is_not(embedder: Embedder) -> None:
    text = "payments\ncould not connect to database: connection refused\nconnection pool exhausted"
    alike = "payments\nconnection to database refused\npool of connections exhausted"
    other = "catalog\nreindexing finished\nthumbnail rendered"
    assert similarity(embedder, text, alike) > UNLIKE > similarity(embedder, text, other)


def test_the_model_has_a_name_of_its_own(embedder: Embedder) -> None:
    assert embedder.model
    assert HashingEmbedder(256).model != HashingEmbedder(512).model


@given(st.text(max_size=200))
def test_no_text_has_a_zero_vector(text: str) -> None:
    vector = np.asarray(HashingEmbedder().embed([text])[0])
    assert np.linalg.norm(vector) == pytest.approx(1.0)


def test_hashes_are_the_same_in_every_process() -> None:
    code = "from exporter.memory.embedding import HashingEmbedder as H; print(H().embed(['connection refused'])[0])"
    run = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    assert all(a.stdout == b.stdout for a, b in pairwise(run))
    assert str(HashingEmbedder().embed(["connection refused"])[0]) == run[0].stdout.strip()


def test_what_differs_from_time_to_time_is_left_out() -> None:
    first = "order 4711 of <email:3fa9c1> failed in 12ms, request 4bf92f3577b34da6a3ce929d0e0e4736 at 0x7f"
    second = "order 12 of <email:aaaaaa> failed in 9ms, request 00000f3577b34da6a3ce929d0e0e4711 at 0x1"
    assert normalise(first) == normalise(second) == "order of failed in ms, request at"


def test_compound_words_are_found_by_their_parts() -> None:
    assert {"connection", "timeout", "exception"} <= set(words("ConnectionTimeoutException"))


def test_a_model_that_is_not_there_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = SentenceTransformersSettings(type="sentence_transformers", model=str(tmp_path / "absent"))
    with pytest.raises(PermanentError, match="give the path of a directory"):
        settings.build().embed(["text"])


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    settings = SentenceTransformersSettings(type="sentence_transformers")
    with pytest.raises(PermanentError, match=r"log-anomaly-exporter\[embeddings\]"):
        settings.build().embed(["text"])


def test_a_directory_is_known_by_what_it_holds_and_not_by_where_it_is(tmp_path: Path) -> None:
    def model(place: str, size: int) -> str:
        directory = tmp_path / place / "model"
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(f'{{"hidden_size": {size}}}')
        return identity(SentenceTransformersSettings(type="sentence_transformers", model=str(directory)))

    assert model("a", 384) == model("b", 384) != model("c", 385)
    hub = SentenceTransformersSettings(type="sentence_transformers", model="org/name", revision="abc")
    assert identity(hub) == "org/name@abc"
