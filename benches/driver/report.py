"""The table: as text, as Markdown, and the raw samples as JSON."""

import json
import platform

HEAD = ["", "skein", "skynet", "CPU ratio", "time ratio", "first mark", "goal", "reached"]


def rows(results):
    return [row(results, figure) for figure in results.figures]


def row(results, figure):
    """The cells of one figure."""
    cells = [said(results, "skein", figure, figure.name), said(results, "skynet", figure, figure.rival)]
    cpu, wall = ratios(results, figure)
    compared = [times(cpu, spread(results, figure)), times(wall)]
    return [figure.label, *cells, *compared, *marks(results, figure), reached(results, figure)]


def said(results, program, figure, name):
    """What a program takes, or why it has no figure."""
    if all(it.name != program for it in results.contestants):
        return ""
    if reason := results.skipped.get(program, {}).get(name):
        return f"skipped: {reason}"
    if figure.kind == "most":
        value = results.median(program, name)
        return "failed" if value is None else amount(value, results.units[name])
    cpu, wall = (results.median(program, f"{name}.{it}") for it in ("cpu", "wall"))
    if cpu is None:
        return "failed"
    return amount(cpu, "ns") + (f", {rate(wall)}" if figure.rate else "")


def ratios(results, figure):
    """Of CPU time (or of what is measured, or of wall time where only that counts) and of wall time; `None` where there is none."""
    if figure.kind == "most":
        return results.ratio(figure), None
    if figure.kind == "time":
        return results.ratio(figure, ".wall"), results.ratio(figure, ".wall")
    return results.ratio(figure, ".cpu"), results.ratio(figure, ".wall") if figure.rate else None


def spread(results, figure):
    """Between which values the first of [`ratios`] was in single rounds."""
    return results.spread(figure, {"most": "", "time": ".wall"}.get(figure.kind, ".cpu"))


def bounds(results, figure):
    """First mark and goal as ratios, also where they are upper bounds; `None` where there is none."""
    if figure.kind == "most":
        theirs = results.median("skynet", figure.rival)
        return [theirs / mark if mark and theirs else None for mark in (figure.mark, figure.goal)]
    return [figure.mark, figure.goal]


def reached(results, figure):
    """Which of the marks is reached. Of CPU time and wall time the worse one decides."""
    if figure.kind == "most":
        value = results.median("skein", figure.name)
        score = None if value is None else -value
        needed = [None if mark is None else -mark for mark in (figure.mark, figure.goal)]
    else:
        score = min((it for it in ratios(results, figure) if it is not None), default=None)
        needed = [figure.mark, figure.goal]
    if score is None or needed == [None, None]:
        return ""
    mark, goal = needed
    if goal is not None and score >= goal:
        return "goal"
    if mark is None:
        return "not yet"
    return "first mark" if score >= mark else "**no**"


def marks(results, figure):
    def word(mark):
        if mark is None:
            return ""
        if figure.kind == "most":
            unit = results.units.get(figure.name) or results.units.get(figure.rival, "")
            return f"≤ {amount(mark, unit)}"
        return f"{mark:g}×"

    return [word(figure.mark), word(figure.goal)]


def amount(value, unit):
    """A figure with three digits and the unit that a reader wants."""
    scales = {"ns": [(1e6, "ms"), (1e3, "µs")], "bytes": [(2**20, "MiB"), (2**10, "KiB")]}
    for factor, name in scales.get(unit, []):
        if value >= factor:
            return f"{digits(value / factor)} {name}"
    return f"{digits(value)} {unit}"


def rate(nanoseconds):
    per_second = 1e9 / nanoseconds
    for factor, name in ((1e6, "M/s"), (1e3, "k/s")):
        if per_second >= factor:
            return f"{digits(per_second / factor)} {name}"
    return f"{digits(per_second)} /s"


def digits(value):
    """Three significant digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio, spread=None):
    if ratio is None:
        return ""
    return f"{digits(ratio)}×" + (f" ({digits(spread[0])}–{digits(spread[1])})" if spread else "")


def text(results):
    """The table for a terminal."""
    table = [HEAD, *rows(results)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
    lines += [f"load average {max(results.loads):g} at most, {results.rounds} rounds"]
    return "\n".join(lines)


def markdown(results, command):
    lines = [
        "# skein beside skynet",
        "",
        "How it is measured, and what the columns mean: [README.md](../README.md). The samples: [samples.json](samples.json).",
        "",
        *(["![ratios](ratios.svg)", ""] if len(results.contestants) > 1 else []),
        f"Measured {results.began} on {machine()}; load average while it ran {max(results.loads):g} at most.",
        "",
        *[f"* {program.name}: commit `{program.commit}`" for program in results.contestants],
        f"* command: `{command}` ({results.rounds} rounds, the programs in turns, medians; {settings(results)})",
        "",
        "| " + " | ".join([*HEAD, "script"]) + " |",
        "|" + "---|" * (len(HEAD) + 1),
        *("| " + " | ".join([*row(results, it), link(it)]) + " |" for it in results.figures),
        "",
    ]
    return "\n".join(lines)


def link(figure):
    return f"[{figure.script}](../lua/{figure.script}.lua)"


def settings(results):
    return f"`thread = {results.settings['thread']}`, everything else at its default"


def machine():
    return f"{processor()}, Linux {platform.release()}"


def processor():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.machine()


def write(results, directory, command):
    (directory / "report.md").write_text(markdown(results, command))
    raw = {
        "began": results.began,
        "machine": machine(),
        "command": command,
        "settings": results.settings,
        "load": results.loads,
        "commits": {program.name: program.commit for program in results.contestants},
        "units": results.units,
        "samples": results.samples,
        "skipped": results.skipped,
    }
    (directory / "samples.json").write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")
