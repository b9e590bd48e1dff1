"""argosy status: a unit as its machine sees it."""

from __future__ import annotations

import datetime
import sys
import time

import click

from argosy.cli.client import Client, segment
from argosy.cli.names import known
from argosy.cli.outcome import View, ending, legend
from argosy.cli.session import asks, json_option
from argosy.cli.table import coloured, show_json, size, span
from argosy.cli.waiting import UNITS, machines


@click.command()
@click.argument("unit_names", metavar="UNIT...", nargs=-1, required=True)
@click.option("--lines", "-n", default=10, show_default=True, type=click.IntRange(0, 10000), help="Log lines to show.")
@click.option("--ssh-port", hidden=True)
@json_option
@asks
def status(client: Client, unit_names: tuple[str, ...], lines: int, ssh_port: str | None, as_json: bool) -> None:
    """Show UNIT as systemctl would on its machine, from wherever you are. Exit status 3 if it does not run, as systemctl's."""
    answers = [client.ask("GET", f"{UNITS}/{segment(unit.name)}/status?lines={lines}") for unit in known(unit_names)]
    if as_json:
        show_json(answers[0] if len(answers) == 1 else answers)
    else:
        found = machines(client)
        click.echo("\n\n".join(text(answer, found, time.time()) for answer in answers))
    running = all(_runs(answer) for answer in answers)
    sys.exit(0 if running else 3)


def _runs(answer: View) -> bool:
    details = [machine.get("detail") for machine in answer["machines"]]
    return bool(details) and all(detail and detail["observed"].get("active") in ("active", "reloading") for detail in details)


def text(answer: View, found: dict[str, View], now: float) -> str:
    """The whole page of one unit."""
    if not answer["machines"]:
        unit = answer["unit"]
        heading = f"○ {unit['name']}" + (f" - {unit['description']}" if unit.get("description") else "")
        return f"{heading}\n     Target: {unit['target']}\n      Place: on no machine (argosy why {unit['name']} tells why)"
    return "\n\n".join(_on_machine(answer["unit"], machine, found, now) for machine in answer["machines"])


def _on_machine(unit: View, machine: View, found: dict[str, View], now: float) -> str:
    where = legend(found.get(machine["machine"]), machine["machine"]) + (f" ({machine['name']})" if machine.get("name") else "")
    detail = machine.get("detail")
    if detail is None:
        return f"? {unit['name']}\n    Machine: {where}\n      Error: {machine.get('error', 'it gave no answer')}"
    seen = detail["observed"]
    dot = {"active": "●", "failed": "×"}.get(seen.get("active", ""), "○")
    lines = [f"{dot} {unit['name']}" + (f" - {detail['description']}" if detail.get("description") else "")]
    lines.append(f"     Loaded: {seen.get('load', 'loaded')} ({detail.get('path') or 'no file'})")
    lines.append(coloured(f"     Active: {seen.get('active', 'inactive')} ({seen.get('sub', 'dead')}){_since(seen, now)}"))
    lines += [f"    Machine: {where}", *_troubles(unit, machine["machine"], seen, now)]
    if seen.get("pid"):
        lines.append(f"   Main PID: {seen['pid']}" + (f" ({detail['main_command']})" if detail.get("main_command") else ""))
    if detail.get("memory"):
        lines.append(f"     Memory: {size(detail['memory'])}")
    if detail.get("cpu"):
        lines.append(f"        CPU: {detail['cpu']:.3f}s")
    processes = detail.get("processes", [])
    for number, (pid, command) in enumerate(processes):
        lead = "  Processes: " if number == 0 else " " * 13
        lines.append(f"{lead}{'└─' if number == len(processes) - 1 else '├─'}{pid} {command}")
    if machine.get("lines"):
        lines += ["", *(log_line(line, unit["name"]) for line in machine["lines"])]
    return "\n".join(lines)


def _since(seen: View, now: float) -> str:
    if not seen.get("since"):
        return ""
    stamp = datetime.datetime.fromtimestamp(seen["since"]).astimezone()
    return f" since {stamp:%a %Y-%m-%d %H:%M:%S %Z}; {span(now - seen['since'])} ago"


def _troubles(unit: View, machine_id: str, seen: View, now: float) -> list[str]:
    lines = []
    if seen.get("active") == "failed" or seen.get("result", "success") != "success":
        lines.append(f"     Result: {seen.get('result')}: {ending(seen)}")
    elif seen.get("active", "inactive") == "inactive" and seen.get("code") is not None:
        lines.append(f"     Result: exit status {seen['code']}")
    for state in unit.get("states", []):
        if state["machine"] == machine_id and state.get("failures"):
            retry = f"; next try in {span(state['retry_at'] - now)}" if state.get("retry_at") else ""
            lines.append(f"    Failing: {state['failures']} times in a row{retry}")
        if state["machine"] == machine_id and state.get("note"):
            lines.append(f"       Note: {state['note']}")
    if seen.get("restarts"):
        lines.append(f"   Restarts: {seen['restarts']}")
    return lines


def log_line(line: View, unit: str) -> str:
    """A line as journalctl's short form shows it."""
    if line.get("error"):
        return f"-- {line['error']} --"
    stamp = datetime.datetime.fromtimestamp(line.get("time", 0.0)).astimezone()
    source = line.get("source") or unit.rpartition(".")[0]
    pid = f"[{line['pid']}]" if line.get("pid") else ""
    return f"{stamp:%b %d %H:%M:%S} {source}{pid}: {line.get('text', '')}"
