"""Tell incidents in Slack: with a bot token one message each, edited and answered in its thread; else a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.model import Context
from integrations.slack.settings import SlackOptions

if TYPE_CHECKING:
    from integrations.slack.bot import SlackBot
    from integrations.slack.webhook import SlackWebhook


class SlackSettings(SlackOptions):
    """Messages to a channel: a bot token with its channel, or an incoming webhook.

    `token` or `token_file` is the bot's (xoxb-…), with the scope chat:write; with channels:history too we find our
    messages again after a crash.
    """

    def build(self, context: Context) -> SlackBot | SlackWebhook:
        # Only what is built needs its client.
        from integrations.slack.bot import SlackBot
        from integrations.slack.webhook import SlackWebhook

        bot = self.token or self.token_file
        return SlackBot(self, context) if bot else SlackWebhook(self, context)
