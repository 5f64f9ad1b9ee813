"""``trunkline sip``: the configuration of a Kamailio that asks the router."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trunkline.sip.render import settings_cfg, tables_cfg
from trunkline.sip.settings import read
from trunkline.stack.kafka import checkout
from trunkline.stack.problems import Problem, quote

__all__ = ["app", "write"]

app = typer.Typer(no_args_is_help=True, help="The SIP server beside the router.")
err = Console(stderr=True)


@app.callback()
def _group() -> None:
    """The SIP server beside the router."""


@app.command()
def config(
    settings: Annotated[Path, typer.Argument(help="Settings as TOML; deploy/sip/settings.example.toml is one.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("/etc/kamailio"),
    check: Annotated[bool, typer.Option(help="Let the installed Kamailio check what was written.")] = True,
) -> None:
    """Write kamailio.cfg, settings.cfg and tables.cfg, readable by their owner and group alone."""
    write(settings, out)
    if check and (kamailio := shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin")):
        done = subprocess.run(
            [kamailio, "-c", "-f", str(out / "kamailio.cfg")], check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Problem("Kamailio does not take its configuration", f"{kamailio} -c -f {quote(out / 'kamailio.cfg')}")
    err.print(f"written to {out}", highlight=False)


def write(settings: Path, out: Path) -> None:
    """Write the configuration. What is there is replaced file by file, never half."""
    known = read(settings)
    texts = {
        "kamailio.cfg": (checkout() / "deploy" / "sip" / "kamailio.cfg").read_text(encoding="utf-8"),
        "settings.cfg": settings_cfg(known),
        "tables.cfg": tables_cfg(known),
    }
    out.mkdir(parents=True, exist_ok=True)
    group = out.stat().st_gid
    for name, text in texts.items():
        fresh = out / f"{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o640)
        os.chown(fresh, -1, group)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(out / name)
