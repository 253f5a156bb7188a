"""The image, built as whoever deploys it builds it, and tried as it is run: another user, and a root that is read-only.

Nothing but the standard library: it runs before there is an environment.
"""
