"""Turn texts into vectors with a sentence-transformers model, on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from exporter.model import Embedder, EmbedderSettings, PermanentError, Unit

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BATCH = 16


class SentenceTransformersSettings(EmbedderSettings):
    """A model that finds what means the same in other words. Needs the extra `embeddings` (torch)."""

    type: Literal["sentence_transformers"]
    model: str = Field(default=DEFAULT_MODEL, min_length=1)
    """A directory, or a name on the hub, which is downloaded at first use unless HF_HUB_OFFLINE=1."""
    revision: str | None = None
    """Commit of the model on the hub; without one, the newest is taken."""
    device: str = "cpu"
    """Where the model runs, as PyTorch names it: `cpu`, `cuda`, `mps`."""
    threads: Annotated[int, Unit("threads")] = Field(default=2, ge=1, le=64)
    """Processor threads that the model may take from the rest of the product."""

    def build(self) -> Embedder:
        return SentenceTransformersEmbedder(self)


class SentenceTransformersEmbedder:
    """An `Embedder`. The model is loaded when it is first needed, by the thread that embeds."""

    def __init__(self, settings: SentenceTransformersSettings) -> None:
        self._settings = settings
        self._loaded: Any = None
        self._lock = threading.Lock()
        self.model = identity(settings)
        self.dimensions = 0
        """Known once the model is loaded, that is after the first `embed`."""

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        vectors = self._model().encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return [[float(value) for value in vector] for vector in vectors]

    def _model(self) -> Any:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self._settings)
                self.dimensions = _dimensions(self._loaded)
            return self._loaded


def _load(settings: SentenceTransformersSettings) -> Any:
    # Both of them warn, or even dead-lock, when threads meet forked processes.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise PermanentError(
            f"embedder sentence_transformers: {error}; install log-anomaly-exporter[embeddings], or use type: hashing"
        ) from error
    torch.set_num_threads(settings.threads)
    transformers_logging.disable_progress_bar()
    local = Path(settings.model).is_dir()
    try:
        return SentenceTransformer(
            settings.model,
            revision=None if local else settings.revision,
            device=settings.device,
            # A model may bring code; none of it is run.
            trust_remote_code=False,
            local_files_only=local or os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "yes", "on"),
        )
    except Exception as error:
        # The libraries raise nearly anything for a model that is absent or broken.
        raise PermanentError(
            f"embedder sentence_transformers: cannot load {settings.model} ({type(error).__name__}); give the path of "
            "a directory with the model, or let this machine reach the hub"
        ) from error


def identity(settings: SentenceTransformersSettings) -> str:
    """The model's name and revision; of a directory its name and what its files say, for its path says little."""
    path = Path(settings.model)
    if not path.is_dir():
        return f"{settings.model}@{settings.revision}" if settings.revision else settings.model
    files = sorted(file for file in path.rglob("*") if file.is_file())
    parts = [f"{file.relative_to(path)} {file.stat().st_size}" for file in files]
    parts += [file.read_text(errors="replace") for file in files if file.name == "config.json"]
    return f"{path.name}@{blake2b(chr(10).join(parts).encode(), digest_size=6).hexdigest()}"


def _dimensions(model: Any) -> int:
    # Its name changed in version 5.
    ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    return int(ask())
