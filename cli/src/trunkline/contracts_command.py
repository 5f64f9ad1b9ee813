"""``trunkline contracts``: show, check, compare, release and publish the event contracts of this checkout."""

from __future__ import annotations

import typer

from trunkline.contracts_commands import compare, publication, release
from trunkline.contracts_commands.show import show

__all__ = ["app"]

app = typer.Typer(help="The event contracts: show, check, compare, release and publish them.", no_args_is_help=True)
app.command()(show)
app.command()(release.check)
app.command()(release.generate)
app.command()(compare.diff)
app.command()(publication.publish)
