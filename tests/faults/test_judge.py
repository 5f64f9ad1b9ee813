"""The judge itself: a run in which everything is right holds, and one that is wrong in one way is caught, by the
invariant that it breaks. Ledger, topics and tables are made up; that real ones are read rightly, real runs show."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import pytest
from tests.faults.harness.stores import Letter
from tests.faults.made_up import GSTIN, IMPORT, OWNER, PBX, POISON, TENANT, Run, audit, everything, message


async def test_a_run_in_which_everything_is_right_holds(run: Run) -> None:
    assert [str(each) for each in await everything(run)] == []
    figures = run.judge.figures
    assert figures.acknowledged == Counter(ring=1, status=3, **{"import": 1}, mail=1)
    assert (figures.facts, figures.poison, figures.mails, figures.heads) == (2, 1, 1, 0)
    assert figures.shown == {"front-desk": 8, "anomaly-engine": 4, "notifier": 1}
    assert figures.taken_in_order > 20


Spoil = Callable[[Run], None]


def lost_ring(run: Run) -> None:
    run.forget("ring i1 v1")


def other_answer(run: Run) -> None:
    run.change("ring i1 v1", fields={"vendor_call_id": "c1", "answer": "+919847000032"})


def nobody_to_ring(run: Run) -> None:
    run.of("ring", "c1/ring").value["answers"] = [""]


def wrong_end(run: Run) -> None:
    run.change("call i1 v3", fields={"vendor_call_id": "c1", "state": "missed"})


def lost_message(run: Run) -> None:
    run.forget("message m2 v1")


def lost_import(run: Run) -> None:
    for number in (1, 2):
        run.forget(f"message m{number} v1")


def a_call_that_nobody_made(run: Run) -> None:
    run.record("call.inbound", "ring i2", 1, vendor_call_id="c2", answer="+919847000031")


def an_effect_twice(run: Run) -> None:
    run.record("call.inbound", "ring i1", 1, event_id="again", vendor_call_id="c1", answer="+919847000031")


def versions_swapped(run: Run) -> None:
    run.change("call i1 v1", version=2, effect="call i1 v2")
    run.change("call i1 v2", version=1, effect="call i1 v1")


def a_key_in_two_partitions(run: Run) -> None:
    run.change("call i1 v3", partition=1)


def a_chat_out_of_order(run: Run) -> None:
    run.change("message m1 v1", fields=message(3))


def a_directory_version_twice(run: Run) -> None:
    run.record("directory.tenant", f"directory.tenant {TENANT}/{TENANT}", 1, event_id="again")


def refused_in_quiet(run: Run) -> None:
    run.ledger.enter("ring", "c3/ring", "invoke", tenant=TENANT, call="c3", account=PBX)
    run.of("ring", "c3/ring").first_at = 90.0


def no_mail(run: Run) -> None:
    run.world.arrived.clear()


def mail_never_told_of(run: Run) -> None:
    for version in (1, 2):
        run.forget(f"notification n1 v{version}")


def mail_twice(run: Run) -> None:
    run.world.arrived[OWNER] = 2


def mail_that_failed(run: Run) -> None:
    run.change("notification n1 v2", fields={"recipient": OWNER, "state": "failed"})


def mail_unknown_for_no_reason(run: Run) -> None:
    run.change("notification n1 v2", fields={"recipient": OWNER, "state": "unknown"})
    run.world.boards["front-desk notification.state"]["n1"] = (2, "unknown")


def mail_to_a_stranger(run: Run) -> None:
    run.world.arrived["stranger@kochi.example"] = 1


def poison_not_parked(run: Run) -> None:
    run.world.parked.pop()


def poison_changed(run: Run) -> None:
    run.world.parked[0] = dataclasses.replace(run.world.parked[0], value=POISON + b" ")


def committed_past_nothing(run: Run) -> None:
    del run.world.claimed_at["anomaly-engine", "call i1 v3"]


def parked_by_another(run: Run) -> None:
    del run.world.claimed_at["anomaly-engine", "call i1 v3"]
    run.world.parked.append(Letter("front-desk.live", "call.state", 0, 2, "call i1 v3", b"{}"))


def audit_record_changed(run: Run) -> None:
    run.world.log[1] = {**run.world.log[1], "details": {"file_bytes": 1}}


def audit_log_cut(run: Run) -> None:
    run.judge.heads[TENANT][4] = (run.world.log.pop()["hash"].hex(), 200.0)


def audit_log_emptied(run: Run) -> None:
    run.world.log.clear()


def audit_log_that_its_owner_rejects(run: Run) -> None:
    run.world.says = "record 3 was changed after it was written"


def a_change_without_its_audit(run: Run) -> None:
    run.world.log[:] = audit("account.stored", "import.started", "import.contacts", import_id=IMPORT)


def a_change_audited_twice(run: Run) -> None:
    run.world.log[:] = audit("account.stored", "import.started", "import.started", "import.completed", import_id=IMPORT)


def an_archive_opened_without_audit(run: Run) -> None:
    run.world.log[:] = audit("import.started", "import.completed", import_id=IMPORT)


def board_without_a_call(run: Run) -> None:
    del run.world.boards["front-desk call.state"]["i1"]


def board_behind(run: Run) -> None:
    run.world.boards["anomaly-engine call.state"]["i1"] = (2, "answered")


def board_ahead(run: Run) -> None:
    run.world.boards["anomaly-engine call.state"]["i1"] = (4, "completed")


def board_with_another_state(run: Run) -> None:
    run.world.boards["front-desk call.state"]["i1"] = (3, "missed")


def board_with_another_answer(run: Run) -> None:
    run.world.boards["front-desk call.inbound"]["i1"] = (1, "+919847000032")


def board_without_a_message(run: Run) -> None:
    del run.world.boards["front-desk message.imported"]["m2"]


def consumer_that_does_nothing(run: Run) -> None:
    run.world.boards["notifier directory.tenant"].clear()


def distiller_that_does_nothing(run: Run) -> None:
    run.world.gstins.clear()


def fact_never_told(run: Run) -> None:
    run.forget("fact f1 v1")
    del run.world.boards["front-desk fact.extracted"]["f1"], run.world.boards["anomaly-engine fact.extracted"]["f1"]


def fact_read_twice(run: Run) -> None:
    run.world.gstins.append(("m2", GSTIN))


def parked_and_overtaken(run: Run) -> None:
    del run.world.claimed_at["front-desk.bulk", "message m1 v1"]
    run.world.parked.append(Letter("front-desk.bulk", "message.imported", 0, 0, "message m1 v1", b"{}"))
    run.world.works = True


def taken_in_the_wrong_order(run: Run) -> None:
    run.world.claimed_at["anomaly-engine", "call i1 v1"] = 2000.0


def a_letter_that_comes_to_nothing(run: Run) -> None:
    run.world.parked.append(Letter("front-desk.live", "call.state", 0, 9, "elsewhere", b"{}"))


SPOILT = (
    (lost_ring, "I1", "never seen again"),
    (other_answer, "I1", "a wrong end"),
    (nobody_to_ring, "I1", "without anybody to ring"),
    (wrong_end, "I1", "a wrong end"),
    (lost_message, "I6", "numbers do not agree"),
    (lost_import, "I1", "never seen again"),
    (a_call_that_nobody_made, "I6", "nobody had asked"),
    (an_effect_twice, "I2", "more than once"),
    (versions_swapped, "I3", "versions went back"),
    (a_key_in_two_partitions, "I3", "several partitions"),
    (a_chat_out_of_order, "I3", "a chat's messages"),
    (a_directory_version_twice, "I2", "more than once"),
    (refused_in_quiet, "I9", "never acknowledged"),
    (no_mail, "I1", "a wrong end"),
    (mail_never_told_of, "I1", "never seen again"),
    (mail_twice, "I2", "more than once"),
    (mail_that_failed, "I1", "a wrong end"),
    (mail_unknown_for_no_reason, "I2", "nothing was done to the sending"),
    (mail_to_a_stranger, "I6", "nobody had asked"),
    (poison_not_parked, "I6", "not among the dead letters"),
    (poison_changed, "I6", "does not hold what was sent"),
    (committed_past_nothing, "I7", "without an outcome"),
    (parked_by_another, "I7", "without an outcome"),
    (audit_record_changed, "I4", "does not verify"),
    (audit_log_cut, "I4", "does not verify"),
    (audit_log_emptied, "I4", "not one audit record"),
    (audit_log_that_its_owner_rejects, "I4", "vault verify"),
    (a_change_without_its_audit, "I4", "not one audit record"),
    (a_change_audited_twice, "I4", "not one audit record"),
    (an_archive_opened_without_audit, "I4", "not one audit record"),
    (board_without_a_call, "I1", "does not show it"),
    (board_behind, "I1", "does not show it"),
    (board_ahead, "I6", "never published"),
    (board_with_another_state, "I1", "something else than was published"),
    (board_with_another_answer, "I1", "something else than was published"),
    (board_without_a_message, "I1", "does not show it"),
    (consumer_that_does_nothing, "I1", "does not show it"),
    (distiller_that_does_nothing, "I6", "numbers do not agree"),
    (fact_never_told, "I1", "never seen again"),
    (fact_read_twice, "I6", "numbers do not agree"),
    (parked_and_overtaken, "I3", "an earlier one is parked"),
    (taken_in_the_wrong_order, "I3", "before an earlier one of its key"),
    (a_letter_that_comes_to_nothing, "I1", "came to no effect"),
)


@pytest.mark.parametrize(("spoil", "check", "sentence"), SPOILT, ids=[spoil.__name__ for spoil, _, _ in SPOILT])
async def test_a_run_that_is_wrong_in_one_way_does_not_hold(run: Run, spoil: Spoil, check: str, sentence: str) -> None:
    spoil(run)
    found = await everything(run)
    assert [v for v in found if v.check.startswith(f"{check} ") and sentence in v.sentence], [str(v) for v in found]
