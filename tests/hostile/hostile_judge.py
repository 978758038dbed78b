"""Whether what a case did is what an audit needs: events of Python, pages that were drawn, and files inside a PDF."""
# ruff: noqa: E501 - controls and lists of events read best as one line each

import csv
import io
import os
import re
import sys
import sysconfig
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hostile_case import Stage

ROOT = Path(__file__).resolve().parent.parent.parent
READ = tuple(
    {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(ROOT))}
    | {"/usr/lib", "/usr/share", "/lib", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/fonts",
       "/proc/self/", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/urandom"}
)  # fmt: skip
"""Where an audit may read beside its own folder: packages, fonts, and what the system says of the machine."""

PROGRAMS = {"git", "uname", "ldconfig", "gcc", "cc", "ld", "objdump"}
"""Of the system: the revision of the spec, and where libraries lie, which Python asks for the PDF."""

PLACES = {"", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin"}
"""Where these lie; a bare name is looked for there."""

FORBIDDEN = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostby", "socket.sendto", "subprocess.",
             "os.system", "os.exec", "os.posix_spawn", "os.spawn", "urllib.", "ftplib.", "webbrowser.", "pickle.find_class",
             "os.setxattr", "os.chown", "shutil.")  # fmt: skip

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.remove": (0,), "os.rename": (0, 1), "os.symlink": (1,), "os.link": (0, 1), "os.mkdir": (0,), "os.rmdir": (0,),
           "os.truncate": (0,), "os.chmod": (0,), "os.utime": (0,), "shutil.rmtree": (0,), "shutil.move": (0, 1),
           "shutil.copyfile": (1,), "shutil.copymode": (1,), "shutil.copystat": (1,), "shutil.copytree": (1,)}  # fmt: skip
"""Events that change files, and which of their arguments are the files; what a copy is made of is read."""


def is_wrong(event: list[Any], made: Stage) -> bool:
    """Whether an audit has no need of what it did."""
    name, args = event
    if name == "subprocess.Popen":
        return not _is_ours(args[0], args[1])
    if name == "ctypes.dlopen":
        return "/" in args[0] and not _real(args[0], made).startswith(READ)
    if name in CHANGES:
        args = [path or os.devnull for path in args]  # a file that is open was judged when it was opened
        copied = name.startswith("shutil.copy") and _is_astray(args[0], made, writes=False)
        return copied or any(_is_astray(args[i], made, writes=True) for i in CHANGES[name])
    if name != "open":
        return name.startswith(FORBIDDEN)
    flags = int(args[2]) if args[2].lstrip("-").isdigit() else 0
    writes = bool(flags & WRITING) or any(letter in args[1] for letter in "wax+" if args[1] != "None")
    return bool(args[0]) and _is_astray(args[0], made, writes=writes, itself=bool(flags & os.O_NOFOLLOW))


def _is_ours(program: str, words: list[str]) -> bool:
    """Whether a program is one that audit starts, with the words with which it starts it."""
    if program == sys.executable or (words and words[0] == sys.executable):
        from audit.models.torch_module.program import START

        fragments = [sys.executable, "-I", "-B", str(ROOT / "audit" / "report" / "fragment_child.py")]
        return words[:4] in (fragments, [sys.executable, "-P", "-c", START[:300]])
    place, name = os.path.split(program)
    return name in PROGRAMS and place in PLACES


def _real(path: str, made: Stage) -> str:
    """The file that a path names, in the folder of the case where it is relative."""
    whole = os.path.normpath(made.folder / path)
    return whole if whole.startswith("/proc/self/") else os.path.realpath(whole)


def _is_astray(path: str, made: Stage, *, writes: bool, itself: bool = False) -> bool:
    """Whether a file is none that an audit reads, or writes."""
    real = str(made.folder / path) if itself else _real(path, made)  # the kernel refuses a link in the last place
    area = str(made.folder.parent.parent)
    if real.startswith(tempfile.gettempdir()) and not real.startswith((area, f"{ROOT}/")):
        return False  # scratch, whose names nobody knows
    if real.startswith(f"{made.folder}/out"):
        return real.endswith(".py")
    if real == str(made.folder) or real.startswith(f"{made.folder}/"):
        return writes or real.endswith(".py")
    return (writes and real != os.devnull) or not real.startswith(READ)


def controls(made: Stage) -> dict[str, str]:
    """What an audit never does, as Python to be run under the watch: what it tries to the code. None does any harm."""
    nowhere, secret = str(ROOT / "no-such-folder" / "x"), str(made.outside / "no-such-file")
    return {
        "reads a file by a path of bytes": "open(b'/etc/shadow')",
        "writes into the checkout by a call of the system": f"import os; os.open({nowhere!r}, os.O_WRONLY | os.O_CREAT)",
        "writes into the checkout by a path of bytes": f"open({nowhere!r}.encode(), 'wb')",
        "runs code in another Python": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'])",
        "runs a file of its own in another Python": (
            "import subprocess, sys; subprocess.run([sys.executable, '-I', '-B', './fragment_child.py'], capture_output=True)"),
        "runs another Python by name": "import subprocess; subprocess.run(['python3', '-c', 'pass'])",
        "runs a program of its own that is called git": "import subprocess; subprocess.run(['./git', 'status'])",
        "runs a shell": "import os; os.system('true')",
        "removes a file": f"import os; os.remove({secret!r})",
        "removes a file by a folder that is open": (
            f"import os; os.remove('no-such-file', dir_fd=os.open({str(made.outside.parent)!r}, os.O_RDONLY))"),
        "renames a file": f"import os; os.rename({secret!r}, 'out')",
        "removes the spec": "import os; os.rename('no-such-file', 'spec.yaml.old')",
        "makes a link elsewhere": f"import os; os.symlink('/etc', {nowhere!r})",
        "makes a folder elsewhere": f"import os; os.mkdir({nowhere!r})",
        "shortens a file": f"import os; os.truncate({secret!r}, 0)",
        "gives rights": f"import os; os.chmod({secret!r}, 0o777)",
        "clears a folder": f"import shutil; shutil.rmtree({secret!r})",
        "copies a file to the outside": f"import shutil; shutil.copyfile('spec.yaml', {nowhere!r})",
        "copies a secret": f"import shutil; shutil.copyfile({secret!r}, 'out')",
        "moves a file": f"import shutil; shutil.move({secret!r}, 'out')",
        "loads a library of its own": "import ctypes; ctypes.CDLL('./evil.so')",
        "loads a library from elsewhere": f"import ctypes; ctypes.CDLL({secret!r})",
        "asks for a name of the net": "import socket; socket.getaddrinfo('127.0.0.1', 9)",
        "reads code beside the spec": "open('evil.py')",
    }  # fmt: skip


FILLS_THE_LOG = "for _ in range(3000): log.write('x' * 1999)"
"""A control that leaves no room for what comes after it."""

BACKWARDS = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")
WITHIN = re.compile(r"#|data:image/(png|jpeg|svg\+xml);base64,")
ADDRESSES = {"src", "href", "xlink:href", "action", "formaction", "poster", "data", "srcset", "background"}


class Page(HTMLParser):
    """What in a page runs, or reaches out."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[str] = []
        self.wrong: list[str] = []
        self._script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Looks at the attributes."""
        if tag == "script":
            self.scripts.append("")
        if tag in {"iframe", "object", "embed", "base", "form", "link"}:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            out = name in ADDRESSES and not WITHIN.match(value or "")
            if name.startswith("on") or out or "url(" in (value or "").replace("url(#", ""):
                self.wrong.append(f"{name}={value!r}"[:80])
        self._script = tag == "script"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """The same for what closes itself."""
        self.handle_starttag(tag, attrs)
        self._script = False

    def handle_endtag(self, tag: str) -> None:
        """The script is over."""
        self._script = False

    def handle_data(self, data: str) -> None:
        """Keeps scripts, looks at text."""
        if self._script:
            self.scripts[-1] += data
        elif BACKWARDS.search(data):
            self.wrong.append(f"text that reads backwards: {data[:40]!r}")


def page_faults(path: Path, own: Path) -> list[str]:
    """What in a page is not of the tool: scripts other than that of a good page, handlers, addresses, hidden turns."""
    page, good = Page(path.read_text(encoding="utf-8")), Page(own.read_text(encoding="utf-8"))
    wrong = [f"{path.name}: {word}" for word in page.wrong]
    if page.scripts != good.scripts:
        wrong.append(f"{path.name}: {len(page.scripts)} scripts, or one of another text")
    return wrong


def attached_faults(path: Path) -> list[str]:
    """Cells of the tables inside a PDF that a spreadsheet would compute."""
    from pyhanko.pdf_utils.reader import PdfFileReader

    wrong, tables = [], 0
    for item in PdfFileReader(io.BytesIO(path.read_bytes())).root["/AF"]:
        spec = item.get_object()
        if str(spec["/F"]).endswith(".csv"):
            tables += 1
            text = spec["/EF"]["/F"].data.decode("utf-8-sig")
            wrong += [
                f"{spec['/F']}: {cell[:40]!r}"
                for row in csv.reader(io.StringIO(text))
                for cell in row
                if computes(cell)
            ]
    return wrong if tables else ["no table is attached"]


def computes(cell: str) -> bool:
    """Whether a spreadsheet takes a cell for a formula."""
    if not cell.lstrip("\0 ").startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False
