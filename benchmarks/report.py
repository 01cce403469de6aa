"""What the comparison found, as a table and as a picture."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A figure. ratio: of ours to theirs. target: what it has to be. least: whether at least, or at most."""

    figure: str
    ours: str
    theirs: str
    ratio: float
    target: float
    least: bool = True

    @property
    def met(self) -> bool:
        """Whether it is what it has to be."""
        return self.ratio >= self.target if self.least else self.ratio <= self.target

    @property
    def cells(self) -> Sequence[str]:
        """The row as text."""
        target = f"{'at least' if self.least else 'at most'} {self.target:g}"
        return self.figure, self.ours, self.theirs, f"{self.ratio:.2f}", target, "yes" if self.met else "NO"

    @property
    def reached(self) -> float:
        """How many times better than its target it is; within what a picture has room for."""
        # By a figure of nothing, or of less than it began with, nothing can be divided.
        times = self.ratio / self.target if self.least else self.target / max(self.ratio, self.target / ROOM)
        return min(max(times, 1 / ROOM), ROOM)


ROOM = 10
"""Times of a target at which a bar ends, whatever it stands for."""

HEADER = ("figure", "ours", "theirs", "ratio", "target", "met?")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def options(description: str) -> ArgumentParser:
    """Return the options of a comparison: quick, folder, write."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one small round of each, as a smoke test")
    parser.add_argument("--folder", help="where the databases lie; unless given, a temporary one")
    parser.add_argument("--write", type=Path, help="a folder for the table and the picture")
    return parser


def told(rows: Iterable[Row]) -> list[Row]:
    """Return the rows, telling each as it is found."""
    found = []
    for row in rows:
        found.append(row)
        print(*row.cells, sep=" | ", file=sys.stderr)
    return found


def publish(text: str, rows: Sequence[Row], folder: Path | None, name: str) -> None:
    """Print the text, and write it and the picture of the rows to a folder, if there is one."""
    print(text)
    if folder is not None:
        (folder / f"{name}.md").write_text(text)
        picture(rows, folder / f"{name}.png")


def picture(rows: Sequence[Row], path: Path) -> None:
    """Draw how each figure stands to its target: a bar that reaches the line has met it."""
    # Imported here, because whoever wants the table only need not have it.
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(10, 0.42 * len(rows) + 1.2), layout="constrained")
    colours = ["#2f7d5b" if row.met else "#c2553a" for row in rows]
    bars = axes.barh([row.figure for row in rows], [row.reached for row in rows], color=colours)
    axes.axvline(1, color="#444444", linewidth=1)
    # On white, because the line of the target may lie behind them.
    white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    labels = [f"{ratio} ({target})" for _, _, _, ratio, target, _ in (row.cells for row in rows)]
    axes.bar_label(bars, labels, padding=5, bbox=white, zorder=3)
    axes.set_xscale("log", base=2)
    axes.set_xticks([0.5, 1, 2, 5, ROOM], ["half", "target", "twice", "5 times", f"{ROOM} or more"])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("How each ratio stands to its target", loc="left")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
