"""Make hostile texts of any length: a beginning, a piece that is repeated, an end that lets all hope fail."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

BEGINNINGS = (
    "",
    " ",
    "\t",
    "a=b ",
    "msg=",
    'msg="',
    "level=info msg=x ",
    '{"log":"',
    '{"message":"',
    "[",
    "<",
    "<0>",
    "<13>1 2026-03-14T09:26:00Z ",
    "Mar 14 09:26:00 host prog[1]: ",
    "2026-03-14T09:26:00Z stdout F ",
    "2026-03-14 09:26:00,123 ERROR ",
    "ERROR\n\tat ",
    "Traceback (most recent call last):\n",
    '  File "',
    "https://",
    "password=",
    "Authorization: Bearer ",
    "-----BEGIN RSA PRIVATE KEY-----",
    "Cookie: ",
    "0x",
    "eyJ",
    "a@",
    "<think>",
    "```json\n",
    "x <NUM> ",
)

PIECES = (
    *(
        "a",
        "A",
        "0",
        "1",
        "f",
        "9a",
        "a1",
        "aB3",
        "é",
        "\u202e",
        "\U0001f600",
        "\x00",
        "\ufffd",
        "\x1b",
        "\x1b[",
        "\x9b",
    ),
    *(
        " ",
        "\t",
        "\n",
        "\r",
        "\\",
        '"',
        "'",
        "`",
        "=",
        "<",
        ">",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "[]",
        "{}",
        "()",
        "[[",
        "][",
    ),
    *(
        "/",
        "//",
        "://",
        "a/",
        "/a/",
        ".",
        "a.",
        ".a",
        "1.",
        "0.0.",
        ":",
        "a:",
        "::",
        "0:",
        "-",
        "a-",
        "--",
        "_",
        "@",
        "a@",
        "@a.",
        "~",
    ),
    *(",", ", ", ";", "|", "^", "*", "%", "&", "?", "+", "#", "!"),
    *("a=", "a=b", "a=b ", "=b", 'a="', 'a="b" ', "a='", '="', '"=', '\\"', '\\"a', "\\\\", "a\\"),
    *(
        "a b ",
        "a a",
        " a",
        "\n ",
        "\n\t",
        "\n    ",
        " \n",
        "a\n",
        "\nat ",
        "\tat a(",
        "\tat a.b(c)\n",
        "at (",
        "Caused by: ",
    ),
    *(
        "<NUM>",
        "<NUM> ",
        "<NUM>, ",
        "[<NUM>",
        "[<NUM>,",
        "<NUM>[ ",
        "<TIME>",
        "<TIME>/",
        "<HOST> ",
        "<*>",
        "<V>",
        "=<V>, ",
        "<...>",
    ),
    *(
        "<a:",
        "<a:0123ab>",
        "<email:3fa9c1>",
        "<!",
        "<@",
        "<http:",
        "[a](",
        "![",
        "](",
        "www.",
        "http://",
        "data:",
        "x://a ",
    ),
    *(
        "0 ms",
        "0s ",
        "0-0-0",
        "0/0",
        "0:0:0",
        "0x0",
        "0x",
        "e0",
        "0e",
        "Jan 0 ",
        "Mon ",
        "GMT",
        "0.0.0.0 ",
        "a.com",
        "a.com.",
        ".com",
    ),
    *(
        "error",
        "exception",
        "fail",
        "Error ",
        "OOMKill",
        "timed out ",
        "could not ",
        "warn",
        "level=",
        "level:",
        "[info]",
    ),
    *(
        "password=",
        "secret",
        "token:",
        "key",
        "-token ",
        "<password>",
        "bearer ",
        "basic ",
        "cookie=",
        "authorization: ",
    ),
    *(
        "AKIA",
        "ghp_",
        "xox",
        "sk-",
        "eyJa.",
        "eyJ",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "GB82 ",
        "4111 ",
        "4111-",
    ),
    *('{"a":', '{"a":[', '{"a":1}', '[{"a":', '"a":', "{'", "null,", "1e", "\\u0000", "\\ud800", "\\n", '\\"}'),
    *(
        "HTTP/0 ",
        "status=",
        "status ",
        "code: ",
        "exit code ",
        "took ",
        "duration=",
        "0.0",
        "500 Internal",
        "goroutine 0 [",
    ),
    *(
        'File "a", line 0',
        "[Ticket(a=<V>, b=<V>), ",
        "(no=<V>, ",
        "abc<NUM>d ",
        "w1 w2 w3 ",
        "camelCase",
        "XMLHttp",
        "ﷺ",
        "İ",
        "ß",
    ),
)

ENDS = (
    "",
    " ",
    "!",
    '"',
    "'",
    "\\",
    "=",
    "}",
    "]",
    ")",
    ">",
    "\n",
    "\x00",
    "é",
    "_",
    "x y",
    " =",
    '" ',
    "</think>",
    "…",
    "0",
)


@dataclass(frozen=True)
class Text:
    """One hostile text, at any length."""

    beginning: str
    piece: str
    end: str

    def of(self, size: int) -> str:
        """About so many characters of it."""
        times = max(1, (size - len(self.beginning) - len(self.end)) // len(self.piece))
        return f"{self.beginning}{self.piece * times}{self.end}"

    def __str__(self) -> str:
        return f"{self.beginning!r} + {self.piece!r} * n + {self.end!r}"


FOUND = (
    Text("a=b ", "a", ""),
    Text("msg=x a=b ", "a", ""),
    Text("", "[", ""),
    Text("<NUM> ", "[", ""),
    Text("", "[]", "<NUM>"),
    Text("", "a b c d e f g h i j k l m n o p q r s t u v <NUM> ", ""),
    Text("", "a", " b"),
    Text("", "\x1b[", ""),
    Text("", '{"a":', ""),
)
"""Attacks that worked, or nearly."""


def some(seed: int) -> Iterator[Text]:
    """What was found, each piece by itself, then others in an order of chance, for ever."""
    yield from FOUND
    yield from (Text("", piece, "") for piece in PIECES)
    chance = random.Random(seed)
    while True:
        piece = "".join(chance.choices(PIECES, k=chance.choice((1, 1, 1, 2, 2, 3))))
        yield Text(chance.choice(BEGINNINGS), piece, chance.choice(ENDS))
