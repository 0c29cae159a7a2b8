"""Secrets are hidden in what is said and kept, and nothing else is."""

from __future__ import annotations

import pytest

from sweep.tracking.redaction import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at postgresql://me:s3cret@host:5432/db failed", "at postgresql://***@host:5432/db failed"),
        ("'postgresql+psycopg2://me:s3@cr/et?@host/db'", "'postgresql+psycopg2://***@host/db'"),
        ("ftp://me:s3cret@host/x is no tracking URI", "ftp://***@host/x is no tracking URI"),
        ("HTTPS://s3cret@host", "HTTPS://***@host"),
        ("http://host/x?token=s3cret&page=2", "http://host/x?token=***&page=2"),
        ("s3://bucket/x?scheme=http&secret_key=s3cret", "s3://bucket/x?scheme=http&secret_key=***"),
        ("url: /api/runs?API_KEY=s3cret (refused)", "url: /api/runs?API_KEY=*** (refused)"),
        ("postgresql://host/db?password=s3cret&sslmode=require", "postgresql://host/db?password=***&sslmode=require"),
    ],
)
def test_secrets_are_hidden_and_the_rest_is_kept(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=arms",
        "sqlite:////home/me@work/mlflow.db",
        "file:///home/me@work/x",
        "demo@smoke: 72 trials, write to me@work",
        "s3://bucket/folder",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_known_address_is_hidden_however_its_password_is_written() -> None:
    uri = "postgresql://me:two words' and \"quotes@host/db"
    assert redacted(f"cannot parse {uri}.", uri) == "cannot parse postgresql://***@host/db."
