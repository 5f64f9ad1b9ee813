"""A bundle of evidence as somebody checks it who trusts neither the archive nor us."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

__all__ = ["check_offline", "with_another_word"]

VERIFIER = "verify_evidence.py"


def check_offline(bundle: Path, *, key: str) -> tuple[bool, str]:
    """Whether the verifier that lies in the bundle finds it good, and its first line. It sees the bundle and the log's
    public key: no network, no database, no package of ours."""
    with zipfile.ZipFile(bundle) as files:
        verifier = files.read(VERIFIER).decode()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-", "--key", key, str(bundle)],
        input=verifier,
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    return done.returncode == 0, (done.stdout.strip() or done.stderr.strip()).partition("\n")[0]


def with_another_word(bundle: Path, old: str, new: str) -> Path:
    """The same bundle, in which somebody changed what a message says."""
    forged = bundle.with_name(f"forged-{bundle.name}")
    with zipfile.ZipFile(bundle) as files, zipfile.ZipFile(forged, "w") as others:
        for name in files.namelist():
            others.writestr(name, files.read(name).replace(old.encode(), new.encode()))
    return forged
