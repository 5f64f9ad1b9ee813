"""A person has to be forgotten, and what each service made of it. Produced by vault-importer; answered by all."""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.event import Event, Part, UtcDatetime

__all__ = ["ErasedRows", "ErasureReceiptV1", "KeptRows", "SubjectErasedV1"]


class SubjectErasedV1(Event):
    """Everything about this person that is from before ``effective_at`` is to be erased, in every store.

    One erasure is told in parts, since a person may have written a hundred thousand messages: the first part says who
    it is, the others name further messages only. Each service answers each part with an ``erasure.receipt``. What the
    person does after ``effective_at`` (they call again) is a new matter.
    """

    type: ClassVar[str] = "subject.erased.v1"

    erasure_id: str
    """The request that two people approved."""
    subject_id: str
    """Opaque; the same in all parts."""
    part: int
    """From 1."""
    scope: Literal["person", "messages"]
    """``messages``: only what was written and what was made of it; calls and the directory's entry stay."""
    effective_at: UtcDatetime
    """What is older is erased, also when it arrives later."""
    numbers: tuple[str, ...] = ()
    """E.164"""
    emails: tuple[str, ...] = ()
    """In lower case."""
    addresses: tuple[str, ...] = ()
    """WhatsApp addresses, all of the person's identities."""
    customer_ids: tuple[str, ...] = ()
    """Customers that are this person, to be erased whole."""
    lead_ids: tuple[str, ...] = ()
    """Leads that are this person, to be erased whole."""
    contact_ids: tuple[str, ...] = ()
    """The vault's ids of the person, as ``sender_id`` of messages has them."""
    chat_ids: tuple[str, ...] = ()
    """Conversations with nobody but this person."""
    message_ids: tuple[str, ...] = ()
    """Messages that are gone, in whatever conversation."""

    def entity_id(self) -> str:
        return self.subject_id


class ErasedRows(Part):
    """What was erased in one store."""

    store: str
    """The table, or what else holds data."""
    rows: int
    """How many; never which."""


class KeptRows(Part):
    """What a store keeps, and why it may."""

    store: str
    """The table, or what else holds data."""
    rows: int
    """How many."""
    reason: str
    """A sentence for the certificate."""
    until: UtcDatetime | None = None
    """When they go by themselves."""


class ErasureReceiptV1(Event):
    """One service has erased what it held of a person, in one transaction with this."""

    type: ClassVar[str] = "erasure.receipt.v1"

    erasure_id: str
    """Of the request."""
    subject_id: str
    """Of the request."""
    part: int
    """Which part of the request this answers."""
    service: str
    """Who answers."""
    erased: tuple[ErasedRows, ...] = ()
    """Empty when nothing was held."""
    kept: tuple[KeptRows, ...] = ()
    """What stays, or leaves later."""
    forgotten_at: UtcDatetime
    """When the last copies are gone that leave by themselves: the service's outbox, and what keeps the past out."""
    at: UtcDatetime
    """When it was erased."""

    def entity_id(self) -> str:
        return self.subject_id
