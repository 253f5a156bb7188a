"""The Slack sink: one message an incident, inert text, within every limit, at Slack's pace."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from exporter.model import Context, Incident, Notification, PermanentError, TransientError
from integrations.slack import SlackSettings
from integrations.slack.bot import SlackBot
from integrations.slack.message import MAX_BLOCKS_BYTES, blocks, changes, inert, message, plain, size, state
from integrations.slack.webhook import SlackWebhook
from tests import samples
from tests.fakes.serving import serving
from tests.fakes.slack import SlackFake, message_error
from tests.servers.process import PATIENCE

PATIENT = timedelta(seconds=PATIENCE)
HASTY = timedelta(seconds=1)
"""For those that meet a server that never answers: what it does answer, it answers sooner."""


@dataclass
class Slack:
    """The fake, the clock that paces the sink, and the sink."""

    fake: SlackFake
    url: str
    clock: samples.SteppedClock
    sink: SlackBot

    async def tell(self, incident: Incident, receipt: str | None, step: float = 10, **changes: Any) -> str | None:
        """Deliver some seconds later; the receipt as the delivery table would keep it."""
        now = self.clock.step(timedelta(seconds=step))
        returned = await self.sink.deliver(samples.notification(incident, now=now, receipt=receipt, **changes))
        return returned or receipt


def bot_settings(url: str, **changes: Any) -> SlackSettings:
    options: dict[str, Any] = {
        "token": SecretStr("xoxb-fake"),
        "channel": "C0123",
        "api_url": f"{url}/api",
        "timeout": PATIENT,
    }
    return SlackSettings(type="slack", **(options | changes))


@pytest.fixture
async def slack(request: pytest.FixtureRequest) -> AsyncIterator[Slack]:
    fake, clock = SlackFake(), samples.SteppedClock()
    async with serving(fake.app()) as url:
        sink = bot_settings(url, timeout=getattr(request, "param", PATIENT)).build(Context(clock=clock))
        assert isinstance(sink, SlackBot)
        yield Slack(fake, url, clock, sink)
        await sink.close()


@dataclass
class Hook:
    fake: SlackFake
    clock: samples.SteppedClock
    sink: SlackWebhook

    async def tell(self, incident: Incident, receipt: str | None, step: float = 10) -> str | None:
        now = self.clock.step(timedelta(seconds=step))
        return await self.sink.deliver(samples.notification(incident, now=now, receipt=receipt)) or receipt


@pytest.fixture
async def hook(request: pytest.FixtureRequest) -> AsyncIterator[Hook]:
    fake, clock = SlackFake(), samples.SteppedClock()
    async with serving(fake.app()) as url:
        address = SecretStr(url + fake.webhook_path)
        settings = SlackSettings(type="slack", webhook_url=address, timeout=getattr(request, "param", PATIENT))
        sink = settings.build(Context(clock=clock))
        assert isinstance(sink, SlackWebhook)
        yield Hook(fake, clock, sink)
        await sink.close()


def texts(of: list[dict[str, Any]]) -> list[str]:
    """Every text that is rendered as Slack's markup."""
    found = []
    for block in of:
        for part in [block.get("text"), *block.get("elements", ())]:
            if part and part["type"] == "mrkdwn":
                found.append(part["text"])
    return found


# --- The pure functions --------------------------------------------------------------------------------


def test_an_incident_becomes_a_message() -> None:
    def section(text: str) -> dict[str, Any]:
        return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}

    z = "\u200b"
    assert message(samples.notification()) == {
        "text": "Critical: payments cannot reach its database; checkout and gateway fail with it\n"
        f"• new kind of line: could not connect to &lt;{z}*{z}&gt;: connection refused (184 lines, expected 0)\n"
        "• errors: errors of payments (371 lines, expected 0.8)\n"
        "• unusual…\nhttps://anomalies.example.org/incidents/3f9a1c0de47b2856",
        "blocks": [
            {
                "type": "header",
                "text": {
                    "type": "plain_text",
                    "text": "🔴 payments cannot reach its database; checkout and gateway fail with it",
                    "emoji": False,
                },
            },
            section(
                "*Critical* · most likely cause\n"
                "• payments (74%): first to change, and its errors name what the others miss\n"
                "• checkout (19%): its errors repeat what payments answered\n"
                "• gateway (7%): time-outs only, two minutes later"
            ),
            section(
                "*Observed against expected*\n"
                f"• new kind of line: could not connect to &lt;{z}*{z}&gt;: connection refused "
                "(184 lines, expected 0)\n"
                "• errors: errors of payments (371 lines, expected 0.8)\n"
                "• unusual order: charge requested → charge captured (0.04 of times, expected 0.97)\n"
                f"• silence: receipt &lt;{z}*{z}&gt; sent to &lt;{z}*{z}&gt; (0 lines, expected 38)"
            ),
            section(
                "*Seen before*\n"
                "• the same failure as on 2026-03-02: payments: connections to db-payments refused "
                "(3rd time; connection refused; 1 line in common; fixed by: raised max_connections of db-payments "
                "from 100 to 300 (ann), came back after 11 d)"
            ),
            section(
                "*What to do*\n"
                "• Check that db-payments accepts connections\n"
                "• See what fixed the similar incident of 2 March"
            ),
            section(
                "*Lines*\n```\n"
                "09:26:12 payments  could not connect to db-payments:5432: connection refused\n"
                "09:26:24 payments  pool exhausted: 50 of 50 in use\n"
                "09:27:06 checkout  order=&lt;id:5e1c&gt; charge failed: payments 503\n```"
            ),
            {
                "type": "context",
                "elements": [
                    {
                        "type": "mrkdwn",
                        "text": "<https://anomalies.example.org/incidents/3f9a1c0de47b2856|Open incident> · "
                        "<https://kibana.example.org/app/discover#/?from=2026-03-14T09:26:00Z|logs in Kibana> · "
                        "since 2026-03-14 09:26 UTC · incident 3f9a1c0de47b2856, revision 4",
                        "verbatim": True,
                    }
                ],
            },
        ],
        "unfurl_links": False,
        "unfurl_media": False,
        "parse": "none",
    }


@pytest.mark.parametrize("news", [samples.hostile(), samples.huge()], ids=["hostile", "huge"])
def test_log_text_pings_nobody_and_links_nowhere(news: Notification) -> None:
    body = message(news)
    for text in [*texts(body["blocks"]), body["text"], plain(news)]:
        ours = text.replace(f"<{news.url}|", "").replace(f"<{news.source_links[0][1]}|", "")
        assert "<" not in ours
        assert text.count("```") in (0, 2)
    assert "http://evil" not in plain(news)


@pytest.mark.parametrize("news", [samples.notification(), samples.hostile(), samples.huge()], ids=["a", "b", "c"])
def test_every_message_is_within_the_limits(news: Notification) -> None:
    body = message(news)
    assert message_error(body) is None
    assert size(body["blocks"]) <= MAX_BLOCKS_BYTES
    assert len(body["text"]) <= 4_000
    assert message_error({"text": plain(news)}) is None
    assert len(plain(news)) <= 3_000


def test_what_is_cut_is_never_cut_inside_an_entity() -> None:
    for length in range(280, 320):
        text = plain(samples.notification(report=samples.report(headline="&" * length), url=None), 300)
        assert text.replace("&amp;", "").count("&") == 0


def test_names_stay_names() -> None:
    assert inert("payment_service_2") == "payment_service_2"
    assert inert("_italic_") == "\u200b_\u200bitalic\u200b_\u200b"


def test_a_link_cannot_be_broken_out_of() -> None:
    made = blocks(samples.notification(url="https://x/?a=1&b=|evil><!channel>"))
    text = texts(made)[-1]
    assert text.startswith("<https://x/?a=1&amp;b=%7Cevil%3E%3C!channel%3E|Open incident>")
    assert "javascript" not in texts(blocks(samples.notification(url="javascript:alert(1)")))[-1]


def test_only_what_matters_is_a_change() -> None:
    before = state(samples.incident())
    assert changes(samples.incident(revision=9, score=0.5, updated_at=samples.at(30)), before) == []
    assert changes(samples.resolved(), before) == ["Resolved after 21 min."]
    assert changes(samples.incident(severity="warning"), before) == ["Severity changed from critical to warning."]
    moved = samples.incident(suspects=samples.incident().suspects[1:])
    assert changes(moved, before) == ["The most likely cause is now checkout, no longer payments."]
    wider = samples.incident(services=("payments", "checkout", "gateway", "search"))
    assert changes(wider, before) == ["Now also affected: search."]
    assert changes(samples.incident(), state(samples.resolved())) == ["It is back: reopened."]
    assert changes(samples.resolved(fix="restarted"), state(samples.resolved())) == ["Fixed by: restarted"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give either token_file"),
        ({"token": "x"}, "needs the channel"),
        ({"token": "x", "channel": "C1", "webhook_url": "https://y/z"}, "give either token_file"),
        ({"webhook_url": "https://y/z", "webhook_url_file": "f"}, "either webhook_url or"),
        ({"token": "x", "channel": "C1", "username": "bot"}, "no username"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SlackSettings(type="slack", **given)


# --- With a bot token ----------------------------------------------------------------------------------


async def test_one_message_follows_the_incident_and_its_thread_tells_what_matters(slack: Slack) -> None:
    receipt = await slack.tell(samples.incident(), None)
    receipt = await slack.tell(samples.incident(revision=5, score=0.9), receipt)
    receipt = await slack.tell(samples.resolved(), receipt)
    await slack.tell(samples.incident(reopened=1), receipt)
    (parent,) = slack.fake.parents
    assert parent.edits == 3
    assert parent.metadata["event_payload"]["incident_id"] == "3f9a1c0de47b2856"
    assert [reply.text for reply in slack.fake.replies] == ["Resolved after 21 min.", "It is back: reopened."]
    assert {reply.thread_ts for reply in slack.fake.replies} == {parent.ts}


async def test_a_channel_may_be_given_by_name(slack: Slack) -> None:
    sink = bot_settings(slack.url, channel="#incidents").build(Context(clock=slack.clock))
    receipt = await sink.deliver(samples.notification())
    now = slack.clock.step(timedelta(minutes=1))
    await sink.deliver(samples.notification(samples.resolved(), now=now, receipt=receipt))
    await sink.close()
    assert slack.fake.parents[0].edits == 1


@pytest.mark.parametrize("slack", [HASTY], indirect=True)
async def test_an_answer_that_was_lost_makes_no_second_message(slack: Slack) -> None:
    slack.fake.mishaps = [None, "stored_then_timeout"]
    with pytest.raises(TransientError):
        await slack.tell(samples.incident(), None)
    receipt = await slack.tell(samples.incident(), None)
    await slack.tell(samples.resolved(), receipt)
    assert len(slack.fake.parents) == 1
    assert len(slack.fake.replies) == 1


@pytest.mark.parametrize("slack", [HASTY], indirect=True)
async def test_without_the_right_to_read_it_may_be_told_twice_with_the_same_event_id(slack: Slack) -> None:
    slack.fake.scopes = {"chat:write"}
    slack.fake.mishaps = [None, "stored_then_timeout"]
    with pytest.raises(TransientError):
        await slack.tell(samples.incident(), None)
    await slack.tell(samples.incident(), None)
    assert {m.metadata["event_payload"]["event_id"] for m in slack.fake.parents} == {"3f9a1c0de47b2856:4:0"}


async def test_a_message_that_somebody_deleted_is_posted_again(slack: Slack) -> None:
    receipt = await slack.tell(samples.incident(), None)
    slack.fake.messages.clear()
    await slack.tell(samples.resolved(), receipt)
    assert len(slack.fake.parents) == 1


@pytest.mark.parametrize("error", ["invalid_blocks", "msg_blocks_too_long", "msg_too_long"])
async def test_blocks_that_slack_refuses_become_plain_text(slack: Slack, error: str) -> None:
    slack.fake.mishaps = [None, error]
    receipt = await slack.tell(samples.incident(), None)
    (parent,) = slack.fake.parents
    assert parent.blocks == []
    assert parent.text.startswith("Critical: payments cannot reach its database")
    slack.fake.mishaps = [error]
    await slack.tell(samples.incident(revision=5), receipt)
    assert parent.blocks == []


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("not_in_channel", "invite the bot"),
        ("is_archived", "archived"),
        ("token_revoked", "install the app again"),
        ("some_new_error", "documentation"),
    ],
)
async def test_permanent_errors_name_their_remedy(slack: Slack, error: str, remedy: str) -> None:
    slack.fake.mishaps = [None, error]
    with pytest.raises(PermanentError, match=f"{error}.*{remedy}"):
        await slack.tell(samples.incident(), None)


async def test_a_missing_scope_is_named(slack: Slack) -> None:
    slack.fake.scopes = set()
    with pytest.raises(PermanentError, match="chat:write"):
        await slack.tell(samples.incident(), None)


@pytest.mark.parametrize("mishap", ["500", "html", "ratelimited", "internal_error"])
async def test_errors_that_pass_are_tried_again(slack: Slack, mishap: str) -> None:
    slack.fake.mishaps = [None, mishap]
    with pytest.raises(TransientError):
        await slack.tell(samples.incident(), None)


async def test_slacks_own_pace_holds_for_every_incident(slack: Slack) -> None:
    slack.fake.mishaps = [None, "429"]
    with pytest.raises(TransientError) as caught:
        await slack.tell(samples.incident(), None)
    assert caught.value.retry_after == timedelta(seconds=30)
    calls = len(slack.fake.calls)
    with pytest.raises(TransientError) as caught:
        await slack.tell(samples.incident(id="another"), None, step=10)
    assert caught.value.retry_after == timedelta(seconds=20)
    assert "chat.postMessage" not in slack.fake.calls[calls:]
    assert await slack.tell(samples.incident(id="another"), None, step=20)


async def test_what_cannot_have_been_posted_is_not_looked_for(slack: Slack) -> None:
    assert await slack.tell(samples.incident(), None, in_doubt=False)
    assert slack.fake.calls == ["chat.postMessage"]


@pytest.mark.parametrize("mishap", ["429", "500", "html", "ratelimited", "internal_error"])
async def test_a_look_up_that_fails_in_passing_is_no_answer(slack: Slack, mishap: str) -> None:
    await slack.tell(samples.incident(), None)
    slack.fake.mishaps = [mishap]
    with pytest.raises(TransientError):
        await slack.tell(samples.incident(revision=5), None)
    await slack.tell(samples.incident(revision=5), None, step=60)
    assert len(slack.fake.parents) == 1
    assert slack.fake.parents[0].edits == 1


async def test_posts_are_a_second_apart_and_nobody_sleeps(slack: Slack) -> None:
    await slack.tell(samples.incident(), None)
    with pytest.raises(TransientError) as caught:
        await slack.tell(samples.incident(id="another"), None, step=0.25)
    assert caught.value.retry_after == timedelta(seconds=0.75)
    await slack.tell(samples.incident(id="another"), None, step=0.75)
    assert len(slack.fake.parents) == 2


async def test_edits_of_a_message_are_gathered(slack: Slack) -> None:
    receipt = await slack.tell(samples.incident(), None)
    with pytest.raises(TransientError) as caught:
        await slack.tell(samples.incident(revision=5), receipt, step=2)
    assert caught.value.retry_after == timedelta(seconds=3)
    await slack.tell(samples.incident(revision=6), receipt, step=3)
    assert slack.fake.calls.count("chat.update") == 1


async def test_a_half_told_change_is_not_begun(slack: Slack) -> None:
    receipt = await slack.tell(samples.incident(), None)
    await slack.tell(samples.incident(id="another"), None, step=9.5)
    with pytest.raises(TransientError):
        await slack.tell(samples.resolved(), receipt, step=0.5)
    assert "chat.update" not in slack.fake.calls


async def test_hostile_and_huge_incidents_are_taken(slack: Slack) -> None:
    for number, news in enumerate((samples.hostile(), samples.huge())):
        now = slack.clock.step(timedelta(seconds=10))
        incident = replace(news.incident, id=f"incident-{number}")
        await slack.sink.deliver(replace(news, incident=incident, now=now))
    assert all(parent.blocks for parent in slack.fake.parents)


async def test_the_token_is_checked_and_never_shown(slack: Slack) -> None:
    (check,) = await slack.sink.check()
    assert check.ok
    sink = bot_settings(slack.url, token=SecretStr("xoxb-wrong")).build(Context())
    (check,) = await sink.check()
    with pytest.raises(PermanentError) as caught:
        await sink.deliver(samples.notification())
    await sink.close()
    assert not check.ok
    assert "xoxb" not in str(caught.value) + check.detail


@pytest.mark.parametrize("receipt", ["", "{}", "garbage", '{"channel":"C0123"}', "[1]"])
async def test_a_receipt_that_cannot_be_read_is_looked_up(slack: Slack, receipt: str) -> None:
    await slack.tell(samples.incident(), None)
    await slack.tell(samples.incident(revision=5), receipt)
    assert len(slack.fake.parents) == 1


# --- With an incoming webhook --------------------------------------------------------------------------


async def test_each_change_that_matters_is_a_message(hook: Hook) -> None:
    receipt = await hook.tell(samples.incident(), None)
    receipt = await hook.tell(samples.incident(revision=5, score=0.7), receipt)
    receipt = await hook.tell(samples.resolved(revision=6), receipt)
    assert len(hook.fake.messages) == 2
    last = json.dumps(hook.fake.messages[-1].blocks)
    assert "What changed" in last
    assert "Resolved after 21 min." in last


async def test_a_message_with_what_changed_is_within_the_limits(hook: Hook) -> None:
    before = await hook.tell(samples.incident(services=(), suspects=()), None)
    news = samples.huge()
    await hook.sink.deliver(replace(news, now=hook.clock.step(timedelta(seconds=5)), receipt=before))
    assert hook.fake.messages[-1].blocks
    assert size(hook.fake.messages[-1].blocks) <= MAX_BLOCKS_BYTES


async def test_a_webhook_that_refuses_blocks_gets_plain_text(hook: Hook) -> None:
    hook.fake.mishaps = ["invalid_blocks"]
    await hook.tell(samples.incident(), None)
    assert hook.fake.messages[0].blocks == []


@pytest.mark.parametrize("error", ["action_prohibited", "no_service", "channel_is_archived", "user_not_found"])
async def test_a_webhook_that_is_no_more_is_permanent(hook: Hook, error: str) -> None:
    hook.fake.mishaps = [error]
    with pytest.raises(PermanentError, match=error) as caught:
        await hook.tell(samples.incident(), None)
    assert "secretpart" not in str(caught.value)


@pytest.mark.parametrize(
    ("hook", "mishap"), [(PATIENT, "500"), (PATIENT, "429"), (HASTY, "stored_then_timeout")], indirect=["hook"]
)
async def test_a_webhook_that_fails_for_now_is_tried_again(hook: Hook, mishap: str) -> None:
    hook.fake.mishaps = [mishap]
    with pytest.raises(TransientError) as caught:
        await hook.tell(samples.incident(), None)
    assert "secretpart" not in str(caught.value)
    assert caught.value.retry_after == (timedelta(seconds=30) if mishap == "429" else None)


async def test_a_wrong_address_is_permanent_and_not_shown(hook: Hook) -> None:
    hook.fake.webhook_path = "/elsewhere"
    sink = SlackSettings(
        type="slack", webhook_url=SecretStr("http://127.0.0.1:9/services/T/B/secretpart"), timeout=timedelta(seconds=1)
    ).build(Context())
    with pytest.raises(TransientError) as caught:
        await sink.deliver(samples.notification())
    (check,) = await sink.check()
    await sink.close()
    assert "secretpart" not in str(caught.value) + str(check)
