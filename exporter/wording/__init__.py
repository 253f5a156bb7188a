"""How anything is said, wherever it is shown: `text` for pieces of text, `words` for ideas, `terminal` for a screen.

Log text is hostile. Everything foreign passes `text.clean` (or, on the page, `text.visible`) before it is shown, and
only then what the place itself needs: HTML's escapes, Slack's.
"""
