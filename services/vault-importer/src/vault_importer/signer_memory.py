"""What the signer signed last, beside its key and outside of the database.

Whoever owns the database can take checkpoints out of it, write the history before them anew, and have the rest signed:
nothing in the database says that there was another one. This does. It holds one signed note for each tenant, which is
public and no secret; whoever can write here can also read the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from vault_importer.durable_file import write_durably

__all__ = ["SignerMemory"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SignerMemory:
    """A folder that the service may write, on a disk that is not the database's."""

    folder: Path

    def path_of(self, tenant: UUID) -> Path:
        return self.folder / f"{tenant}.note"

    def last(self, tenant: UUID) -> str | None:
        """The note of the last checkpoint; nothing when none was signed here. Raises :class:`OSError`."""
        try:
            return self.path_of(tenant).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def keep(self, tenant: UUID, note: str) -> None:
        """Remember a note from now on, whatever happens to the machine; whoever has the tenant's tree locked. Raises
        :class:`OSError`."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self.path_of(tenant), note)
