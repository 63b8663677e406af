"""Every figure of the report: which script prints it, how it is judged, and what skein wants to reach.

`ratio` figures are costs of one operation; their marks are multiples of skynet. `most` figures are sizes or latencies;
their marks are upper bounds in the figure's own unit.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row of the table, one bar of the plot."""

    script: str
    name: str
    label: str
    kind: str = "ratio"  # or "most"
    mark: float | None = None  # the first mark
    goal: float | None = None
    rate: bool = True  # whether wall time means something, beside CPU time


FIGURES = [
    Figure("call", "ping_pong", "call and answer, one pair", mark=5, goal=10),
    Figure("call", "pairs_64", "call and answer, 64 pairs", mark=4, goal=10),
    Figure("send", "fan_in", "one-way sends, 8 to 1", mark=4, goal=10),
    Figure("tasks", "fork", "fork", mark=2, goal=4),
    Figure("tasks", "wakeup", "wakeup and wait", mark=2, goal=4),
    Figure("tasks", "handover", "wakeup and wait, two tasks in turns"),
    Figure("tasks", "yield", "yield", mark=5, goal=8),
    Figure("tasks", "call_self", "call to oneself"),
]

SCRIPTS = list(dict.fromkeys(figure.script for figure in FIGURES))


def select(words):
    """The figures that `words` name, by script or by name."""
    if not words:
        return FIGURES
    for word in words:
        if not any(word in (figure.script, figure.name) for figure in FIGURES):
            names = " ".join(figure.name for figure in FIGURES)
            raise SystemExit(f"no script and no figure is called {word}; scripts: {' '.join(SCRIPTS)}; figures: {names}")
    return [figure for figure in FIGURES if figure.script in words or figure.name in words]
