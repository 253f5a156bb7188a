"""Tell incidents in Slack: with a bot token one message each, edited and answered in its thread; else a webhook."""

from integrations.slack.settings import SlackSettings

__all__ = ["SlackSettings"]
