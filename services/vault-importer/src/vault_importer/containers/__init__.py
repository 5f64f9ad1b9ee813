"""The containers that can be opened, in the order in which they are tried."""

from __future__ import annotations

from vault_importer.containers.base import Container, Header, not_a_backup
from vault_importer.containers.crypt12 import Crypt12
from vault_importer.containers.crypt14 import Crypt14
from vault_importer.containers.crypt15 import Crypt15

__all__ = ["CONTAINERS", "identify"]

CONTAINERS: tuple[Container, ...] = (Crypt12(), Crypt14(), Crypt15())


def identify(start: bytes) -> tuple[Container, Header]:
    """The container that a file begins as, and its header. ``start`` holds the file's first ``START_BYTES``.

    Raises :class:`BackupRefused` for a file that is none, or that ends before its header does.
    """
    for container in CONTAINERS:
        header = container.read_header(start)
        if header is not None:
            return container, header
    raise not_a_backup()
