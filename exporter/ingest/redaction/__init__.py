"""Replace secrets and personal data by typed placeholders.

`rules` is the list of what is hidden by which pattern (`rule` is what one of them is, `pieces` what their patterns are
made of, `forms` the tokens), `words` how it is called in which language, `checks` what only looks alike, `library` a
kept library beside our own rules. `view` shows them text with nothing escaped, `stems` are what is looked for first,
`finder` applies them to many texts at once, `seen` knows texts that were looked at, `redactor` replaces what they find.
"""

from exporter.ingest.redaction.finder import Secret
from exporter.ingest.redaction.placeholders import PLACEHOLDER, WITHHELD
from exporter.ingest.redaction.redactor import MAX_CHARS, Redactor
from exporter.ingest.redaction.rules import TYPES, fingerprint
from exporter.ingest.redaction.settings import ExtraPattern, RedactionSettings

__all__ = [
    "MAX_CHARS",
    "PLACEHOLDER",
    "TYPES",
    "WITHHELD",
    "ExtraPattern",
    "RedactionSettings",
    "Redactor",
    "Secret",
    "fingerprint",
]
