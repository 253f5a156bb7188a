"""The rows in which detection keeps what it has learnt."""

TABLES = """
CREATE TABLE IF NOT EXISTS detection_progress (
    source TEXT PRIMARY KEY, settled INTEGER NOT NULL, learnt INTEGER NOT NULL, body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_observations (
    source TEXT NOT NULL, window INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (source, window)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_blocks (
    source TEXT NOT NULL, hour INTEGER NOT NULL, windows INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (source, hour)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_services (
    source TEXT NOT NULL, service TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    windows INTEGER NOT NULL, lines INTEGER NOT NULL, silent INTEGER NOT NULL, longest INTEGER NOT NULL,
    low INTEGER NOT NULL, alive INTEGER NOT NULL,
    PRIMARY KEY (source, service)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_pool (
    source TEXT NOT NULL, window INTEGER NOT NULL, service TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (source, window, service)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_scores (
    source TEXT NOT NULL, window INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (source, window)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_models (
    source TEXT NOT NULL, kind TEXT NOT NULL, fitted_through INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (source, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_sessions (
    source TEXT NOT NULL, session TEXT NOT NULL, service TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    judged INTEGER NOT NULL, learnt TEXT NOT NULL, counts TEXT NOT NULL, score REAL NOT NULL,
    anomalous INTEGER NOT NULL,
    PRIMARY KEY (source, session)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_vectors (
    source TEXT NOT NULL, vector TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (source, vector)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detection_renames (
    source TEXT NOT NULL, old INTEGER NOT NULL, new INTEGER NOT NULL, PRIMARY KEY (source, old)
) STRICT, WITHOUT ROWID;
"""
