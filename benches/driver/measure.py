"""Runs the programs in turns, and keeps the medians."""

import statistics
import sys
from dataclasses import dataclass, field

from . import programs

TIMEOUT = 120  # seconds of one run; the longest script takes a fourth of it

ONCE = {"memory"}  # scripts that take long, and say the same each time


@dataclass
class Results:
    """What all runs said."""

    contestants: list
    figures: list
    rounds: int
    settings: dict
    began: str
    loads: list = field(default_factory=list)  # load averages while it ran
    samples: dict = field(default_factory=dict)  # program -> name -> values, one a round
    units: dict = field(default_factory=dict)
    skipped: dict = field(default_factory=dict)  # program -> name -> reason
    failures: list = field(default_factory=list)

    def median(self, program, name):
        values = self.samples.get(program, {}).get(name)
        return statistics.median(values) if values else None

    def ratio(self, figure, suffix=""):
        """skynet's median over skein's: how many times less it is here."""
        ours, theirs = self.median("skein", figure.name + suffix), self.median("skynet", figure.rival + suffix)
        return theirs / ours if ours and theirs and min(ours, theirs) > 0 else None

    def spread(self, figure, suffix=""):
        """The least and the greatest ratio of a round; `None` with fewer than three rounds."""
        ours = self.samples.get("skein", {}).get(figure.name + suffix, [])
        theirs = self.samples.get("skynet", {}).get(figure.rival + suffix, [])
        each = [b / a for a, b in zip(ours, theirs) if min(a, b) > 0]
        return (min(each), max(each)) if len(each) >= 3 else None


def interleaved(contestants, figures, rounds, settings):
    """Runs each script `rounds` times on each program, the programs in turns, so that a slow minute hits both."""
    results = Results(contestants, figures, rounds, settings, programs.stamp())
    scripts = list(dict.fromkeys(figure.script for figure in figures))
    for turn in range(rounds):
        for script in scripts:
            if turn > 0 and script in ONCE:
                continue
            order = contestants if turn % 2 == 0 else contestants[::-1]
            for program in order:
                progress(f"round {turn + 1} of {rounds}: {script} on {program.name}")
                one(results, program, script)
        results.loads.append(programs.load())
    progress("")
    return results


def one(results, program, script):
    try:
        run = program.run(script, results.settings, TIMEOUT)
    except programs.Failed as e:
        results.failures.append(str(e))
        progress("")
        print(e, file=sys.stderr)
        return
    for name, (value, unit) in run.figures.items():
        results.samples.setdefault(program.name, {}).setdefault(name, []).append(value)
        results.units[name] = unit
    results.skipped.setdefault(program.name, {}).update(run.skipped)


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:78}\r", end="", file=sys.stderr, flush=True)
