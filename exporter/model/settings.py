"""What all settings have in common."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr

from exporter.model.errors import ConfigError


class Settings(BaseModel):
    """Base of every piece of exporter.yml: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def read_secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret given inline or in a file; files are read at each use, for orchestrators rotate them.

    Raises ConfigError when the file cannot be read.
    """
    if file is None:
        return value.get_secret_value() if value else None
    try:
        return file.read_text().strip()
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise ConfigError(f"secret file {file}: {reason}; make it readable by this process") from error
