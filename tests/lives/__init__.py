"""The lives of incidents on a made platform: failures, level shifts, releases, silences, and what is told."""
