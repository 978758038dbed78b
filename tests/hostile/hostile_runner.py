"""Runs hostile cases, each in a copy of this process that is watched: `hostile_runner.py CASES.json RESULTS.json`.

What is watched: every file that Python opens, every socket, program and unpickled object, by an audit hook; every access
to the folder of secrets, by the kernel; connections to other machines, which the kernel answers with death.
"""
# ruff: noqa: E501 - cases read best as one line each

import ctypes
import importlib
import json
import mmap
import os
import resource
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile_kernel import Watch, die_of_network

WARM = [
    "audit.cli.main", "audit.cli.run", "audit.engine.run", "audit.engine.apart", "audit.models.scikit",
    "audit.cli.verify", "audit.cli.render", "audit.cli.diff", "audit.engine.verify", "audit.report.html", "audit.report.diff",
    "pandas", "pyarrow.parquet", "sklearn.linear_model", "skops.io", "jinja2", "PIL.Image", "threadpoolctl",
]  # fmt: skip
WATCHED = ("open", "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pickle.find_class",
           "ctypes.dlopen", "shutil.", "os.remove", "os.rename", "os.symlink", "os.link", "os.mkdir", "os.rmdir", "os.truncate",
           "os.chmod", "os.chown", "os.utime", "os.setxattr", "urllib.", "ftplib.", "webbrowser.")  # fmt: skip
FOLDERS = {"os.remove": (1,), "os.rename": (2, 3), "os.symlink": (2,), "os.link": (2, 3), "os.mkdir": (2,), "os.rmdir": (1,),
           "os.chmod": (2,), "os.chown": (3,), "os.utime": (3,), "shutil.rmtree": (1,)}  # fmt: skip
"""Where an event says in which open folder its paths lie, in the order of the paths."""

ROOM = 2**22
SECONDS, MEMORY = 30, 6 * 2**30


class Log:
    """Lines that this process and its copies write, kept where no limit of theirs reaches."""

    def __init__(self) -> None:
        self.room = mmap.mmap(-1, ROOM)
        self.room[:16] = struct.pack("QQ", 16, 0)

    def write(self, line: str) -> None:
        """Adds a line."""
        data = line.encode("utf-8", errors="replace")[:2000] + b"\n"
        (at,) = struct.unpack("Q", self.room[:8])
        if at + len(data) >= ROOM:
            self.room[8:16] = struct.pack("Q", 1 + self.lost)
            return
        self.room[:8] = struct.pack("Q", at + len(data))
        self.room[at : at + len(data)] = data

    @property
    def lost(self) -> int:
        """Lines for which there was no room."""
        (lost,) = struct.unpack("Q", self.room[8:16])
        return int(lost)

    def lines(self) -> list[str]:
        """All lines."""
        (at,) = struct.unpack("Q", self.room[:8])
        return bytes(self.room[16:at]).decode("utf-8", errors="replace").splitlines()


def run(case: dict[str, Any], watch: Watch) -> dict[str, Any]:
    """What a case did."""
    log, said = Log(), Path(case["folder"]).parent / "said.txt"
    watch.events()
    started = time.monotonic()
    process = os.fork()
    if not process:
        _be(case, log, said)
    _, status, used = os.wait4(process, 0)
    return {
        "name": case["name"],
        "exit": os.waitstatus_to_exitcode(status),
        "said": said.read_text(encoding="utf-8", errors="replace"),
        "events": log.lines(),
        "lost": log.lost,
        "secrets": watch.events(),
        "cpu": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss * 1024,
        "wall": time.monotonic() - started,
    }


def _be(case: dict[str, Any], log: Log, said: Path) -> None:
    """The copy: from here on everything is of the case."""
    code = 99
    try:
        os.setsid()
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for standard in (1, 2):
            os.dup2(out, standard)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(case["folder"])
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        main: Callable[[], Any] = importlib.import_module("audit.cli.main").main
        if "code" in case:  # what the watch must see, and no audit does
            content = compile(case["code"], "control", "exec")
            main = lambda: exec(content, {"log": log})  # noqa: E731 - a control of ours

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event.startswith(WATCHED):
                log.write(json.dumps([event, told(event, args)]))

        sys.addaudithook(hook)
        sys.argv = ["audit", *case.get("args", ())]
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="replace", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="replace", closefd=False)
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001 - what the command line lets through is what is looked for
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def told(event: str, args: tuple[Any, ...]) -> list[Any]:
    """What the event is about, as plain data; a file that is open has no name, paths in open folders are made whole."""
    if event == "subprocess.Popen":
        given = args[1] if isinstance(args[1], list | tuple) else [args[1]]
        return [plain(args[0]), [plain(word) for word in given[:6]]]
    said = ["" if i == 0 and isinstance(value, int) else plain(value) for i, value in enumerate(args[:3])]
    for i, place in enumerate(FOLDERS.get(event, ())):
        folder = args[place] if len(args) > place else None
        at = 1 if event == "os.symlink" else i
        if isinstance(folder, int) and folder >= 0 and not said[at].startswith("/"):
            said[at] = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{said[at]}"
    return said


def plain(value: Any) -> str:
    """A value of an event as text: bytes are paths too."""
    return (os.fsdecode(value) if isinstance(value, bytes | os.PathLike) else str(value))[:300]


def _main() -> None:
    listed, results = map(Path, sys.argv[1:])
    ctypes.CDLL(None)
    for name in WARM:
        importlib.import_module(name)
    given = json.loads(listed.read_text(encoding="utf-8"))
    importlib.import_module("audit.spec.load").load_spec(Path(given["good"]))
    watch = Watch(Path(given["outside"]))
    die_of_network()
    answers = [run(case, watch) for case in given["cases"]]
    controls = [run(control, watch) for control in given["controls"]]
    results.write_text(json.dumps({"cases": answers, "controls": controls}), encoding="utf-8")


if __name__ == "__main__":
    _main()
