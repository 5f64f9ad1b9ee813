"""Callers and phones: SIPp with scenarios made here, and what each of them saw on the wire."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

__all__ = ["Message", "Phone", "Phones", "deaf"]

SECONDS = 60
"""For a whole call on a busy machine. A scenario that waits longer has failed."""
HEADERS = """      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch}
      From: {caller};tag=[pid]c[call_number]
      To: <sip:{did}@[remote_ip]:[remote_port]>{tag}
      Call-ID: [call_id]
      CSeq: {cseq}
      Contact: <sip:caller@[local_ip]:[local_port]>
      Max-Forwards: {forwards}
"""
SDP = """v=0
      o=phone 1 1 IN IP[local_ip_type] [local_ip]
      s=-
      c=IN IP[media_ip_type] [media_ip]
      t=0 0
      m=audio 40000 RTP/AVP 0
      a=rtpmap:0 PCMU/8000
"""
CALLER = '"Caller" <sip:+919847000001@[local_ip]>'


@dataclass(frozen=True)
class Message:
    """One message as a phone saw it."""

    at: datetime
    sent: bool
    text: str

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0].strip()

    @property
    def code(self) -> int:
        """Of a reply; 0 for a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0") else 0

    def all(self, header: str) -> list[str]:
        return re.findall(rf"^{header}:\s*(.*?)\s*$", self.text, re.MULTILINE | re.IGNORECASE)


@dataclass
class Phone:
    """One SIPp: a caller, or somebody who is called."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    errors: Path
    done: bool = field(default=False)

    def wait(self) -> list[Message]:
        """Wait until its scenario is through, and return all it saw; fail with its own words when it went otherwise."""
        code = self.process.wait(SECONDS + 20)
        self.done = True
        seen = self.seen()
        if code != 0:
            lines = "\n".join(f"{'>' if each.sent else '<'} {each.first}" for each in seen)
            errors = self.errors.read_text(errors="replace")[-1500:] if self.errors.exists() else ""
            said = self.log.with_suffix(".out").read_text(errors="replace")[-300:] if not seen else ""
            raise AssertionError(f"{self.name} saw what its scenario does not have:\n{lines}\n{errors}{said}")
        return seen

    def seen(self) -> list[Message]:
        if not self.log.exists():
            return []
        found = []
        for part in re.split(r"^-{20,} ", self.log.read_text(errors="replace"), flags=re.MULTILINE)[1:]:
            head, _, text = part.partition("\n\n")
            stamp, _, what = head.partition("\n")
            at = datetime.fromisoformat(" ".join(stamp.split()[:2]))
            found.append(Message(at, "message sent" in what, text.lstrip("\n")))
        return found

    def received(self) -> list[str]:
        return [each.first for each in self.seen() if not each.sent]

    def codes(self) -> list[int]:
        """The replies to its INVITE, each once for repetitions in a row."""
        replies = [each for each in self.seen() if not each.sent and each.code]
        codes = [each.code for each in replies if each.all("CSeq")[0].endswith("INVITE")]
        return [code for place, code in enumerate(codes) if place == 0 or codes[place - 1] != code]

    def requests(self, method: str) -> list[Message]:
        """What it received, without repetitions."""
        known: dict[str, Message] = {}
        for each in self.seen():
            if not each.sent and each.first.startswith(f"{method} "):
                known.setdefault(each.all("Via")[0], each)
        return list(known.values())

    def seconds_to(self, code: int) -> float:
        """From its first INVITE to the first reply with this code."""
        seen = self.seen()
        began = next(each.at for each in seen if each.sent)
        return next((each.at - began).total_seconds() for each in seen if not each.sent and each.code == code)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclass
class Phones:
    """Starts phones on loopback, and stops those that are left."""

    folder: Path
    server: int
    ports: Iterator[int]
    started: list[Phone] = field(default_factory=list)

    def answering(self, port: int, name: str = "answering", ringing: int = 200) -> Phone:
        """Rings, picks up, and waits for the caller to hang up."""
        return self._called(name, port, [
            *_ringing(ringing), _reply("200 OK", tag=True, sdp=True, contact=True),
            "<recv request='ACK'/>", "<recv request='BYE'/>", _reply("200 OK"),
        ])  # fmt: skip

    def hanging_up(self, port: int, name: str = "hanging up") -> Phone:
        """Picks up, and hangs up itself."""
        bye = _message(
            "BYE [next_url] SIP/2.0",
            "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n      [routes]\n"
            "      From: [$2]\n      To: [$1]\n      [last_Call-ID:]\n      CSeq: 2 BYE\n      Max-Forwards: 70\n"
            "      Content-Length: 0\n",
        )
        return self._called(name, port, [
            *_ringing(200), _reply("200 OK", tag=True, sdp=True, contact=True),
            "<recv request='ACK'><action>"
            "<ereg regexp='.*' search_in='hdr' header='From:' check_it='true' assign_to='1'/>"
            "<ereg regexp='.*' search_in='hdr' header='To:' check_it='true' assign_to='2'/></action></recv>",
            "<pause milliseconds='300'/>", bye, "<recv response='200'/>",
        ])  # fmt: skip

    def refusing(self, port: int, status: str, name: str = "", ringing: int = 0) -> Phone:
        return self._called(
            name or status, port, [*_ringing(ringing), _reply(status, tag=True), "<recv request='ACK'/>"]
        )

    def ringing(self, port: int, name: str = "ringing") -> Phone:
        """Rings until it is told to stop."""
        return self._called(name, port, [
            *_ringing(0), "<recv request='CANCEL'/>", _reply("200 OK"),
            _reply("487 Request Terminated", tag=True, invite=True), "<recv request='ACK'/>",
        ])  # fmt: skip

    def call(
        self, did: str, *, expect: int = 200, cancel_after: str = "", hold_ms: int = 300, hang_up: bool = True,
        caller: str = CALLER, headers: str = "", tag: str = "", forwards: int = 70, twice: bool = False,
        source: str = "127.0.0.1", name: str = "caller",
    ) -> Phone:  # fmt: skip
        """Call a number. ``cancel_after`` is the reply after which the caller gives up: ``100`` or ``180``."""

        def head(cseq: str, to_tag: str = "", branch: str = "[branch]") -> str:
            return HEADERS.format(caller=caller, did=did, tag=to_tag, cseq=cseq, forwards=forwards, branch=branch)

        fixed = "z9hG4bK-[pid]-[call_number]-0" if twice or cancel_after or expect >= 300 else "[branch]"
        uri = f"sip:{did}@[remote_ip]:[remote_port]"
        extra = "".join(f"      {line}\n" for line in headers.splitlines())
        invite = _send(
            f"INVITE {uri} SIP/2.0\n{head('1 INVITE', tag, fixed)}{extra}"
            f"      Content-Type: application/sdp\n      Content-Length: [len]\n\n      {SDP}",
            more="retrans='500'" if not twice else "",
        )
        steps = [invite, *(["<recv response='100'/>", invite] if twice else [])]
        provisional = ["<recv response='100' optional='true'/>"]
        ringing = [f"<recv response='{code}' optional='true'/>" for code in (180, 183)]
        ack_to_refusal = _send(
            f"ACK {uri} SIP/2.0\n{head('1 ACK', '[peer_tag_param]', fixed)}      Content-Length: 0\n\n"
        )
        if cancel_after:
            cancel = _send(f"CANCEL {uri} SIP/2.0\n{head('1 CANCEL', branch=fixed)}      Content-Length: 0\n\n")
            waiting = ["<recv response='100'/>"] if cancel_after == "100" else [*provisional, "<recv response='180'/>"]
            steps += [*waiting, "<pause milliseconds='100'/>", cancel,
                      # The answer to the CANCEL comes before or after.
                      "<recv response='200' optional='true'/>", "<recv response='487'/>", ack_to_refusal]  # fmt: skip
        elif expect >= 300:
            steps += [*provisional, *ringing, f"<recv response='{expect}'/>", ack_to_refusal]
        else:
            steps += [*provisional, *ringing, "<recv response='200' rrs='true'/>"]
            within = (
                f"[next_url] SIP/2.0\n{head('{cseq}', '[peer_tag_param]')}      [routes]\n      Content-Length: 0\n\n"
            )
            steps.append(_send("ACK " + within.replace("{cseq}", "1 ACK")))
            if hang_up:
                bye = _send("BYE " + within.replace("{cseq}", "2 BYE"), more="retrans='500'")
                steps += [f"<pause milliseconds='{hold_ms}'/>", bye, "<recv response='200'/>"]
            else:
                steps += ["<recv request='BYE'/>", _reply("200 OK")]
        return self._start(name, next(self.ports), steps, source, [f"127.0.0.1:{self.server}"])

    def _called(self, name: str, port: int, steps: list[str]) -> Phone:
        first = "<recv request='INVITE' rrs='true'/>"
        phone = self._start(name, port, [first, *steps], "127.0.0.1", [])
        _wait_bound(port, phone)
        return phone

    def _start(self, name: str, port: int, steps: list[str], source: str, target: list[str]) -> Phone:
        place = self.folder / f"{len(self.started)}-{name.replace(' ', '-')}"
        scenario = "\n  ".join(["<?xml version='1.0'?>", f"<scenario name='{name}'>", *steps, "</scenario>\n"])
        # SIPp reads double quotes alone.
        place.with_suffix(".xml").write_text(re.sub(r"='([^'\n]*)'", r'="\1"', scenario))
        log, errors = place.with_suffix(".messages"), place.with_suffix(".errors")
        with place.with_suffix(".out").open("wb") as out:
            process = subprocess.Popen(
                ["sipp", "-sf", str(place.with_suffix(".xml")), "-i", source, "-p", str(port),
                 "-mp", str(next(self.ports)), "-m", "1", "-nostdin", "-timeout", f"{SECONDS}s", "-timeout_error",
                 # Under load a 180 may arrive after its 200: no reason to hang up.
                 "-default_behaviors", "all,-abortunexp",
                 "-trace_msg", "-message_file", str(log), "-trace_err", "-error_file", str(errors), *target],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, "TERM": "dumb"},
            )  # fmt: skip
        phone = Phone(name, port, process, log, errors)
        self.started.append(phone)
        return phone

    def stop(self) -> None:
        for phone in self.started:
            phone.stop()


def _send(text: str, more: str = "") -> str:
    return f"<send {more}><![CDATA[\n      {text}\n]]></send>"


def _message(first: str, rest: str) -> str:
    return _send(f"{first}\n      {rest}\n", more="retrans='500'")


def _reply(status: str, *, tag: bool = False, sdp: bool = False, contact: bool = False, invite: bool = False) -> str:
    to = "[last_To:];tag=[pid]u[call_number]" if tag else "[last_To:]"
    cseq = "CSeq: 1 INVITE" if invite else "[last_CSeq:]"
    where = "      Contact: <sip:phone@[local_ip]:[local_port]>\n" if contact else ""
    body = (
        f"      Content-Type: application/sdp\n      Content-Length: [len]\n\n      {SDP}"
        if sdp
        else "      Content-Length: 0\n\n"
    )
    routes = "      [last_Record-Route:]\n" if contact else ""
    return _send(
        f"SIP/2.0 {status}\n      [last_Via:]\n      [last_From:]\n      {to}\n      [last_Call-ID:]\n      {cseq}\n"
        f"{routes}{where}{body}"
    )


def _ringing(milliseconds: int) -> list[str]:
    return [_reply("180 Ringing", tag=True, contact=True), f"<pause milliseconds='{milliseconds}'/>"]


def _wait_bound(port: int, phone: Phone) -> None:
    wanted = f":{port:04X} "
    for _ in range(1200):
        if wanted in Path("/proc/net/udp").read_text():
            return
        if phone.process.poll() is not None:
            break
        threading.Event().wait(0.02)
    raise AssertionError(f"{phone.name} did not start on {port}")


@contextmanager
def deaf(port: int) -> Iterator[list[bytes]]:
    """A destination that takes everything and says nothing, not even by ICMP."""
    heard: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", port))
        ear.settimeout(0.1)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    heard.append(ear.recv(65535))
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            over.set()
            thread.join()
