"""python -m bench [FILE ...]: measures, prints the table, writes bench/latest.json."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NOT_QUESTIONS = {"__init__", "__main__"}


def questions(wanted: list[str]) -> list[str]:
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_QUESTIONS)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        sys.exit(f"bench: no such file: {', '.join(unknown)}; there are {', '.join(names)}")
    return wanted or [name for name in names if hasattr(importlib.import_module(f"bench.{name}"), "run")]


def measure(name: str) -> dict[str, Any]:
    result = importlib.import_module(f"bench.{name}").run()
    if inspect.isawaitable(result):

        async def waited() -> Any:
            return await result

        result = asyncio.run(waited())
    assert isinstance(result, dict)
    return result


def shown(value: Any) -> str:
    if isinstance(value, float) and abs(value) < 100:
        return f"{value:,.3g}"
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def row(name: str, figure: dict[str, Any]) -> str:
    return f"{name:<58} {shown(figure['value']):>14} {figure['unit']:<16} {figure.get('reach') or '-'}"


def main() -> None:
    figures: dict[str, Any] = {}
    failed = []
    print(f"{'what':<58} {'measured':>14} {'':<16} reach")
    for name in questions(sys.argv[1:]):
        started = time.monotonic()
        try:
            found = measure(name)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        figures.update(found)
        for key, figure in found.items():
            print(row(key, figure), flush=True)
        print(f"  ({name}: {time.monotonic() - started:.0f} s)", flush=True)
    (FOLDER / "latest.json").write_text(json.dumps(figures, indent=2) + "\n")
    if failed:
        sys.exit(f"bench: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
