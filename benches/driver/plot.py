"""The plot: one bar a figure, on a logarithmic axis of ratios, with the marks that skein wants to reach."""

import math
from html import escape

from . import report

GROUPS = [
    ("Messages", ["call", "send", "ring", "game"]),
    ("Tasks of one service", ["tasks"]),
    ("Packing", ["seri"]),
    ("Long strings, blocks", ["strings", "forward", "multicast"]),
    ("Services, timers", ["launch", "timers", "pending"]),
    ("Latency, rest", ["latency", "quiet"]),
]

WIDTH, LEFT, RIGHT, TOP = 1000, 300, 150, 112
ROW, HEADING, BAR = 26, 34, 12
LEAST, MOST = 0.5, 120
TICKS = [0.5, 1, 2, 5, 10, 20, 50, 100]

GOOD, BAD, INK, GREY, LIGHT = "#2f7f6f", "#c2603d", "#1d2b2f", "#66757a", "#dfe5e6"

STYLE = f"""
text {{ font: 13px system-ui, 'DejaVu Sans', sans-serif; fill: {INK} }}
.title {{ font-size: 20px; font-weight: 600 }}
.group {{ font-size: 14px; font-weight: 600 }}
.small {{ font-size: 12px; fill: {GREY} }}
.value {{ font-weight: 600 }}
"""


def x(ratio):
    """Where a ratio lies."""
    part = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def svg(results):
    """The whole picture, for results of both programs."""
    body, y = [], TOP
    for heading, scripts in GROUPS:
        figures = [figure for figure in results.figures if figure.script in scripts]
        bars = [bar for figure in figures if (bar := row(results, figure, 0))]
        if not bars:
            continue
        body.append(text(24, y + HEADING - 12, heading, "group"))
        y += HEADING
        for figure in figures:
            if lines := row(results, figure, y):
                body += lines
                y += ROW
    bottom = y + 8
    height = bottom + 74
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *head(),
            *axis(bottom),
            *body,
            *foot(results, bottom),
            "</svg>\n",
        ]
    )


def row(results, figure, y):
    """One figure: label, bar of CPU time, line of wall time, marks, value."""
    cpu, wall = report.ratios(results, figure)
    if cpu is None:
        return None
    middle = y + ROW / 2
    start, end = sorted((x(1), x(cpu)))
    lines = [
        text(LEFT - 12, middle + 4, figure.label, anchor="end"),
        f'<rect x="{start:.1f}" y="{middle - BAR / 2:.1f}" width="{end - start:.1f}" height="{BAR}" '
        f'fill="{GOOD if cpu >= 1 else BAD}"/>',
    ]
    if spread := report.spread(results, figure):
        low, high = map(x, spread)
        lines.append(f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="{INK}" stroke-width="1.5"/>')
    if wall is not None:
        lines.append(f'<circle cx="{x(wall):.1f}" cy="{middle}" r="4" fill="#fff" stroke="{INK}" stroke-width="1.5"/>')
    mark, goal = report.bounds(results, figure)
    if mark is not None:
        lines.append(first_mark(x(mark), middle))
    if goal is not None:
        lines.append(goal_mark(x(goal), middle))
    lines.append(text(WIDTH - 82, middle + 4, report.times(cpu), "value", "end"))
    if verdict := SIGNS.get(report.reached(results, figure)):
        lines.append(text(WIDTH - 74, middle + 4, verdict, "small"))
    return lines


SIGNS = {"goal": "goal", "first mark": "first mark", "**no**": "below", "not yet": "below"}


def first_mark(at, middle):
    return f'<path d="M{at:.1f} {middle - 10}v20" stroke="{INK}" stroke-width="2"/>'


def goal_mark(at, middle):
    return f'<path d="M{at:.1f} {middle - 7}l7 7l-7 7l-7 -7z" fill="#e0a526" stroke="{INK}" stroke-width="1"/>'


def head():
    y = 72
    return [
        text(24, 34, "skein beside skynet: how many times less an operation costs", "title"),
        f'<rect x="24" y="{y - 10}" width="30" height="{BAR}" fill="{GOOD}"/>',
        text(62, y, "CPU time (or size, latency), skynet ÷ skein", "small"),
        f'<path d="M344 {y - 4}h30" stroke="{INK}" stroke-width="1.5"/>',
        text(382, y, "in single rounds", "small"),
        f'<circle cx="506" cy="{y - 4}" r="4" fill="#fff" stroke="{INK}" stroke-width="1.5"/>',
        text(518, y, "the same of wall time, two workers", "small"),
        first_mark(752, y - 4),
        text(764, y, "first mark", "small"),
        goal_mark(850, y - 4),
        text(864, y, "goal", "small"),
    ]


def axis(bottom):
    lines = []
    for tick in TICKS:
        at = x(tick)
        lines.append(f'<path d="M{at:.1f} {TOP - 4}V{bottom}" stroke="{GREY if tick == 1 else LIGHT}" stroke-width="1"/>')
        for y in (TOP - 10, bottom + 18):
            lines.append(text(at, y, f"{tick:g}×", "small", "middle"))
    return lines


def foot(results, bottom):
    commits = ", ".join(f"{program.name} {program.commit}" for program in results.contestants)
    first = f"{report.machine()}; thread = {results.settings['thread']}, everything else at its default; {commits}"
    second = f"{results.began}; medians of {results.rounds} rounds, the programs in turns; load average {max(results.loads):g} at most"
    return [text(24, bottom + 44, first, "small"), text(24, bottom + 62, second, "small")]


def text(at, y, words, kind="", anchor=""):
    attributes = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{at:.1f}" y="{y:.1f}"{attributes}>{escape(words)}</text>'
