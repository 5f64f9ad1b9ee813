"""A mail server that delivers nowhere: it keeps each mail as a file and shows them in a page.

An accepted mail is on disk before the sender is told so. For tests, ``/api/behaviour`` makes it refuse, put off, or
drop the connection after the message has been taken.
"""

from __future__ import annotations

import argparse
import asyncio
import email
import email.policy
import html
import os
import signal
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import uvicorn
from aiosmtpd.smtp import SMTP
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

__all__ = ["Mailbox", "Sink", "page"]

BEHAVIOURS = ("accept", "reject", "tempfail", "drop_after_data")
SIZE_LIMIT = 5_000_000


class Mailbox:
    """The folder of ``.eml`` files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, content: bytes) -> str:
        """Store a mail durably; return its id. Ids sort by time of arrival."""
        name = f"{time.time_ns():020d}-{os.urandom(3).hex()}"
        fresh = self._folder / f"{name}.new"
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._folder / f"{name}.eml")
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return name

    def newest_first(self) -> list[str]:
        return sorted((path.stem for path in self._folder.glob("*.eml")), reverse=True)

    def read(self, name: str) -> EmailMessage | None:
        # Only names that we gave: nothing outside the folder can be asked for.
        if name not in self.newest_first():
            return None
        content = (self._folder / f"{name}.eml").read_bytes()
        message = email.message_from_bytes(content, policy=email.policy.default)
        return message if isinstance(message, EmailMessage) else None

    def forget(self) -> int:
        names = self.newest_first()
        for name in names:
            (self._folder / f"{name}.eml").unlink(missing_ok=True)
        return len(names)


class Sink:
    """What the SMTP side answers."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self.behaviour = "accept"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's hook
        if self.behaviour == "reject":
            return "550 5.7.1 refused, as asked for"
        if self.behaviour == "tempfail":
            return "451 4.3.0 try again later, as asked for"
        name = await asyncio.to_thread(self._mailbox.keep, envelope.content)
        if self.behaviour == "drop_after_data":
            server.transport.abort()
        return f"250 2.0.0 kept as {name}"


STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, 'Noto Sans', 'Noto Sans Malayalam', sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.3rem } a { color: inherit } table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .5rem .75rem; border-bottom: 1px solid #8884; vertical-align: top }
iframe { width: 100%; height: 24rem; border: 1px solid #8884; border-radius: 6px; background: white }
pre { white-space: pre-wrap; border: 1px solid #8884; border-radius: 6px; padding: 1rem } .dim { opacity: .65 }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; img-src data:; base-uri 'none'"


def page(mailbox: Mailbox, sink: Sink) -> FastAPI:
    """The web side: a list, a mail, and JSON for programs."""
    app = FastAPI(title="Mail sink", docs_url=None, redoc_url=None, openapi_url=None)
    _add_pages(app, mailbox)
    _add_api(app, mailbox, sink)
    return app


def _add_pages(app: FastAPI, mailbox: Mailbox) -> None:
    @app.get("/", response_class=HTMLResponse)
    def index() -> Response:
        names = mailbox.newest_first()
        rows = "".join(_row(name, message) for name in names if (message := mailbox.read(name)) is not None)
        empty = "<p class=dim>No mail yet. What the notifier sends to this sink appears here.</p>"
        table = f"<table><tr><th>Subject<th>To<th>When</tr>{rows}</table>" if rows else empty
        return _html("Mails", f"<h1>Mails ({len(names)})</h1>{table}")

    @app.get("/mails/{name}", response_class=HTMLResponse)
    def show(name: str) -> Response:
        message = _find(mailbox, name)
        fields = "".join(
            f"<tr><th>{field}<td>{html.escape(str(message.get(field, '')))}</tr>"
            for field in ("Subject", "From", "To", "Date", "Message-ID")
        )
        body = f"<h1>{html.escape(str(message.get('Subject', '(no subject)')))}</h1><table>{fields}</table><br>"
        if message.get_body(("html",)) is not None:
            body += f'<iframe sandbox title="the mail" src="/mails/{html.escape(name)}/html"></iframe>'
        text = message.get_body(("plain",))
        if text is not None:
            body += f"<pre>{html.escape(text.get_content())}</pre>"
        return _html("Mail", f'<p><a href="/">← all mails</a></p>{body}')

    @app.get("/mails/{name}/html", response_class=HTMLResponse)
    def show_html(name: str) -> Response:
        part = _find(mailbox, name).get_body(("html",))
        # A mail is somebody else's page: no scripts, nothing loaded from anywhere.
        policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        content = part.get_content() if part is not None else ""
        return HTMLResponse(content, headers={"Content-Security-Policy": policy})


def _add_api(app: FastAPI, mailbox: Mailbox, sink: Sink) -> None:
    @app.get("/api/mails")
    def list_mails() -> dict[str, Any]:
        found = ((name, mailbox.read(name)) for name in mailbox.newest_first())
        return {"mails": [_summary(name, message) for name, message in found if message is not None]}

    @app.get("/api/mails/{name}", response_class=PlainTextResponse)
    def raw(name: str) -> str:
        return _find(mailbox, name).as_string()

    @app.delete("/api/mails")
    def forget() -> dict[str, int]:
        return {"forgotten": mailbox.forget()}

    @app.put("/api/behaviour")
    async def behave(request: Request) -> dict[str, str]:
        wanted = str((await request.json()).get("behaviour"))
        if wanted not in BEHAVIOURS:
            raise HTTPException(422, f"behaviour is one of: {', '.join(BEHAVIOURS)}")
        sink.behaviour = wanted
        return {"behaviour": wanted}

    @app.get("/livez")
    def live() -> dict[str, bool]:
        return {"ok": True}


def _find(mailbox: Mailbox, name: str) -> EmailMessage:
    message = mailbox.read(name)
    if message is None:
        raise HTTPException(404, "there is no such mail")
    return message


def _summary(name: str, message: EmailMessage) -> dict[str, str]:
    fields = ("Subject", "From", "To", "Date", "Message-ID")
    return {"id": name, **{field.lower().replace("-", "_"): str(message.get(field, "")) for field in fields}}


def _row(name: str, message: EmailMessage) -> str:
    subject, to, date = (html.escape(str(message.get(field, ""))) for field in ("Subject", "To", "Date"))
    return f'<tr><td><a href="/mails/{name}">{subject or "(no subject)"}</a><td>{to}<td>{date}</tr>'


def _html(title: str, body: str) -> Response:
    text = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    text += f"<title>{title}</title><style>{STYLE}</style><body>{body}"
    return HTMLResponse(text, headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"})


async def serve(host: str, smtp_port: int, page_port: int, folder: Path) -> None:
    mailbox = Mailbox(folder)
    sink = Sink(mailbox)
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(
        lambda: SMTP(sink, data_size_limit=SIZE_LIMIT, enable_SMTPUTF8=True, loop=loop), host, smtp_port
    )
    web = uvicorn.Server(uvicorn.Config(page(mailbox, sink), host=host, port=page_port, log_level="warning"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: setattr(web, "should_exit", True))
    async with smtp:
        await web.serve()


def main() -> None:
    parser = argparse.ArgumentParser(prog="smtp_sink", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--page-port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.host, options.smtp_port, options.page_port, options.folder))


if __name__ == "__main__":
    main()
