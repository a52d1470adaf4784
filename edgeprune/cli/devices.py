"""``edgeprune devices``: the profiles, and what this machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeprune.cli import app
from edgeprune.cli.options import Json
from edgeprune.cli.render import plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.devices import DeviceProfile
    from edgeprune.machine import Machine

devices = typer.Typer(
    help="Device profiles, and what this machine is.", no_args_is_help=True, add_completion=False
)
app.add_typer(devices, name="devices")


@devices.command("list")
def list_(json_: Json = False) -> None:
    """List the device profiles."""
    from edgeprune.devices import DeviceList, list_profiles

    document = DeviceList(profiles=list_profiles())
    show(document, json_, lambda console: _list_table(document.profiles, console))


@devices.command("show")
def show_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A profile's name, or a .toml file.")],
    json_: Json = False,
) -> None:
    """Show one profile, each figure with its source."""
    from edgeprune.devices import DeviceShown, load_profile

    profile = load_profile(name)
    show(DeviceShown(profile=profile), json_, lambda console: _profile_table(profile, console))


@devices.command("detect")
def detect_(json_: Json = False) -> None:
    """Say what this machine is and which profile fits it."""
    from edgeprune.machine import detect

    machine = detect()
    show(machine, json_, lambda console: _machine_table(machine, console))


def _list_table(profiles: list[DeviceProfile], console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="Device profiles: dense peaks of the GPU",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("name", no_wrap=True)
    table.add_column("sm", no_wrap=True)
    for heading in ("fp16\nTF/s", "int8\nTOPS", "memory\nGB", "memory\nGB/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("power\nW", no_wrap=True)
    for profile in profiles:
        mark = " *" if profile.figures() and not profile.verified else ""
        numbers = (
            profile.fp16_dense_tflops,
            profile.int8_dense_tops,
            profile.memory_gb,
            profile.bandwidth_gbs,
        )
        table.add_row(
            profile.name + mark,
            profile.sm or "",
            *(_text(number) for number in numbers),
            _watts(profile.power_modes_w),
        )
    console.print(table)
    console.print("* figures that decide speed are unverified: edgeprune devices show NAME")


def _profile_table(profile: DeviceProfile, console: Console) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    console.print(plain(f"{profile.name}: {profile.title}"))
    if profile.notes:
        console.print(plain(profile.notes))
    if not profile.figures():
        return
    table = Table(box=SIMPLE)
    table.add_column("figure", no_wrap=True)
    table.add_column("value")
    table.add_column("source", justify="right", no_wrap=True)
    for key, value in profile.figures().items():
        number = profile.source.index(profile.source_of(key)) + 1
        table.add_row(key, plain(_text(value)), str(number))
    console.print(table)
    for number, source in enumerate(profile.source, start=1):
        unverified = "" if source.verified else "unverified: "
        console.print(plain(f"{number}  {unverified}{source.text}"))


def _machine_table(machine: Machine, console: Console) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(show_header=False, box=SIMPLE)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("profile", machine.profile)
    table.add_row("this machine", plain(machine.name))
    table.add_row("CPU", plain(f"{machine.cpu}, {machine.cores} cores for this process"))
    table.add_row("memory", f"{machine.memory_gb:g} GB")
    if machine.board:
        table.add_row("Jetson Linux", machine.board.l4t or "unknown")
        table.add_row("JetPack", machine.board.jetpack or "unknown")
    for gpu in machine.gpus:
        memory = f", {gpu.memory_gb:g} GB" if gpu.memory_gb else ""
        sm = f", compute capability {gpu.sm}" if gpu.sm else ""
        table.add_row("GPU", plain(f"{gpu.name}{memory}{sm}, driver {gpu.driver}"))
    if not machine.gpus and machine.board is None:
        table.add_row("GPU", "no NVIDIA GPU")
    for note in machine.notes:
        table.add_row("note", plain(note))
    console.print(table)


def _watts(watts: tuple[float, ...] | None) -> str:
    if not watts:
        return ""
    low, high = min(watts), max(watts)
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)
