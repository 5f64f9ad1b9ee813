"""The use case after a restore: what certificates say that was erased since is kept out again, and asked for again.

Only what can be taken back is done on the strength of a file: addresses go back on the suppression list, and a request
is entered. To erase again takes two people and a plan that was read, as ever: what the restored archive holds under an
address need not be what was erased, and a number may have gone to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from kit.postgres import Database
from vault_importer.audit_store import append_audit
from vault_importer.erasure import store, suppression_store
from vault_importer.erasure.case import Case, SuppressionKey, Who
from vault_importer.erasure.decide import Asked, ask, require_name
from vault_importer.erasure.receipts import Certificate

__all__ = ["Recalled", "recall"]

PAGE = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled:
    """What came of one certificate."""

    certificate: Certificate
    known: bool
    """Whether this database remembers that it was done."""
    kept_out_again: int
    """Addresses that the suppression list had lost."""
    case: Case | None
    """The request about those who are there again; nothing when nobody is."""
    entered: bool
    """Whether the request is new."""


async def recall(
    database: Database, tenant: UUID, certificate: Certificate, *, key: SuppressionKey, by: str
) -> Recalled:
    """Called again, it finds what it did before. Raises :class:`ErasureRefused`."""
    require_name(by)
    async with database.transaction(tenant) as tx:
        await suppression_store.keep_out(tx)
        before = await store.case_of(tx, certificate.request)
        added = await suppression_store.suppress_again(
            tx, sorted(certificate.tags), erasure_id=certificate.request, until=certificate.completed_at
        )
        about = {"erasure": str(certificate.request), "by": by, "addresses": added}
        await append_audit(tx, "erasure.recalled", at=datetime.now(UTC), details=about)
    known = before is not None and before.state == "done"
    # Where it is known as done, who is there has come back and was let in.
    who = Who() if known else await _there_again(database, tenant, certificate, key)
    case = None
    if who:
        async with database.transaction(tenant) as tx:
            case = await store.open_case_about(tx, who)
    entered = bool(who) and case is None
    if entered:
        why = f"certificate of {certificate.request}"
        asked = Asked(who=who, scope=certificate.scope, ground=certificate.ground, by=by, why=why)
        case = await ask(database, tenant, asked)
    return Recalled(certificate=certificate, known=known, kept_out_again=added, case=case, entered=entered)


async def _there_again(database: Database, tenant: UUID, certificate: Certificate, key: SuppressionKey) -> Who:
    """The archive's people with the tags, and numbers of customers and leads: who only called is there as well."""
    contacts: list[UUID] = []
    after = UUID(int=0)
    while True:
        async with database.transaction(tenant) as tx:
            people = await store.page_of_contacts(tx, after, PAGE)
        if not people:
            break
        contacts += [id_ for id_, address in people if key.tag(tenant, address) in certificate.tags]
        after = people[-1][0]
    numbers: list[str] = []
    last = ""
    while certificate.scope == "person":
        async with database.transaction(tenant) as tx:
            page = await store.page_of_party_numbers(tx, last, PAGE)
        if not page:
            break
        numbers += [each for each in page if key.tag(tenant, f"{each[1:]}@s.whatsapp.net") in certificate.tags]
        last = page[-1]
    return Who(contact_ids=tuple(contacts), numbers=tuple(numbers))
