"""Replace secrets and personal data in log text by typed placeholders, before it is stored, told or sent anywhere.

One file: what is hidden by which pattern, and in which order, is one list that somebody who checks it reads whole.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from exporter.ingest.patterns import UsersPattern, matches_nothing, users_pattern
from exporter.model import ConfigError, NoTelemetry, Settings, Telemetry

if TYPE_CHECKING:
    import polars as pl

MAX_CHARS = 262_144
"""Longer texts are cut first, at a word, so that no secret is cut in two and escapes its pattern."""

WITHHELD = "[line withheld: redaction failed]"
"""Stands for a line that could not be redacted: fail closed."""

# A pass that changes the text makes at least one piece of it shorter; real lines need two passes.
_MAX_PASSES = 8

PLACEHOLDER = re.compile(r"<[a-z][a-z0-9_]{0,31}:[0-9a-f]{6}>")


class ExtraPattern(Settings):
    """A pattern of the operator's own."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    """What the placeholder is called: lower-case letters, digits and _."""
    regex: str
    """What to replace, in Rust's syntax: the group named `s` where the pattern has one, else the whole match. What only
    Python knows (look-around, references back) is refused by the next release."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        if matches_nothing(value):
            raise ValueError("matches the empty text, so it would match everywhere; make a part of it mandatory")
        return value


class RedactionSettings(Settings):
    """What is redacted beyond the built-in types. Redaction itself is always on."""

    extra: tuple[ExtraPattern, ...] = ()
    """Patterns of your own."""
    ip: bool = False
    """Also replace IP addresses. Off, for they are often what a diagnosis needs."""
    disable: tuple[str, ...] = ()
    """Built-in types to leave alone, such as `email`."""

    @field_validator("disable")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in TYPES]:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(map(repr, TYPES))}")
        return value

    def extra_patterns(self) -> list[tuple[str, str]]:
        """`extra` as pairs of name and pattern."""
        return [(pattern.name, pattern.regex) for pattern in self.extra]


@dataclass(frozen=True)
class Rule:
    """One kind of secret.

    Patterns take linear time on any input: possessive or bounded quantifiers, and where a run of characters begins
    a match, either a look-behind keeps it from starting inside the run or the run has a small bound. `hints` are
    patterns of Rust's regex that all match every text that the rule could change. `needs` are lower-case words, one
    of which such a text has: most rules of Python's slower `re` need not run at all.
    """

    name: str
    pattern: re.Pattern[str] | UsersPattern
    hints: tuple[str, ...]
    needs: tuple[str, ...] = ()
    holds: Callable[[str], bool] = lambda _: True


# --- Checks of a candidate -------------------------------------------------------------------------


def luhn(digits: str) -> bool:
    """The check digit of payment cards.

    >>> luhn("4111111111111111")
    True
    """
    total = 0
    for index, char in enumerate(reversed(digits)):
        digit = int(char) * (1 + index % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0


def _is_card(text: str) -> bool:
    return luhn(re.sub(r"\D", "", text))


def _is_iban(text: str) -> bool:
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    digits = "".join(str(int(char, 36)) for char in compact[4:] + compact[:4])
    return int(digits) % 97 == 1


def _is_email(text: str) -> bool:
    # pkg@1.2.3-rc.final is a version, not an address.
    return re.match(r"\d+\.\d+\.", text.rpartition("@")[2]) is None


def _is_userinfo(text: str) -> bool:
    # A bare name (spark://driver@10.0.0.1) is no secret; a password or a token is.
    return ":" in text or "/" in text or len(text) >= 20


def _is_bearer(text: str) -> bool:
    # "Bearer authentication failed" names no token.
    return len(text) >= 20 or any(char.isdigit() for char in text)


def _is_basic(text: str) -> bool:
    try:
        return b":" in base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_secret(text: str) -> bool:
    # Nothing that is masked already, or that says only whether there is a secret.
    bare = text.strip().lower()
    return bare not in _NO_SECRETS and bare.strip("*x.-") != ""


_NO_SECRETS = frozenset(
    {"null", "none", "nil", "true", "false", "undefined", "n/a", "redacted", "[redacted]", "{}", "[]"}
)


def _is_random(text: str) -> bool:
    """Mixed like base64, unlike an identifier, a path, a hexadecimal id or a UUID.

    Letters of both cases and digits alternate in random text about every second character; in CamelCase, paths and
    words about every fifth.
    """
    if re.fullmatch(r"[0-9a-fA-F_\-]+", text):
        return False
    kinds = ["u" if c.isupper() else "l" if c.islower() else "d" if c.isdigit() else "o" for c in text]
    if min(kinds.count("u"), kinds.count("l")) < 3 or kinds.count("d") < 2:
        return False
    changes = sum(a != b for a, b in itertools.pairwise(kinds))
    return changes / len(text) >= 0.4 and entropy(text) >= 3.7


def entropy(text: str) -> float:
    """Bits a character, of the characters' own frequencies.

    >>> entropy("abab")
    1.0
    """
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())


# --- The table -------------------------------------------------------------------------------------

# Names of fields whose value is a secret. What stands before is free (dbPassword, x-auth-token), what stands after
# is not: max_tokens and token_count hold numbers that a reader needs.
_ALWAYS = (
    r"passw(?:or)?d|passwrd|passphrase|passcode|pwd|secret|credentials?|api[_\-. ]?key|apikey"
    r"|(?:access|account|private|encryption|signing|shared|master|auth|license|subscription)[_\-.]?key|proxy[_\-]?auth"
)
_SUFFIX = r"(?:[_\-]?(?:value|key|hash|text|string|old|new|confirm(?:ation)?|data|base64|b64|\d{1,2}))?"
_KEY_END = r"""(?:\\?["'])?\s{0,3}(?:=>|:=|[=:])\s{0,3}\[?"""
# A value in quotes (of JSON inside JSON, too) or one word.
_VALUE = (
    r"(?:"
    r'\\"(?P<s1>(?:[^"\\]|\\(?!").)++)'
    r'|"(?P<s2>(?:[^"\\]|\\.)++)'
    r"|'(?P<s3>(?:[^'\\]|\\.)++)"
    r"""|(?P<s>[^\s"'\\,;&<>(){}\[\]|]++)"""
    r")"
)


def _rule(
    name: str, pattern: str, hint: str | tuple[str, ...], needs: str = "", holds: Callable[[str], bool] = lambda _: True
) -> Rule:
    return Rule(name, re.compile(pattern), (hint,) if isinstance(hint, str) else hint, tuple(needs.split()), holds)


def _is_token(text: str) -> bool:
    # "unexpected token: expected ')'" holds words; tokens are long or have digits.
    return _is_secret(text) and (len(text) >= 16 or (len(text) >= 4 and any(char.isdigit() for char in text)))


_RULES: tuple[Rule, ...] = (
    _rule(
        "private_key",
        r"(?P<s>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z))",
        r"-----BEGIN ",
        "-----begin",
    ),
    # Whole headers before single fields: a cookie is a list of pairs, some schemes a list of parameters.
    _rule(
        "cookie",
        r"(?i)cookie2?" + _KEY_END + r"""(?:\\?["'])?(?P<s>[^\s"'\\\r\n][^"'\\\r\n]*+)""",
        r"(?i)cookie",
        "cookie",
        _is_token,
    ),
    _rule(
        "authorization",
        r"(?i)authorization"
        + _KEY_END
        + r"""(?:\\?["'])?(?P<s>(?:digest|oauth|hawk|signature|aws4-hmac-sha256)\s[^\r\n]++"""
        r"""|(?:(?:basic|bearer|negotiate|ntlm|token|apikey|key)\s{1,3})?[^\s"'\\,;&<>(){}\[\]|]++)""",
        r"(?i)authorization",
        "authorization",
        _is_secret,
    ),
    _rule(
        "secret",
        r"(?i)(?:" + _ALWAYS + r")" + _SUFFIX + _KEY_END + _VALUE,
        r"(?i)" + _ALWAYS,
        "passw passphrase passcode pwd secret credential key proxy",
        _is_secret,
    ),
    _rule(
        "secret",
        r"(?i)(?:token|jsessionid|phpsessid|x-amz-signature|[?&]sig|client_assertion|otp)"
        + _SUFFIX
        + _KEY_END
        + _VALUE,
        r"(?i)token|jsessionid|phpsessid|x-amz-signature|[?&]sig|client_assertion|otp",
        "token sessionid sessid signature sig client_assertion otp",
        _is_token,
    ),
    _rule(
        "secret",
        r"(?i)(?<![\w\-])--?[a-z\-]{0,30}(?:password|passwd|secret|token|api-?key)\s{1,3}" + _VALUE,
        r"(?i)-(?:\w|-)*(?:password|passwd|secret|token|api-?key)\s",
        "password passwd secret token api",
        lambda text: not text.startswith("-") and _is_secret(text),
    ),
    _rule(
        "secret",
        r"(?i)<(?:[\w.\-]{1,40}:)?[\w.\-]{0,40}?(?:password|passwd|secret|token|apikey)>(?P<s>[^<>]{1,4096})</",
        r"(?i)(?:password|passwd|secret|token|apikey)>",
        "</",
        _is_secret,
    ),
    _rule("jwt", r"(?<![A-Za-z0-9_\-])(?P<s>eyJ[\w\-]{5,}+\.[\w\-]{5,}+(?:\.[\w\-]*+)?)", r"eyJ", "eyj"),
    _rule("bearer", r"(?i)\bbearer\s{1,3}(?P<s>[A-Za-z0-9\-._~+/]{8,}+=*+)", r"(?i)bearer\s", "bearer", _is_bearer),
    _rule("basic", r"(?i)\bbasic\s{1,3}(?P<s>[A-Za-z0-9+/]{6,}+={0,2}+)", r"(?i)basic\s", "basic", _is_basic),
    _rule(
        "aws_key",
        r"(?<![A-Za-z0-9])(?P<s>(?:AKIA|ASIA|AGPA|AROA|AIDA|ANPA|ABIA|ACCA)[A-Z0-9]{16})(?![A-Za-z0-9])",
        r"(?:AKIA|ASIA|AGPA|AROA|AIDA|ANPA|ABIA|ACCA)[A-Z0-9]{16}",
        "akia asia agpa aroa aida anpa abia acca",
    ),
    _rule(
        "gcp_key",
        r"(?<![A-Za-z0-9])(?P<s>AIza[\w\-]{35}|ya29\.[\w\-]{20,}+|GOCSPX-[\w\-]{20,}+)",
        r"AIza|ya29\.|GOCSPX-",
        "aiza ya29. gocspx-",
    ),
    _rule(
        "github_token",
        r"(?<![A-Za-z0-9])(?P<s>gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+)",
        r"gh[pousr]_|github_pat_",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
    ),
    _rule(
        "slack_token",
        r"(?<![A-Za-z0-9])(?P<s>xox[a-z]-[\w\-]{10,}+|xapp-[\w\-]{10,}+)"
        r"|hooks\.slack\.com/(?:services|workflows|triggers)/(?P<s1>[\w/\-]{8,}+)",
        r"xox[a-z]-|xapp-|hooks\.slack\.com/",
        "xox xapp- hooks.slack.com",
    ),
    _rule(
        "api_token",
        r"(?<![A-Za-z0-9])(?P<s>glpat-[\w\-]{20,}+|[srp]k_(?:live|test)_\w{10,}+|sk-[\w\-]{20,}+|npm_[A-Za-z0-9]{30,}+"
        r"|pypi-[\w\-]{40,}+|SG\.[\w\-]{16,}+\.[\w\-]{16,}+|hv[sb]\.[\w\-]{20,}+|dop_v1_[a-f0-9]{40,}+"
        r"|\d{8,10}:AA[\w\-]{33})",
        r"glpat-|[srp]k_(?:live|test)_|sk-|npm_|pypi-|SG\.|hv[sb]\.|dop_v1_|\d{8}:AA",
        "glpat- k_live_ k_test_ sk- npm_ pypi- sg. hvs. hvb. dop_v1_ :aa",
    ),
    # To the last @ of the authority, for a password may hold one.
    _rule(
        "userinfo",
        r"""://(?P<s>[^\s/?#"'<>]{1,512})@|jdbc:oracle:thin:(?P<s1>[^\s@"']{1,200})@""",
        r"""://[^\s/?#"'<>]+@|oracle:thin:[^\s@"']+@""",
        "@",
        _is_userinfo,
    ),
    _rule(
        "email",
        r"(?P<s>[A-Za-z0-9_.+%\-]{1,64}@(?:[A-Za-z0-9][A-Za-z0-9\-]{0,62}\.){1,8}[A-Za-z]{2,24})",
        r"@[A-Za-z0-9\-]+\.[A-Za-z0-9]",
        "@",
        _is_email,
    ),
    # Prefixes and lengths of the issuers: one in ten of all long numbers passes Luhn, block ids among them.
    _rule(
        "card",
        r"(?<![\w.\-])(?P<s>(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d|35[2-8]\d)([ \-]?)\d{4}\2\d{4}\2\d{4}"
        r"|3[47]\d\d([ \-]?)\d{6}\3\d{5}|3(?:0[0-5]|[68]\d)\d([ \-]?)\d{6}\4\d{4})(?![\w\-]|\.\d)",
        r"(?:^|[^\w.\-])(?:4|5[1-5]|2[2-7]|3[04-8]|6[05])\d{2,3}[ \-]?\d{4,6}[ \-]?\d{4,5}",
        holds=_is_card,
    ),
    _rule(
        "iban",
        r"(?<![A-Za-z0-9])(?P<s>[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}(?: ?[A-Z0-9]{4}){0,5}"
        r"(?: ?[A-Z0-9]{1,3})?)(?![A-Za-z0-9])",
        r"[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}",
        holds=_is_iban,
    ),
    _rule(
        "ip",
        r"(?<![\w.:])(?P<s>\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w]|\.\d)|[0-9A-Fa-f:]{2,39}(?:\d{1,3}(?:\.\d{1,3}){3})?)(?![\w:])",
        r"\d\.\d|:[0-9A-Fa-f]*:",
        holds=_is_ip,
    ),
    _rule(
        "high_entropy",
        r"(?<![A-Za-z0-9+/_\-])(?P<s>[A-Za-z0-9+/_\-]{32,}+={0,2}+)",
        (r"[A-Za-z0-9+/_\-]{32}", r"[A-Z][A-Za-z+/_\-]*[0-9]|[0-9][A-Za-z+/_\-]*[A-Z]"),
        holds=_is_random,
    ),
)

TYPES: tuple[str, ...] = tuple(dict.fromkeys(rule.name for rule in _RULES))
"""The built-in types: the words of placeholders and of `disable`."""


class Redactor:
    """Replaces what should not leave the process; equal values get equal placeholders, by a keyed hash.

    Thread-safe. Redacting twice is the same as once.

    >>> redactor = Redactor(b"0123456789abcdef")
    >>> redactor.redact("password=hunter2") == redactor.redact("password=hunter2")
    True
    >>> PLACEHOLDER.sub("<?>", redactor.redact("login of ann@example.org failed, password=hunter2"))
    'login of <?> failed, password=<?>'
    """

    def __init__(
        self,
        key: bytes,
        extra: Sequence[tuple[str, str]] = (),
        *,
        ip: bool = False,
        disable: Sequence[str] = (),
        telemetry: Telemetry | None = None,
    ) -> None:
        if len(key) < 16:
            raise ConfigError("redaction: the key has fewer than 16 bytes; make one of 32 random bytes and keep it")
        found = [(name, users_pattern(pattern)) for name, pattern in extra]
        own = tuple(Rule(name, pattern, (pattern.hint,)) for name, pattern in found)
        built_in = tuple(rule for rule in _RULES if rule.name not in disable and (ip or rule.name != "ip"))
        self._key = key[:64]
        self._rules = own + built_in
        self._hints = _together(self._rules)
        self._telemetry = telemetry or NoTelemetry()
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    @classmethod
    def of(cls, settings: RedactionSettings, key: bytes, telemetry: Telemetry | None = None) -> Redactor:
        """The redactor that the configuration describes."""
        return cls(key, settings.extra_patterns(), ip=settings.ip, disable=settings.disable, telemetry=telemetry)

    @property
    def counts(self) -> dict[str, int]:
        """Replacements so far, by type; `failed` are lines that were withheld."""
        with self._lock:
            return dict(self._counts)

    def redact(self, text: str) -> str:
        """The text without secrets; WITHHELD when that cannot be had."""
        found: Counter[str] = Counter()
        try:
            result = self._settle(_cut(text), found)
        except Exception:
            # Whatever went wrong, the line must not pass.
            found, result = Counter(failed=1), WITHHELD
        self._count(found)
        return result

    def redact_series(self, texts: pl.Series) -> pl.Series:
        """`redact` of a column; lines that can hold nothing are found by one pass of a compiled pattern."""
        import polars as pl

        distinct = self._candidates(texts)
        if distinct.is_empty():
            return texts
        redacted = pl.Series(texts.name, [self.redact(text) for text in distinct.to_list()], dtype=pl.String)
        changed = redacted != distinct
        return texts.replace(distinct.filter(changed), redacted.filter(changed)) if changed.any() else texts

    def _candidates(self, texts: pl.Series) -> pl.Series:
        """The distinct texts that may hold something, found in one query: most calls bring few texts."""
        import polars as pl

        text = pl.col(texts.name)
        hinted = (pl.all_horizontal(text.str.contains(hint) for hint in hints) for hints in self._hints)
        found = pl.any_horizontal(text.str.len_bytes() > MAX_CHARS, *hinted)
        return texts.to_frame().select(text.filter(found).drop_nulls().unique()).to_series()

    def _settle(self, text: str, found: Counter[str]) -> str:
        """Apply all rules until nothing changes, which is what makes it idempotent."""
        for _ in range(_MAX_PASSES):
            result, lower = text, text.lower()
            for rule in self._rules:
                if rule.needs and not any(word in lower for word in rule.needs):
                    continue
                result = "".join(self._apply(rule, result, found))
            if result == text:
                return result
            text = result
        raise RuntimeError("redaction does not settle")

    def _apply(self, rule: Rule, text: str, found: Counter[str]) -> Iterator[str]:
        """The text with what the rule finds between placeholders replaced."""

        def replace(match: re.Match[str]) -> str:
            group = match.lastgroup or 0
            secret = match[group]
            if not secret or not rule.holds(secret):
                return match[0]
            found[rule.name] += 1
            start, end = match.span(group)
            before, after = match.string[match.start() : start], match.string[end : match.end()]
            return f"{before}{self._placeholder(rule.name, secret)}{after}"

        position = 0
        for placeholder in PLACEHOLDER.finditer(text):
            yield rule.pattern.sub(replace, text[position : placeholder.start()])
            yield placeholder[0]
            position = placeholder.end()
        yield rule.pattern.sub(replace, text[position:])

    def _placeholder(self, name: str, secret: str) -> str:
        value = secret.encode("utf-8", "surrogatepass")
        return f"<{name}:{blake2b(value, key=self._key, digest_size=3).hexdigest()}>"

    def _count(self, found: Counter[str]) -> None:
        if not found:
            return
        with self._lock:
            self._counts.update(found)
        for name, amount in found.items():
            self._telemetry.count("redactions", amount, type=name)


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    return re.sub(r"(?<!\S)\S*+\Z", "", text[:MAX_CHARS]) + "…"


def _together(rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """The hints of all rules, those that stand alone as one pattern: one pass over the text."""
    alone = dict.fromkeys(rule.hints[0] for rule in rules if len(rule.hints) == 1)
    several = [rule.hints for rule in rules if len(rule.hints) > 1]
    return [("|".join(f"(?:{hint})" for hint in alone),), *several] if alone else several
