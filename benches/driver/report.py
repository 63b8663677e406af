"""The table: as text, as Markdown, and the raw samples as JSON."""

import json
import platform

HEAD = ["", "skein", "skynet", "CPU ratio", "time ratio", "first mark", "goal", "reached"]


def rows(results):
    return [row(results, figure) for figure in results.figures]


def row(results, figure):
    """The cells of one figure."""
    if skipped := missing(results, figure):
        return [figure.label, *skipped, "", "", *marks(figure), "–"]
    if figure.kind == "most":
        unit = results.units[figure.name]
        cells = [amount(results.median(program, figure.name), unit) for program in ("skein", "skynet")]
        return [figure.label, *cells, times(results.ratio(figure.name)), "", *marks(figure), reached(results, figure)]
    cells = [cost(results, program, figure) for program in ("skein", "skynet")]
    cpu = times(results.ratio(f"{figure.name}.cpu"))
    wall = times(results.ratio(f"{figure.name}.wall")) if figure.rate else ""
    return [figure.label, *cells, cpu, wall, *marks(figure), reached(results, figure)]


def missing(results, figure):
    """The cells of both programs, if one of them has no figure: what was measured, or why there is nothing."""
    key = figure.name if figure.kind == "most" else f"{figure.name}.cpu"
    names = [program.name for program in results.contestants]
    if all(results.median(name, key) is not None for name in names):
        return None
    cells = []
    for name in ("skein", "skynet"):
        reason = results.skipped.get(name, {}).get(figure.name)
        if name not in names:
            cells.append("")
        elif results.median(name, key) is not None:
            cells.append(amount(results.median(name, key), results.units[key]))
        else:
            cells.append(f"skipped: {reason}" if reason else "failed")
    return cells


def worst(results, figure):
    """The ratio that counts: of CPU time and of wall time the lesser, where both mean something."""
    if figure.kind == "most":
        return results.ratio(figure.name)
    ratios = [results.ratio(f"{figure.name}.cpu")]
    if figure.rate:
        ratios.append(results.ratio(f"{figure.name}.wall"))
    return min(ratios) if all(ratios) else None


def reached(results, figure):
    """Which of the marks is reached."""
    if figure.mark is None:
        return ""
    if figure.kind == "most":
        value = results.median("skein", figure.name)
        below = lambda mark: mark is not None and value <= mark  # noqa: E731
    else:
        value = worst(results, figure)
        if value is None:
            return ""
        below = lambda mark: mark is not None and value >= mark  # noqa: E731
    return "goal" if below(figure.goal) else "first mark" if below(figure.mark) else "no"


def marks(figure):
    def word(mark):
        if mark is None:
            return ""
        return f"≤ {mark:g}" if figure.kind == "most" else f"{mark:g}×"

    return [word(figure.mark), word(figure.goal)]


def cost(results, program, figure):
    cpu = results.median(program, f"{figure.name}.cpu")
    if cpu is None:
        return ""
    text = amount(cpu, "ns")
    if figure.rate:
        text += f", {rate(results.median(program, f'{figure.name}.wall'))}"
    return text


def amount(value, unit):
    """A figure with three digits and the unit that a reader wants."""
    if value is None:
        return ""
    scales = {"ns": [(1e6, "ms"), (1e3, "µs")], "bytes": [(2**20, "MiB"), (2**10, "KiB")]}
    for factor, name in scales.get(unit, []):
        if value >= factor:
            return f"{value / factor:.3g} {name}"
    return f"{value:.3g} {unit}"


def rate(nanoseconds):
    per_second = 1e9 / nanoseconds
    for factor, name in ((1e6, "M/s"), (1e3, "k/s")):
        if per_second >= factor:
            return f"{per_second / factor:.3g} {name}"
    return f"{per_second:.3g} /s"


def times(ratio):
    return "" if ratio is None else f"{ratio:.3g}×"


def text(results):
    """The table for a terminal."""
    table = [HEAD, *rows(results)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
    return "\n".join(lines)


def markdown(results, command):
    lines = [
        "# skein beside skynet",
        "",
        f"Measured {results.began} on {machine()}; load average while it ran {max(results.loads):g} at most.",
        "",
        *[f"* {program.name}: commit `{program.commit}`" for program in results.contestants],
        f"* command: `{command}` ({results.rounds} rounds, the programs in turns, medians; {settings(results)})",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(row) + " |" for row in rows(results)),
        "",
    ]
    return "\n".join(lines)


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
