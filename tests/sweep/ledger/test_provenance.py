"""Where results come from: versions, machine and commit, as the ledger keeps them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sweep.ledger import provenance


def test_provenance_names_versions_and_machine() -> None:
    facts = provenance.collect()
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["numpy"] == np.__version__
    assert facts["instruction_set"]
    assert set(facts) >= {"pliant", "torch", "ray", "mlflow", "host", "platform", "commit", "time"}
    assert provenance.version("no-such-package-anywhere") is None


def test_the_instruction_set_is_read_from_the_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, widest in (("sse avx avx2", "avx2"), ("sse avx avx2 avx512f avx512bw", "avx512")):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "cpuinfo")
        assert provenance.instruction_set() == widest


def test_the_commit_is_that_of_the_repository_itself(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert provenance.commit(tmp_path) is None
    git("init", "--quiet")
    assert provenance.commit(tmp_path) is None
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").write_text("1")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert provenance.commit(tmp_path) == head
    assert provenance.commit(tmp_path / "inside") is None
    (tmp_path / "inside" / "file").write_text("2")
    assert provenance.commit(tmp_path) == f"{head}-dirty"
