"""An index of words in this process's memory, made of rows when it is needed: SQLite's FTS5, which ranks by BM25."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence

MAX_QUERY_WORDS = 200

MOST_ASKED = 12
"""Words of a query that are looked up, the rarest: those that many texts have cost most and tell least."""

_WORD = re.compile(r"\w+")

_WITHOUT_TEXTS = ", content='', contentless_delete=1" if sqlite3.sqlite_version_info >= (3, 43) else ""
"""Where SQLite can delete from an index that does not keep the texts themselves."""


class WordIndex:
    """Texts under keys, found by their words; each has a moment and says whose it is, or is hidden.

    It may be used by several threads, one at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._connection.executescript(
            "CREATE TABLE known (number INTEGER PRIMARY KEY, key TEXT UNIQUE, at REAL, whose TEXT);"
            f"CREATE VIRTUAL TABLE words USING fts5 (text{_WITHOUT_TEXTS});"
            "CREATE VIRTUAL TABLE counts USING fts5vocab (words, row);"
        )

    def put(self, texts: Iterable[tuple[str, str, float, str | None]]) -> None:
        """Write or replace: key, text, moment in seconds, and whose it is; None hides it."""
        with self._lock:
            self._connection.execute("BEGIN")
            for key, text, at, whose in texts:
                self._delete(key)
                added = self._connection.execute(
                    "INSERT INTO known (key, at, whose) VALUES (?, ?, ?)", (key, at, whose)
                )
                self._connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (added.lastrowid, text))
            self._connection.execute("COMMIT")

    def delete(self, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                self._delete(key)

    def best(
        self, text: str, k: int, before: float, exclude: str, among: Sequence[str] = ()
    ) -> Sequence[tuple[str, float]]:
        """The k keys whose texts share the most telling words, of those from before a moment that are not hidden.

        `among` says whose they may be: anybody's where it is empty.
        """
        words = self._rarest(list(dict.fromkeys(_WORD.findall(text.lower().replace("\0", " "))))[:MAX_QUERY_WORDS])
        if not words:
            return ()
        owners = f"AND whose IN ({', '.join('?' * len(among))}) " if among else ""
        asked = " OR ".join(f'"{word}"' for word in words)
        query = (
            "SELECT key, -bm25(words) FROM words JOIN known ON known.number = words.rowid "
            "WHERE words MATCH ? AND whose IS NOT NULL AND at < ? AND key != ? "
            f"{owners}ORDER BY bm25(words), key LIMIT ?"
        )
        with self._lock:
            return self._connection.execute(query, (asked, before, exclude, *among, k)).fetchall()

    def _rarest(self, words: list[str]) -> list[str]:
        """Those of the words that fewest texts have; what no text has is not among them.

        The index folds letters and parts words: of one that it keeps otherwise it is not known how many have it.
        """
        if len(words) <= MOST_ASKED:
            return words
        query = f"SELECT term, doc FROM counts WHERE term IN ({', '.join('?' * len(words))})"
        with self._lock:
            counts = dict(self._connection.execute(query, words).fetchall())
        known = [word for word in words if word in counts or not (word.isascii() and word.isalnum())]
        return sorted(known, key=lambda word: (counts.get(word, 0), word))[:MOST_ASKED]

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _delete(self, key: str) -> None:
        found = self._connection.execute("SELECT number FROM known WHERE key = ?", (key,)).fetchone()
        if found:
            self._connection.execute("DELETE FROM words WHERE rowid = ?", found)
            self._connection.execute("DELETE FROM known WHERE number = ?", found)
