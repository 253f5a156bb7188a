"""Ask a language model behind any OpenAI-compatible endpoint for one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.model import Context
from integrations.openai.settings import OpenAIOptions

if TYPE_CHECKING:
    from integrations.openai.client import OpenAI


class OpenAISettings(OpenAIOptions):
    """A model behind an OpenAI-compatible endpoint: vLLM, llama.cpp, Ollama, OpenAI and others."""

    def build(self, context: Context) -> OpenAI:
        # Only what is built needs its client.
        from integrations.openai.client import OpenAI

        return OpenAI(self, context.telemetry, context.clock)
