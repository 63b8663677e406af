"""The two programs that are measured: how each is started on a script, and what a run of it says."""

import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

LUA = Path(__file__).resolve().parent.parent / "lua"
WORKLOADS = LUA.parent / "workloads"

LINE = re.compile(r"^([a-z][\w.]*) (-?[\d.]+(?:e[-+]?\d+)?) (\S+)$")
SKIP = re.compile(r"^skip ([a-z][\w.]*) (.+)$")


class Failed(Exception):
    """A run that did not come to its end; the text is what it said."""


@dataclass
class Run:
    """What one process said about one script."""

    figures: dict = field(default_factory=dict)  # name -> (value, unit)
    skipped: dict = field(default_factory=dict)  # name -> reason
    log: str = ""


@dataclass
class Program:
    """A program that takes a skynet config file."""

    name: str
    command: list  # without the config file
    directory: Path  # it runs there
    paths: dict  # config keys; `{lua}` is the directory of the scripts
    commit: str

    def config(self, script, settings):
        keys = {
            "start": script,
            "harbor": 0,
            "bootstrap": "snlua bootstrap",
            "bench_workloads": str(WORKLOADS),
            **{key: value.replace("{lua}", str(LUA)) for key, value in self.paths.items()},
            **settings,
        }
        lines = []
        for key, value in keys.items():
            text = value if isinstance(value, (int, float)) else '"%s"' % str(value).replace('"', '\\"')
            lines.append(f"{key} = {str(text).lower() if isinstance(value, bool) else text}")
        return "\n".join(lines) + "\n"

    def run(self, script, settings, timeout):
        """Runs `script` to its end."""
        with tempfile.TemporaryDirectory(prefix="skein-bench-") as place:
            place = Path(place)
            config, log = place / "config", place / "log"
            config.write_text(self.config(script, {**settings, "logger": str(log)}))
            try:
                ended = subprocess.run(
                    [*self.command, str(config)],
                    cwd=self.directory,
                    capture_output=True,
                    text=True,
                    timeout=timeout,
                    stdin=subprocess.DEVNULL,
                )
            except subprocess.TimeoutExpired as e:
                said = e.stdout.decode() if isinstance(e.stdout, bytes) else (e.stdout or "")
                raise Failed(f"{self.name} {script}: no end after {timeout} s\n{said}{tail(log)}") from None
            run = Run(log=tail(log))
            for line in ended.stdout.splitlines():
                if match := LINE.match(line):
                    run.figures[match[1]] = (float(match[2]), match[3])
                elif match := SKIP.match(line):
                    run.skipped[match[1]] = match[2]
            if run.figures.pop("end", (0,))[0] != 1:
                raise Failed(f"{self.name} {script}: status {ended.returncode}\n{ended.stdout}{ended.stderr}{run.log}")
            return run


def tail(path, lines=20):
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) + "\n"


def commit(directory):
    """The commit of a checkout, with `+` behind it if files differ, or `unknown`."""

    def git(*arguments):
        return subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True)

    head = git("rev-parse", "--short=10", "HEAD")
    if head.returncode != 0:
        return "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return head.stdout.strip() + ("+" if changed else "")


def skein(binary):
    binary = Path(binary).resolve()
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"{binary}: no program there; `cargo build --release -p skein` makes it, or name one with --skein")
    return Program(
        name="skein",
        command=[str(binary)],
        directory=LUA,
        paths={"luaservice": "{lua}/?.lua", "lua_path": "{lua}/?.lua"},
        commit=commit(LUA),
    )


def skynet(checkout):
    checkout = Path(checkout).resolve()
    binary = checkout / "skynet"
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"{binary}: no program there; --skynet wants a built checkout")
    return Program(
        name="skynet",
        command=["./skynet"],
        directory=checkout,
        paths={
            "luaservice": "{lua}/?.lua;./service/?.lua",
            "lua_path": "{lua}/?.lua;./lualib/?.lua;./lualib/?/init.lua",
            "lualoader": "./lualib/loader.lua",
            "cpath": "./cservice/?.so",
            "lua_cpath": "./luaclib/?.so",
        },
        commit=commit(checkout),
    )


def load():
    """The load average of the last minute, for the report: what else this machine was doing."""
    return round(os.getloadavg()[0], 2)


def stamp():
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
