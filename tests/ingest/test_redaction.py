"""What must not leave the process is replaced, and nothing that a diagnosis needs."""

from __future__ import annotations

import base64
import random
import string
import time
from pathlib import Path
from typing import NoReturn

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from exporter.ingest.redaction import MAX_CHARS, PLACEHOLDER, TYPES, WITHHELD, RedactionSettings, Redactor
from exporter.ingest.redaction.library import Library
from exporter.ingest.redaction.rules import LIBRARY
from exporter.model import ConfigError

KEY = b"a key of this installation only"


def shown(text: str) -> str:
    """The redacted text, without the hashes."""
    return PLACEHOLDER.sub(lambda match: match[0].split(":")[0] + ">", Redactor(KEY, ip=False).redact(text))


SECRETS = {
    # Fields by name
    "login failed, password=hunter2 user=ann": "login failed, password=<secret> user=ann",
    "db_password: 's3cret pass' next": "db_password: '<secret>' next",
    '{"user":"ann","password":"a \\"quoted\\" one","n":1}': '{"user":"ann","password":"<secret>","n":1}',
    '{"msg":"{\\"passwd\\":\\"hunter2\\"}"}': '{"msg":"{\\"passwd\\":\\"<secret>\\"}"}',
    "{:api_key => 'abc123'}": "{:api_key => '<secret>'}",
    "{clientSecret=abc, region=eu}": "{clientSecret=<secret>, region=eu}",
    "Server=db;User Id=sa;Pwd=hunter2;Encrypt=true": "Server=db;User Id=sa;Pwd=<secret>;Encrypt=true",
    "AccountName=x;AccountKey=Zm9vYmFy==;Suffix=y": "AccountName=x;AccountKey=<secret>;Suffix=y",
    "GET /cb?access_token=abc123def&state=1": "GET /cb?access_token=<secret>&state=1",
    "USER TOKEN: 8f2e9c11 USER ID: 7": "USER TOKEN: <secret> USER ID: 7",
    "mysqldump --password hunter2 -h db": "mysqldump --password <secret> -h db",
    "<wsse:Password>hunter2</wsse:Password>": "<wsse:Password><secret></wsse:Password>",
    "aws_secret_access_key = wJalrXUtnFEMIK7MDENG": "aws_secret_access_key = <secret>",
    # Headers
    "Authorization: Bearer abc.def-123": "Authorization: <authorization>",
    '"authorization":["Basic dXNlcjpwYXNz"],"host":"x"': '"authorization":["<authorization>"],"host":"x"',
    'Authorization: Digest username="a", response="b"': "Authorization: <authorization>",
    "Set-Cookie: sid=31d4d96e; Path=/; HttpOnly": "Set-Cookie: <cookie>",
    "sent Bearer abcdef123456 to api": "sent Bearer <bearer> to api",
    "proxy got Basic dXNlcjpwYXNz": "proxy got Basic <basic>",
    # By their own shape
    "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln": "jwt <jwt>",
    "using AKIAIOSFODNN7EXAMPLE now": "using <aws_key> now",
    "key AIzaSyA1234567890abcdefghijklmnopqrstuv": "key <gcp_key>",
    "clone with ghp_abcdefghijklmnopqrstuvwxyz0123456789": "clone with <github_token>",
    "slack xoxb-123456789012-abcdefGHIJ": "slack <slack_token>",
    "post https://hooks.slack.com/services/T0/B0/abcdef": "post https://hooks.slack.com/services/<slack_token>",
    "stripe sk_live_abcdefghij1234": "stripe <api_token>",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end": "<private_key> end",
    "cut -----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN": "cut <private_key>",
    "postgres://app:p@ss@db:5432/shop?ssl=1": "postgres://<userinfo>@db:5432/shop?ssl=1",
    "jdbc:oracle:thin:scott/tiger@db:1521": "jdbc:oracle:thin:<userinfo>@db:1521",
    "mail to ann.b+c@mail.example.org sent": "mail to <email> sent",
    "card 4111 1111 1111 1111 declined": "card <card> declined",
    "amex=378282246310005": "amex=<card>",
    "iban DE89 3704 0044 0532 0130 00 refused": "iban <iban> refused",
    "iban GB82WEST12345698765432": "iban <iban>",
    "opaque Q7xk2Rz9LmT4vWb8NcY1hGf6JdP3sAe5uKo0": "opaque <high_entropy>",
    "hash $2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW": "hash <password_hash>",
    "GET /reset-password/4fT9xQ2mLk8RzW1b": "GET /reset-password/<link>",
    "tfp kind zai 0123456789abcdef0123456789abcdef.AbCdEfGhIjKlMn12": "tfp kind zai <api_token>",
    # Of people
    "call +49 171 2345678 back": "call <phone> back",
    "born on 14 March 1989": "born on <birth_date>",
    "ssn: 123-45-6789": "ssn: <id_number>",
    "first_name=Annelies, 7": "first_name=<name>, 7",
    "street: 12 Abbey Road": "street: <address>",
    "lat=48.137154 lon=11.576124": "lat=<position> lon=<position>",
    "otp=123456 sent": "otp=<code> sent",
    # In other languages, and as others write it
    "\u043f\u0430\u0440\u043e\u043b\u044c: hunter2": "\u043f\u0430\u0440\u043e\u043b\u044c: <secret>",
    "\u5bc6\u7801\uff1ahunter2": "\u5bc6\u7801\uff1a<secret>",
    "mot de passe : hunter2": "mot de passe : <secret>",
    "body=user%3Dbob%26password%3Dhunter2%26x%3D1": "body=user%3Dbob%26password%3D<secret>%26x%3D1",
    "the password is hunter2!x": "the password is <secret>",
    "CREATE USER bob IDENTIFIED BY 'hunter2'": "CREATE USER bob IDENTIFIED BY '<secret>'",
    "INSERT INTO u (name, password) VALUES ('bob', 'x')": "INSERT INTO u (name, password) VALUES ('bob', '<secret>')",
    "curl -u bob:hunter2 https://x": "curl -u bob:<secret> https://x",
    "amqp://app:ab/cd@ef@mq:5672/": "amqp://<userinfo>@mq:5672/",
}


@pytest.mark.parametrize(("text", "expected"), SECRETS.items())
def test_a_secret_is_replaced_by_its_type(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
        "traceparent 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "order 4d2a46c7-71cb-4cf1-b5bb-b68406d9da6f and 4D2A46C7-71CB-4CF1-B5BB-B68406D9DA6F",
        "Receiving block blk_-1608999687919862906 src: /10.250.19.102:54106",
        "at com.example.AbstractAnnotationConfigDispatcherServletInitializer2.run(Foo.java:12)",
        "/usr/lib/jvm/java-8-openjdk-amd64/jre/lib/amd64/server/libjvm.so",
        "max_tokens=1200 token_count: 5 tokens: 17",
        "Failed password for root from 1.2.3.4 port 22 ssh2",
        "password: null, token=false, secret=****",
        "Bearer authentication failed; Basic authentication is off",
        "QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181:FastLeaderElection@774",
        "npm install left-pad@1.3.0-beta.final",
        "timestamps 1675004400123 1675004400123456 1675004400123456789",
        "spark://driver@10.10.34.11:48069",
    ],
)
def test_what_a_diagnosis_needs_stays_readable(text: str) -> None:
    assert Redactor(KEY).redact(text) == text


def test_equal_values_stay_equal_and_other_installations_hash_them_otherwise() -> None:
    first, second = Redactor(KEY).redact("password=x1 password=x1").split()
    assert first == second
    assert Redactor(KEY).redact("password=x2") != first
    assert Redactor(b"the key of another installation").redact("password=x1") != first


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="32 random bytes"):
        Redactor(b"short")


def test_ip_addresses_are_replaced_only_on_request() -> None:
    text = "from 10.0.0.1 and 2001:db8::1 at 12:30:45 version 1.2.3.4.5"
    assert Redactor(KEY).redact(text) == text
    redacted = PLACEHOLDER.sub("<>", Redactor(KEY, ip=True).redact(text))
    assert redacted == "from <> and <> at 12:30:45 version 1.2.3.4.5"


def test_types_can_be_disabled_and_added() -> None:
    settings = RedactionSettings.model_validate(
        {"disable": ["email"], "extra": [{"name": "customer", "regex": r"CUST-(?P<s>\d+)"}]}
    )
    redactor = Redactor.of(settings, KEY)
    assert PLACEHOLDER.sub("<>", redactor.redact("CUST-123 a@b.org")) == "CUST-<> a@b.org"
    assert redactor.counts == {"customer": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"disable": ["emial"]}, "'emial' is not one of 'private_key'"),
        ({"extra": [{"name": "a", "regex": "("}]}, "not a regular expression"),
        ({"extra": [{"name": "a", "regex": "x*"}]}, "empty text"),
        ({"extra": [{"name": "A B", "regex": "x"}]}, "pattern"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RedactionSettings.model_validate(settings)


def test_a_series_is_redacted_as_its_texts_are() -> None:
    texts = [*SECRETS, "nothing here", None, "", *SECRETS]
    redactor = Redactor(KEY)
    result = redactor.redact_series(pl.Series("body", texts))
    assert result.name == "body"
    assert result.to_list() == [None if text is None else redactor.redact(text) for text in texts]


def test_a_series_uses_patterns_that_only_python_knows() -> None:
    redactor = Redactor(KEY, extra=[("room", r"(?<=room )(?P<s>\d+)")])
    assert PLACEHOLDER.sub("<>", redactor.redact_series(pl.Series(["room 12"]))[0]) == "room <>"


def test_replacements_are_counted_by_type() -> None:
    redactor = Redactor(KEY)
    redactor.redact("password=a1 password=b2 c@d.org")
    assert redactor.counts == {"secret": 2, "email": 1}


class Broken(str):
    """A text that cannot be looked at."""

    def lower(self) -> str:
        raise RuntimeError("broken")


def test_a_line_that_cannot_be_redacted_is_withheld_and_counted() -> None:
    redactor = Redactor(KEY)
    assert redactor.redact(Broken("password=hunter2")) == WITHHELD
    assert redactor.counts == {"failed": 1}


def test_odd_characters_do_not_stop_redaction() -> None:
    assert shown("password=\ud800\x00x1 \U000e0041") == "password=<secret> \U000e0041"


def test_a_text_over_the_limit_is_cut_where_no_secret_is_cut() -> None:
    text = "x " * (MAX_CHARS // 2 - 10) + "mail a.very.long.name.of.somebody@example.org"
    redacted = Redactor(KEY).redact(text)
    assert len(redacted) <= MAX_CHARS
    assert "a.very" not in redacted


def test_random_tokens_are_found() -> None:
    source = random.Random(0)
    encoded = [base64.b64encode(source.randbytes(32)).decode() for _ in range(500)]
    letters = ["".join(source.choices(string.ascii_letters + string.digits, k=36)) for _ in range(500)]
    missed = [token for token in encoded + letters if "<high_entropy>" not in shown(f"got {token}")]
    assert len(missed) <= 20


_MARKS = ("password=", '"', "'", "\\", ":", "=", " ", "@", "//", "<email:abcdef>", "<", ">", "{", "]", ",", ";", "\n")
_STARTS = ("eyJ", "Bearer ", "Cookie:", "authorization", "4111", "DE89", "AKIA", "token", "-----BEGIN PRIVATE KEY-----")
_PIECES = st.sampled_from([*SECRETS, *_MARKS, *_STARTS])
_TEXTS = st.lists(st.one_of(_PIECES, st.text(max_size=12)), max_size=8).map("".join)


@given(_TEXTS)
def test_redacting_twice_is_the_same_as_once(text: str) -> None:
    redactor = Redactor(KEY, ip=True)
    once = redactor.redact(text)
    assert once != WITHHELD
    assert redactor.redact(once) == once


@given(st.lists(_TEXTS, max_size=5))
def test_no_candidate_is_missed_by_the_fast_way(texts: list[str]) -> None:
    redactor = Redactor(KEY, ip=True)
    encodable = [text.encode("utf-8", "replace").decode() for text in texts]
    series = pl.Series(encodable, dtype=pl.String)
    assert redactor.redact_series(series).to_list() == [redactor.redact(text) for text in encodable]


HOSTILE = ["eyJ", "a", "@", "password=", 'password="', 'password=\\"', "://", "4", "4111 ", "DE89 ", "<a:", "-a", "--"]
HOSTILE += [
    "cookie:",
    "authorization: ",
    "token \t",
    "1.",
    "a@a.",
    "<token>",
    "bearer ",
    "SG.",
    ":",
    '"\\',
    "aB3",
    "a:b@",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_lines_take_linear_time(unit: str) -> None:
    redactor = Redactor(KEY, ip=True)
    began = time.process_time()
    redactor.redact(unit * (100_000 // len(unit)))
    assert time.process_time() - began < 2.0  # quadratic would be minutes


def test_real_logs_stay_readable(shared_data: Path) -> None:
    lines = pl.read_parquet(shared_data / "loghub" / "loghub_2k.parquet")["raw"]
    redactor = Redactor(KEY)
    changed = (redactor.redact_series(lines) != lines).mean()
    assert changed is not None
    assert float(str(changed)) < 0.01


def test_every_type_has_an_example() -> None:
    shown_types = {name for name in TYPES if any(f"<{name}>" in text for text in SECRETS.values())}
    assert shown_types == set(TYPES) - {"ip", "mac", "random", "entropy", LIBRARY}


def test_what_only_the_library_knows_is_found_before_any_sign() -> None:
    for sign in (" ", ",", ")", "]", "<", "&", ".", '"'):
        text = f"key PMAT-01ARZ3NDEKTSV4RRFFQ69G5FAV{sign}x"
        assert "01ARZ3NDEKTSV4RRFFQ69G5FAV" not in Redactor(KEY, disable=["api_token"]).redact(text)


def test_where_the_library_fails_nothing_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object, texts: object) -> NoReturn:
        raise RuntimeError("broken")

    monkeypatch.setattr(Library, "find", fails)
    redactor = Redactor(KEY)
    assert redactor.redact("adafruit took 0a1b2c3d4e5f6g7h8i9j0k") == WITHHELD
    assert redactor.counts == {"failed": 1}


def test_what_has_no_form_is_replaced_on_request() -> None:
    texts = ["opaque 9e107d9d372bb6826bd81d3542a419d6", "a1b2C3d4E5f6G7h8I9j0"]
    for text in texts:
        assert Redactor(KEY).redact(text) == text
        assert Redactor(KEY, entropy=True).redact(text) != text


def test_every_place_of_a_value_is_hidden() -> None:
    assert shown("password=hunter2 rejected: hunter2 is wrong") == "password=<secret> rejected: <secret> is wrong"


def test_a_hardware_address_is_replaced_only_on_request() -> None:
    text = "port of 3c:22:fb:4d:11:0a is up"
    assert Redactor(KEY).redact(text) == text
    assert PLACEHOLDER.sub("<>", Redactor(KEY, ip=True).redact(text)) == "port of <> is up"


def test_a_harmless_text_does_not_vouch_for_one_with_other_numbers() -> None:
    redactor = Redactor(KEY)
    for harmless, secret in (
        ("paid by 4111111111111112", "paid by 4111111111111111"),
        ("cvv=12", "cvv=123"),
        ("part 000-12-3456", "part 123-12-3456"),
    ):
        assert redactor.redact_series(pl.Series([harmless]))[0] == harmless
        assert redactor.redact_series(pl.Series([secret]))[0] == redactor.redact(secret) != secret


def test_a_number_is_looked_at_although_a_line_like_it_was_known_to_hold_none() -> None:
    redactor = Redactor.of(RedactionSettings(), b"0" * 16)
    harmless = ["charged 17 ok", "call 1 back", "from 12 to 13"]
    assert redactor.redact_series(pl.Series(harmless)).to_list() == harmless
    told = redactor.redact_series(pl.Series(["charged 4111111111111111 ok", "from GB82WEST12345698765432 to 13"]))
    assert "4111111111111111" not in told[0]
    assert "WEST12345698765432" not in told[1]
