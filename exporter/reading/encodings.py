"""What text is written in: by its mark, by what its bytes are, or by guess where it is no UTF-8."""

from __future__ import annotations

import codecs
import re

UTF8 = "utf-8"

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32 with BOM"),
    (codecs.BOM_UTF32_BE, "utf-32 with BOM"),
    (codecs.BOM_UTF16_LE, "utf-16 with BOM"),
    (codecs.BOM_UTF16_BE, "utf-16 with BOM"),
)

_GUESSED = {
    "gb18030": "gb18030",
    "big5": "big5",
    "cp932": "shift_jis",
    "euc_jp": "euc-jp",
    "cp949": "euc-kr",
    "koi8_r": "koi8-r",
    "cp866": "cp866",
    **{f"cp{number}": f"windows-{number}" for number in range(1250, 1259)},
}
"""What is looked for, and what people call it."""

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

_LINES = 400
"""Lines that are no ASCII by which is guessed."""


def codec_of(name: str) -> str:
    """The codec of an encoding by what people call it. Raises LookupError.

    >>> codec_of("utf-16 with BOM"), codec_of("windows-1251")
    ('utf-16', 'cp1251')
    """
    return codecs.lookup(name.removesuffix(" with BOM")).name


def encoding_of(head: bytes) -> str:
    """What the beginning of a text is written in; UTF-8 where nothing fits better.

    >>> encoding_of("ошибка".encode("utf-16")), encoding_of("Größe".encode()), encoding_of(b"\\x89PNG\\x00\\xff")
    ('utf-16 with BOM', 'utf-8', 'utf-8')
    """
    if name := next((name for mark, name in _MARKS if head.startswith(mark)), None):
        return name
    if wide := _without_mark(head):
        return wide
    if head.isascii() or _mostly_utf8(head) or len(_CONTROL.findall(head)) * 100 > len(head):
        return UTF8
    return _guessed(head) or UTF8


def _without_mark(head: bytes) -> str | None:
    """UTF-16 without its mark: in text with figures and blanks, one byte of nearly every second letter is zero."""
    pairs = len(head) // 2
    for name, first in (("utf-16le", 1), ("utf-16be", 0)):
        if pairs >= 8 and head[first::2].count(0) * 10 > pairs * 4 and head[1 - first :: 2].count(0) * 50 < pairs:
            return name
    return None


def _mostly_utf8(head: bytes) -> bool:
    """A payload or a broken letter makes no other encoding of it."""
    text = head.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    right = sum(not character.isascii() for character in text) - wrong
    # The last letter may be cut.
    return wrong <= 1 or right > wrong


def _guessed(head: bytes) -> str | None:
    import charset_normalizer

    telling = [line for line in head.split(b"\n") if not line.isascii()][:_LINES]
    found = charset_normalizer.from_bytes(b"\n".join(telling), cp_isolation=list(_GUESSED)).best()
    if found is None:
        return None
    # Where it makes no difference so far, the one that most use.
    names = [found.encoding, *(name for name in found.could_be_from_charset if name in _GUESSED)]
    return _GUESSED["cp1252" if "cp1252" in names else found.encoding]
