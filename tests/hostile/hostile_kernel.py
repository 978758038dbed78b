"""What the kernel is asked for in tests: who touched a folder, and death for who asks for another machine."""

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

from audit.confinement import ALLOW, ARGUMENTS, EQUAL, LOAD, MACHINES, NO_NEW_RIGHTS, REFUSED, RETURN, _step

KILL_ALL = 0x80000000
ACCESS, OPENED, NONBLOCK = 0x1, 0x20, 0o4000
CHANGED = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200
"""Written into, other rights, moved away, moved here, made, removed."""

INTERNET = (2, 10)
"""The families of addresses of other machines, IPv4 and IPv6."""

KERNEL = sys.platform == "linux" and platform.machine() in MACHINES


class Watch:
    """Whether a file of a folder was opened, read, made, changed or removed, by whatever means."""

    def __init__(self, folder: Path) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.libc.inotify_init1(NONBLOCK)
        if (
            self.descriptor < 0
            or self.libc.inotify_add_watch(self.descriptor, bytes(folder), ACCESS | OPENED | CHANGED) < 0
        ):
            raise OSError(ctypes.get_errno(), "the folder cannot be watched")

    def events(self) -> list[str]:
        """The files that were touched since the last call."""
        found = set()
        while True:
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                return sorted(found)
            at = 0
            while at < len(data):
                (length,) = struct.unpack_from("I", data, at + 12)
                found.add(data[at + 16 : at + 16 + length].rstrip(b"\0").decode())
                at += 16 + length


def die_of_network() -> None:
    """From here on this process and all that it starts die when they make a socket to another machine."""
    column, _, setting = MACHINES[platform.machine()]
    number = REFUSED["socket"][column]
    assert number is not None
    look = [_step(LOAD, ARGUMENTS)]
    for i, family in enumerate(INTERNET):
        look.append(_step(EQUAL, family, len(INTERNET) - 1 - i, 0 if i < len(INTERNET) - 1 else 1))
    steps = [_step(LOAD, 0), _step(EQUAL, number, 0, len(look) + 1), *look, _step(RETURN, KILL_ALL)]
    steps.append(_step(RETURN, ALLOW))
    content = ctypes.create_string_buffer(b"".join(steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(content))
    libc = ctypes.CDLL(None)
    libc.prctl(NO_NEW_RIGHTS, 1, 0, 0, 0)
    if libc.syscall(setting, 1, 1, ctypes.create_string_buffer(program)):
        raise OSError("the kernel takes no filter")
