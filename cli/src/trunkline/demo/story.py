"""The story itself: each scene does one thing to the running services and says what came of it.

A scene that does not turn out as it should raises :class:`StoryBroken`; the demo then fails, loudly.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx

from trunkline.demo.clients import Answer, GenericPbx, TwilioPbx
from trunkline.demo.evidence import check_offline, with_another_word
from trunkline.demo.stage import TENANT_SETTLES_SECONDS, Stage, StoryBroken, expect
from trunkline.demo.world import CUSTOMER_WHATSAPP, KOCHI_STAFF, caller_number, command, passing_number

__all__ = ["Story", "StoryBroken"]

MESSAGES = 20_000
ANSWERED_SECONDS = 120.0


class Story(Stage):
    def run(self) -> None:
        with closing(self.world.kochi_pbx()) as kochi, closing(self.world.mumbai_pbx()) as mumbai:
            try:
                self._scenes(kochi, mumbai)
            finally:
                self._everybody_hangs_up(kochi)

    def _scenes(self, pbx: GenericPbx, mumbai: TwilioPbx) -> None:
        call = self._call_ids()
        self.wait_until_known(pbx, call)
        self.the_owner_answers(pbx, call)
        self.the_last_agent_answers(pbx, call)
        self.leave_excludes_the_last_agent(pbx, call)
        self.no_agent_is_rung_by_their_own_call(pbx, call)
        self.an_anonymous_caller_gets_the_default(pbx, call)
        self.twilio_is_answered_in_its_own_dialect(mumbai)
        self.callbacks_come_twice_and_out_of_order(pbx, call)
        self.a_backup_is_imported_once()
        self.the_archive_proves_itself()
        self.two_tax_numbers_conflict()
        self.the_owner_gets_one_mail()
        self.a_caller_is_forgotten(pbx, call)

    def _call_ids(self) -> Callable[[str], str]:
        stamp = f"{int(time.time())}-{self.world.runs}"
        return lambda name: f"demo-{stamp}-{name}"

    def wait_until_known(self, pbx: GenericPbx, call: Callable[[str], str]) -> None:
        """The directory reaches the ringing path by events; a moment after it was written, not at once."""
        deadline, attempt = time.monotonic() + TENANT_SETTLES_SECONDS, 0
        while True:
            attempt += 1
            answer = self._ring(pbx, call(f"warm-{attempt}"), caller_number(self.world.runs))
            if answer.body["destinations"] and answer.first["reason"] == "owner":
                return
            if time.monotonic() > deadline:
                raise StoryBroken("the directory's events have not reached the router; see: trunkline status")
            time.sleep(0.1)

    def the_owner_answers(self, pbx: GenericPbx, call: Callable[[str], str]) -> None:
        answer = self._ring(pbx, call("first"), caller_number(self.world.runs))
        self._rung(answer, "accounts", "owner")
        self.tell.scene("A known customer rings", self._asked(answer, "rings the customer's owner"))
        self._follow("call.inbound", call("first"))

    def the_last_agent_answers(self, pbx: GenericPbx, call: Callable[[str], str]) -> None:
        caller = caller_number(self.world.runs)
        agent = KOCHI_STAFF["reception"]
        self._talk(pbx, call("talk"), caller, agent)
        # Whom a caller talked to last is known from the call's events, a moment after it ended.
        answer = self._until(
            lambda n: self._ring(pbx, call(f"second-{n}"), caller), lambda a: a.first["reason"] == "last_agent"
        )
        self._rung(answer, "reception", "last_agent")
        self.tell.scene(
            "The customer talks to the reception, and rings again", self._asked(answer, "rings who talked to them last")
        )

    def leave_excludes_the_last_agent(self, pbx: GenericPbx, call: Callable[[str], str]) -> None:
        directory = self.world.kochi.directory(self.world.addresses)
        now = datetime.now(UTC)
        directory.leave(
            "reception", (now - timedelta(minutes=1)).isoformat(), (now + timedelta(hours=8)).isoformat(), "Onam"
        )
        answer = self._until(
            lambda n: self._ring(pbx, call(f"leave-{n}"), caller_number(self.world.runs)),
            lambda a: a.first["reason"] == "owner",
        )
        self._rung(answer, "accounts", "owner")
        excluded = answer.body["excluded"]
        expect(any(e["reason"] == "on_leave" for e in excluded), f"nobody was excluded for leave: {excluded}")
        names = ", ".join(f"{e['name']}: {e['reason']} (would have been {e['rule']})" for e in excluded)
        self.tell.scene(
            "The reception goes on leave", [*self._asked(answer, "rings the owner again"), f"not rung: {names}"]
        )
        directory.back_from_leave("reception")

    def no_agent_is_rung_by_their_own_call(self, pbx: GenericPbx, call: Callable[[str], str]) -> None:
        caller = KOCHI_STAFF["reception"]
        answer = self._ring(pbx, call("self"), caller)
        numbers = [d["number"] for d in answer.body["destinations"]]
        expect(numbers, "an agent's own call got no destination")
        expect(caller not in numbers, "an agent's call was routed to the agent's own mobile")
        self.tell.scene("An agent's own mobile rings the line", self._asked(answer, "never routed to itself"))

    def an_anonymous_caller_gets_the_default(self, pbx: GenericPbx, call: Callable[[str], str]) -> None:
        def rings(attempt: int) -> Answer:
            return self._ring(pbx, call(f"anonymous-{attempt}"), "anonymous")

        # The agent's return from leave travels by events, too.
        answer = self._until(rings, lambda a: a.first["reason"] == "did_default")
        self._rung(answer, "reception", "did_default")
        self.tell.scene("An anonymous caller", self._asked(answer, "gets the line's default"))

    def twilio_is_answered_in_its_own_dialect(self, pbx: TwilioPbx) -> None:
        sid = f"CA{time.time_ns():032x}"
        answer = self._until(
            lambda _: pbx.voice(sid, "+919820012345", self.world.mumbai.did), lambda a: "<Number" in str(a.body)
        )
        dialled = [e.text for e in ElementTree.fromstring(answer.body).iter("Number")]  # noqa: S314 - our own answer
        expect(dialled, f"no number in the TwiML: {answer.body}")
        self.tell.scene(
            "Mumbai's line rings at Twilio",
            [f"signed form in, TwiML out in {answer.ms:.1f} ms: <Dial> to {len(dialled)} number(s)"],
        )
        expect(
            pbx.status(sid, "+919820012345", self.world.mumbai.did, "canceled", 9).status == 200, "a callback failed"
        )
        forged = replace(pbx, auth_token="forged")  # noqa: S106 - not a secret
        refused = forged.voice(sid + "x", "+919820012345", self.world.mumbai.did)
        expect(refused.status == 403, f"a forged signature was answered with {refused.status}")
        self.tell.more("a forged signature is refused with 403")

    def callbacks_come_twice_and_out_of_order(self, pbx: GenericPbx, call: Callable[[str], str]) -> None:
        call_id, caller, agent = call("shuffled"), caller_number(self.world.runs), KOCHI_STAFF["accounts"]
        self._ring(pbx, call_id, caller)
        now = datetime.now(UTC)
        callbacks = {
            "ringing": {"sequence": 1, "at": now.isoformat()},
            "answered": {"sequence": 2, "at": (now + timedelta(seconds=8)).isoformat(), "agent_number": agent},
            "completed": {
                "sequence": 3, "at": (now + timedelta(seconds=68)).isoformat(), "duration_seconds": 60,
                "agent_number": agent,
            },
        }  # fmt: skip
        for status in ("completed", "ringing", "answered", "completed", "ringing", "answered"):
            answer = pbx.status(call_id, status, **{"from": caller, "to": self.world.kochi.did}, **callbacks[status])
            expect(answer.status == 200, f"a {status} callback got {answer.status}")
        found = self.tail.wait("call.state", lambda d: d["vendor_call_id"] == call_id and d["state"] == "completed")
        self._settle()
        events = [s.data for s in self.tail.of_call(found.data["call_id"]) if s.topic == "call.state"]
        expect(events[-1]["state"] == "completed", f"the call ended in {events[-1]['state']}")
        expect(len({e["version"] for e in events}) == len(events), "a callback took effect twice")
        self.tell.scene(
            "Six callbacks: each twice, the last one first",
            [f"one call, {events[-1]['state']} after {events[-1]['duration_seconds']} s, {len(events)} state event(s)"],
        )

    def a_backup_is_imported_once(self) -> None:
        world, folder = self.world, self.folder / "backup"
        if not (folder / "msgstore.db.crypt15").exists():
            command(
                world.addresses, "vault", "sample", "--out", str(folder), "--messages", str(MESSAGES),
                "--conflict-number", CUSTOMER_WHATSAPP, "--until", datetime.now(UTC).isoformat(),
            )  # fmt: skip
        first, first_s = self._import(folder)
        second, second_s = self._import(folder)
        expect(second["state"] == "unchanged", f"the second import was {second['state']}")
        size = (folder / "msgstore.db.crypt15").stat().st_size / 1e6
        self.tell.scene(
            "WhatsApp's encrypted backup arrives, twice",
            [
                f"{size:.1f} MB of .crypt15, decrypted, authenticated, archived: {_counts(first)} in {first_s:.2f} s",
                f"the same file again: {second['state']} in {second['seconds']:.2f} s (whole command {second_s:.2f} s)",
            ],
        )

    def _import(self, folder: Path) -> tuple[dict[str, Any], float]:
        begun = time.perf_counter()
        result = command(
            self.world.addresses, "vault", "import", str(folder / "msgstore.db.crypt15"),
            "--account", self.world.kochi.vault_account, "--key-file", str(folder / "backup.key"),
        )  # fmt: skip
        return result, time.perf_counter() - begun

    def the_archive_proves_itself(self) -> None:
        where, tenant = self.world.addresses, self.world.kochi.tenant_id
        # What an older release had archived gets its leaves once.
        command(where, "vault", "adopt", "--tenant", tenant)
        command(where, "vault", "checkpoint", "--tenant", tenant)
        checked = command(where, "vault", "verify", "--tenant", tenant)
        expect(checked["ok"], f"the archive is not as it was written: {checked}")
        key = command(where, "vault", "public-key", "--tenant", tenant)["public_key"]
        bundle = self.folder / "evidence.zip"
        bundle.unlink(missing_ok=True)
        whose = ("--customer", CUSTOMER_WHATSAPP, "--out", str(bundle))
        made = command(where, "vault", "evidence", "--tenant", tenant, *whose)
        good, said = check_offline(bundle, key=key)
        expect(good, f"the evidence does not hold: {said}")
        forged, refused = check_offline(with_another_word(bundle, "GSTIN", "GSTlN"), key=key)
        expect(not forged, "evidence in which a word was changed is taken for good")
        self.tell.scene(
            "The archive proves itself",
            [
                f"{checked['ledger']['leaves']:,} leaves, all as they were written and signed",
                f"evidence of {made['wordings']} messages, checked offline by the file inside it: {said}",
                f"one letter changed: {refused}",
            ],
        )

    def two_tax_numbers_conflict(self) -> None:
        """Asked of the services that own it, since on a second run the events lie in the past."""
        where = self.world.addresses
        facts = self._rows(f"{where.brain}/v1/facts?key=gstin&state=conflicting", "facts", at_least=2)
        values = {fact["value"] for fact in facts}
        expect(len(values) == 2, f"expected two conflicting GSTINs, found {len(values)}")
        subjects = {fact["subject"].partition(":")[0] for fact in facts}
        expect(subjects == {"customer"}, f"the facts are about {subjects}, not about the customer")
        fired = self._rows(f"{where.anomaly}/v1/anomalies", "anomalies", at_least=1)
        conflict = next((a for a in fired if a["rule"] == "capsule_fact_value_conflict"), None)
        if conflict is None:
            raise StoryBroken("the rule has not fired")
        self.tell.scene(
            "One customer, two tax numbers",
            [
                f"two messages, two facts of one customer: GSTIN {' and '.join(sorted(values))}, both conflicting",
                f"rule {conflict['rule']} fired once for {conflict['local_day']}: {conflict['title']}",
            ],
        )

    def the_owner_gets_one_mail(self) -> None:
        self._until_the_notifier_knows()
        sent = [
            command(self.world.addresses, "notify", "pulse", "--tenant", self.world.kochi.tenant_id) for _ in range(2)
        ]
        expect(sent[0]["notification_id"] == sent[1]["notification_id"], "two pulses were made for one day")
        expect(sent[1]["state"] == "sent", f"the pulse is {sent[1]['state']}")
        mails = httpx.get(f"{self.world.addresses.mail}/api/mails", timeout=10).json()
        mine = [m for m in mails["mails"] if "owner@kochi.example" in str(m["to"])]
        subjects = [m for m in mine if m["subject"] == sent[1]["subject_line"]]
        expect(len(subjects) == 1, f"{len(subjects)} mails for one day's pulse")
        self.tell.scene(
            "The owner's daily pulse",
            [
                f"“{sent[1]['subject_line']}”, once, however often it is asked for",
                f"open it: {self.world.addresses.mail}",
            ],
        )

    def _until_the_notifier_knows(self) -> None:
        """The anomaly reaches the notifier by its event; a pulse before that would say that all is well."""
        deadline = time.monotonic() + TENANT_SETTLES_SECONDS
        while True:
            would_say = command(
                self.world.addresses, "notify", "pulse", "--tenant", self.world.kochi.tenant_id, "--dry-run"
            )
            if would_say["red"] >= 1:
                return
            if time.monotonic() > deadline:
                raise StoryBroken("the notifier has not heard of the anomaly; see: trunkline status")
            time.sleep(0.2)

    def a_caller_is_forgotten(self, pbx: GenericPbx, call: Callable[[str], str]) -> None:
        """Every service forgets, and answers for it."""
        where, tenant = self.world.addresses, self.world.kochi.tenant_id
        number = passing_number(self.world.runs)
        directory = self.world.kochi.directory(where)
        directory.put("/v1/customers/passing-trade", {"name": "Passing Trade", "numbers": [number]})
        ends = {"from": number, "to": self.world.kochi.did}
        pbx.ring(call("passing"), number, self.world.kochi.did)
        pbx.status(call("passing"), "canceled", sequence=9, **ends)
        self.tail.wait("call.state", lambda d: d["vendor_call_id"] == call("passing") and d["state"] != "ringing")
        began = time.monotonic()
        request = self._erasure("ask", "--by", "desk", "--number", number)["id"]
        for by in ("owner", "partner"):
            self._erasure("approve", request, "--by", by)
        plan = self._erasure("plan", request)["plan_hash"]
        self._erasure("apply", request, "--by", "owner", "--plan", plan)
        ended = self._until_all_have_answered(request)
        certificate = self._erasure("certificate", request)["certificate"]
        expect(number.removeprefix("+91") not in certificate, "the certificate names whom it is about")
        found = directory.get("/v1/customers?limit=100")["items"]
        expect(all(number not in each["numbers"] for each in found), "the directory still has the number")
        lines = [line for line in certificate.splitlines() if line.startswith("the last copies")]
        self.tell.scene(
            "A caller asks to be forgotten",
            [
                f"asked by the desk, approved by two, planned, applied: {ended['parts']} part(s) told to five services",
                f"all have erased and answered in {time.monotonic() - began:.1f} s; {', '.join(lines)}",
            ],
        )
        checked = command(where, "vault", "verify", "--tenant", tenant)
        expect(checked["ok"], f"the archive does not verify any more: {checked}")
        self.tell.more("the archive still proves itself, and the certificate names nobody")

    def _erasure(self, step: str, *arguments: str) -> dict[str, Any]:
        tenant = ("--tenant", self.world.kochi.tenant_id)
        done: dict[str, Any] = command(self.world.addresses, "vault", "erasure", step, *arguments, *tenant)
        return done

    def _until_all_have_answered(self, request: str) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWERED_SECONDS
        while True:
            shown = self._erasure("show", request)
            if shown["state"] == "done":
                return shown
            if time.monotonic() > deadline:
                raise StoryBroken(f"not everybody has forgotten: {shown.get('not_answered')}; see: trunkline dlq list")
            time.sleep(0.5)


def _counts(result: dict[str, Any]) -> str:
    if result["state"] == "unchanged":
        return "nothing new"
    return f"{result['messages_new']:,} messages, {result['chats_seen']:,} chats"
