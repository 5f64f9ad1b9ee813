"""The only place that makes clients."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kit.postgres import Database
from vault_importer.accounts import Account, open_key, parse_sealing_key
from vault_importer.apart.backup import Allowance
from vault_importer.decrypt import Limits
from vault_importer.media_files import MediaFolders

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from runtime.service import Component, Wired
    from vault_importer.erasure.case import SuppressionKey
    from vault_importer.erasure.run import Erasing
    from vault_importer.seal import Sealing
    from vault_importer.settings import Settings
    from vault_importer.signed_note import Verifier
    from vault_importer.signer_memory import SignerMemory
    from vault_importer.timestamps import Authority

__all__ = [
    "authority_of",
    "build",
    "erasing_of",
    "limits_of",
    "log_keys",
    "make_database",
    "media_folders",
    "sealing_of",
    "stored_key",
    "suppression_key",
]


#: How long a message that was imported is not found at most, while the index keeps up.
INDEX_SECONDS = 2.0
#: How long it takes at most that a contact is decided again, while the pass keeps up.
LINK_SECONDS = 5.0
SWEEP_SECONDS = 3600.0
#: Between two looks at what is to be erased, and at who has answered.
ERASE_SECONDS = 5.0


def make_database(settings: Settings) -> Database:
    return Database(
        service=settings.service,
        dsn=settings.postgres_dsn,
        app_password=settings.app_password.get_secret_value(),
        system_password=settings.system_password.get_secret_value(),
    )


def limits_of(settings: Settings) -> Limits:
    reading = Allowance(memory_bytes=settings.read_memory_bytes, seconds=settings.read_seconds)
    return Limits(plain_bytes=settings.max_plain_bytes, ratio=settings.max_inflate_ratio, reading=reading)


def media_folders(settings: Settings, phone: Path) -> MediaFolders:
    """Raises ``ValueError`` when there is no such folder, or none to keep media in."""
    if settings.media_dir is None:
        raise ValueError("Set TRUNKLINE_VAULT_IMPORTER_MEDIA_DIR, the folder in which media files are kept.")
    if not phone.is_dir():
        raise ValueError("The media folder is not a folder that can be read.")
    return MediaFolders(phone=phone, store=settings.media_dir, largest_bytes=settings.max_media_bytes)


def stored_key(account: Account, settings: Settings) -> bytes | None:
    """The backup key that the account has stored, opened. Raises :class:`SealingError`."""
    if account.sealed_key is None:
        return None
    return open_key(
        account.sealed_key,
        sealing_key=parse_sealing_key(settings.key_encryption_key.get_secret_value()),
        tenant_id=account.tenant_id,
        account_id=account.id,
    )


def suppression_key(settings: Settings) -> SuppressionKey | None:
    """What keeps erased people out of later backups; nothing without the service's own key."""
    from vault_importer.erasure.case import SuppressionKey

    key = settings.key_encryption_key.get_secret_value()
    return SuppressionKey.of(parse_sealing_key(key)) if key else None


def erasing_of(settings: Settings, database: Database) -> Erasing | None:
    """What erasures work with; nothing without the service's own key."""
    from vault_importer.erasure.run import Erasing

    key = suppression_key(settings)
    if key is None:
        return None
    return Erasing(
        database=database,
        key=key,
        media_store=settings.media_dir,
        backups=settings.watch_dir,
        sealing=sealing_of(settings),
    )


def sealing_of(settings: Settings) -> Sealing | None:
    """What checkpoints are signed with; nothing when no key is set."""
    from vault_importer.seal import Sealing
    from vault_importer.signed_note import parse_signer
    from vault_importer.witness_client import parse_witnesses

    key = settings.signing_key.get_secret_value()
    if not key:
        return None
    return Sealing(
        signer=parse_signer(key),
        witnesses=parse_witnesses(settings.witnesses),
        authority=authority_of(settings),
        memory=memory_of(settings),
    )


def memory_of(settings: Settings) -> SignerMemory | None:
    """What was signed last, where that is remembered outside of the database."""
    from vault_importer.signer_memory import SignerMemory

    folder = settings.signing_memory_dir
    return None if folder is None else SignerMemory(folder=folder)


def log_keys(settings: Settings, tenant: UUID, given: Sequence[str]) -> list[Verifier]:
    """Public keys of a tenant's log: the set one, and those that somebody gives. Raises :class:`NoteError`."""
    from vault_importer.checkpoints import tenant_signer
    from vault_importer.signed_note import parse_signer, parse_verifier

    own = settings.signing_key.get_secret_value()
    known = [tenant_signer(parse_signer(own), tenant).verifier] if own else []
    return [*known, *map(parse_verifier, given)]


def authority_of(settings: Settings) -> Authority | None:
    """Who stamps the time; nothing when nobody is named. Raises :class:`TimestampRefused` without its roots."""
    from vault_importer.timestamps import Authority, TimestampRefused, read_roots

    if settings.tsa_url is None:
        return None
    if settings.tsa_ca_file is None:
        raise TimestampRefused("TRUNKLINE_VAULT_IMPORTER_TSA_URL needs TRUNKLINE_VAULT_IMPORTER_TSA_CA_FILE beside it.")
    return Authority(settings.tsa_url, read_roots(settings.tsa_ca_file))


def build(settings: Settings) -> Wired:
    """The service: consumer, relay, HTTP and, when a folder is named, the watch."""
    from kit.consume import Consumer
    from recovery.dead_letters.api import beside
    from recovery.parts import consuming
    from runtime.relay import Relay
    from runtime.service import Wired
    from vault_importer.api import make_api
    from vault_importer.consumers import SUBSCRIPTIONS

    database = make_database(settings)
    sealing = sealing_of(settings)
    token = settings.admin_token.get_secret_value()
    consumer = Consumer(
        database=database,
        kafka_bootstrap=settings.kafka_bootstrap,
        subscriptions=SUBSCRIPTIONS,
        instance_id=settings.instance_id,
    )
    components: list[Component] = [
        database,
        Relay(database=database, kafka_bootstrap=settings.kafka_bootstrap, service=settings.service),
        *consuming(database, consumer),
    ]
    if settings.watch_dir is not None:
        components.append(_old_backups(settings.watch_dir, settings.keep_backups_days))
        components.append(_watching(settings, settings.watch_dir, database, sealing))
    if sealing is not None:
        components.append(_checkpoints(database, sealing, settings.checkpoint_seconds))
    components += [_indexing(database), _linking(database)]
    if (erasing := erasing_of(settings, database)) is not None:
        components.append(_erasures(erasing))
    http = beside(make_api(database, token, media_store=settings.media_dir), database, admin_token=token)
    return Wired(http=http, components=components)


def _watching(settings: Settings, folder: Path, database: Database, sealing: Sealing | None) -> Component:
    from vault_importer.watch import Watch, WatchOptions

    return Watch(
        database=database,
        key_of=lambda account: stored_key(account, settings),
        options=WatchOptions(
            folder=folder,
            every_seconds=settings.watch_seconds,
            settle_seconds=settings.watch_settle_seconds,
            attempts=settings.watch_attempts,
            temporary=settings.temporary_dir,
            limits=limits_of(settings),
            sealing=sealing,
            media_store=settings.media_dir,
            largest_media_bytes=settings.max_media_bytes,
            suppression_key=suppression_key(settings),
        ),
    )


def _indexing(database: Database) -> Component:
    from runtime.service import Every
    from vault_importer.index_messages import index_all

    return Every("search index", INDEX_SECONDS, lambda: index_all(database))


def _linking(database: Database) -> Component:
    from runtime.service import Every
    from vault_importer.links.follow import link_all

    return Every("links", LINK_SECONDS, lambda: link_all(database))


def _old_backups(watched: Path, keep_days: float) -> Component:
    import asyncio

    from runtime.service import Every
    from vault_importer.erasure.files import remove_old_backups

    async def sweep() -> None:
        await asyncio.to_thread(remove_old_backups, watched, keep_days)

    return Every("old backups", SWEEP_SECONDS, sweep)


def _erasures(erasing: Erasing) -> Component:
    from runtime.service import Every
    from vault_importer.erasure.run import work_all

    return Every("erasures", ERASE_SECONDS, lambda: work_all(erasing))


def _checkpoints(database: Database, sealing: Sealing, seconds: float) -> Component:
    from runtime.service import Every
    from vault_importer.seal import seal_all

    return Every("checkpoints", seconds, lambda: seal_all(database, sealing, lambda: datetime.now(UTC)))
