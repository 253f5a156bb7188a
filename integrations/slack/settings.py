"""What exporter.yml says about Slack."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator

from exporter.model import Duration, Notification, SinkSettings, Unit
from integrations._http import HttpSettings
from integrations.slack.message import message


class SlackOptions(HttpSettings, SinkSettings):
    """What exporter.yml says of a channel."""

    type: Literal["slack"]
    name: str = "slack"
    username: str | None = None
    """Slack takes none: it is refused."""
    channel: str | None = None
    """Id of the channel, such as C0123ABC; the bot must be a member."""
    webhook_url: SecretStr | None = None
    """Address of an incoming webhook; it can neither edit nor answer, so each change that matters is a message."""
    webhook_url_file: Path | None = None
    """File that holds this address; read at each use."""
    samples: Annotated[int, Unit("lines")] = Field(default=3, ge=0, le=5)
    """Redacted log lines to show."""
    api_url: str = "https://slack.com/api"
    """Where Slack's Web API is; another one for a proxy, or GovSlack."""
    timeout: Duration = timedelta(seconds=8)

    @model_validator(mode="after")
    def _one_way(self) -> SlackOptions:
        bot, hook = bool(self.token or self.token_file), bool(self.webhook_url or self.webhook_url_file)
        if bot == hook:
            raise ValueError("give either token_file (or token) with channel, or webhook_url_file (or webhook_url)")
        if bot and not self.channel:
            raise ValueError("a bot token needs the channel to write to")
        if self.webhook_url and self.webhook_url_file:
            raise ValueError("give either webhook_url or webhook_url_file")
        if self.username:
            raise ValueError("Slack takes no username and password")
        return self

    @staticmethod
    def preview(notification: Notification) -> dict[str, Any]:
        """What would be sent, with nothing sent before."""
        return message(notification)
