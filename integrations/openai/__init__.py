"""Ask a language model behind any OpenAI-compatible endpoint for one JSON object."""

from integrations.openai.settings import OpenAISettings

__all__ = ["OpenAISettings"]
