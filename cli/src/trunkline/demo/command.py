"""``trunkline demo``: tells the story on the running stack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from trunkline.stack.layout import Layout
from trunkline.stack.problems import Problem

if TYPE_CHECKING:
    from trunkline.demo.world import Addresses

__all__ = ["addresses_of", "app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def demo(
    run_dir: Annotated[str | None, typer.Option(help="Where the stack keeps its files.")] = None,
    port_base: Annotated[int | None, typer.Option(help="Where the stack's ports begin.")] = None,
) -> None:
    """Tell the whole story on the running stack: calls, a backup, facts, an anomaly, one mail. Safe to repeat."""
    from trunkline.demo.events import Tail
    from trunkline.demo.story import Story, StoryBroken
    from trunkline.demo.tell import Teller
    from trunkline.demo.world import CommandFailed, prepare
    from trunkline.stack.control import state

    layout = Layout.of(run_dir, port_base)
    if "front-desk" not in state(layout):
        raise Problem("the stack is not running", "trunkline up")
    console = Console()
    begun = time.monotonic()
    folder = layout.run_dir / "demo"
    tell = Teller(console)
    try:
        world = prepare(addresses_of(layout), folder / "state.json")
        tail = Tail(layout.kafka_bootstrap)
        try:
            Story(world, tell, tail, folder).run()
        finally:
            tail.close()
    except (StoryBroken, CommandFailed, TimeoutError) as broken:
        raise Problem(f"the story broke: {broken}", "trunkline status; trunkline logs") from broken
    console.print(f"\n[bold green]The story held[/] ({time.monotonic() - begun:.1f} s).", highlight=False)
    places = [
        ("Console", layout.url("front-desk")),
        *(
            (f"  sign in for {b.slug.title()}", f"{b.login['email']}  {b.login['password']}")
            for b in world.businesses()
        ),
        ("Mails", layout.url("mail-page")),
        ("REST, OpenAPI", f"{layout.url('front-desk')}/v1/openapi.json"),
        ("Metrics of a service", f"{layout.url('telephony-router')}/metrics"),
        ("Processes, memory", "trunkline status"),
        ("Stop it", "make down   (make clean forgets the data)"),
    ]
    tell.places("Where to look", places)


def addresses_of(layout: Layout) -> Addresses:
    """A local stack, as the story's clients want to know it."""
    from trunkline.demo.world import Addresses

    return Addresses(
        console=layout.url("front-desk"),
        router=layout.url("telephony-router"),
        brain=layout.url("brain-distiller"),
        anomaly=layout.url("anomaly-engine"),
        mail=layout.url("mail-page"),
        kafka=layout.kafka_bootstrap,
        admin_token=layout.secrets()["admin_token"],
        environment=layout.environment(),
    )
