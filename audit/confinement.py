"""What a process that reads a foreign file may still do: read, compute and answer.

Limits hold on every system that has them. On Linux for x86-64 and ARM64 the kernel also refuses the calls by which a
process would reach beyond itself: connections, other programs, other processes, and any change of files. The filter
cannot be taken off again, and holds for all threads. It is a list of what is refused, not of what is allowed, so it is
no proof against a fault of the kernel; for files of strangers use a container as well.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REFUSED = {
    "socket": (41, 198), "bind": (49, 200), "connect": (42, 203), "listen": (50, 201), "mq_open": (240, 180),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "tkill": (200, 130), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "unshare": (272, 97), "setns": (308, 268),
    "openat2": (437, 437), "open_by_handle_at": (304, 265), "creat": (85, None), "truncate": (76, 45),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34),
    "rmdir": (84, None), "link": (86, None), "linkat": (265, 37), "unlink": (87, None), "unlinkat": (263, 35),
    "symlink": (88, None), "symlinkat": (266, 36), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88), "futimesat": (261, None),
    "mknod": (133, None), "mknodat": (259, 33), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "mount": (165, 40),
    "umount2": (166, 39), "chroot": (161, 51), "pivot_root": (155, 41), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "socketpair": (53, 199),
    "accept": (43, 202), "accept4": (288, 242), "sendmsg": (46, 211), "sendmmsg": (307, 269), "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182), "mq_timedreceive": (243, 183), "mq_notify": (244, 184), "shmat": (30, 196),
    "shmctl": (31, 195), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "kcmp": (312, 272), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "name_to_handle_at": (303, 264), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "swapon": (167, 224), "swapoff": (168, 225),
    "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162), "init_module": (175, 105),
    "delete_module": (176, 106), "finit_module": (313, 273), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "syslog": (103, 116), "vhangup": (153, 58), "iopl": (172, None),
    "ioperm": (173, None), "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "setxattrat": (463, 463),
    "removexattrat": (466, 466), "open_tree_attr": (467, 467), "file_setattr": (469, 469), "setsid": (112, 157),
    "setpgid": (109, 154),
}  # fmt: skip
"""Calls of Linux that are refused, with their numbers on x86-64 and on ARM64."""

OPEN = {"open": ((2, None), 1), "openat": ((257, 56), 2)}
"""Calls that open a file, and which of their arguments says for what: any way of writing is refused."""

OWN = {"kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "sched_setaffinity": (203, 122)}
"""Calls that name a process first: another one than this is refused."""

MEANS_THIS = {"prlimit64", "sched_setaffinity"}
"""For these calls 0 is this process too; for `kill` it would be a group."""

IOCTL, HARMLESS = (16, 29), (0x5421, 0x5450, 0x5451, 0x541B, 0x5401)
"""The call that steers devices, and what it may still do: waiting or not, what a new program inherits, how many bytes
are there, whether this is a terminal. All else is refused: one of its requests types into a terminal."""

NOT_THESE = {"fcntl": ((72, 25), 1, (8, 10, 15, 1024, 1026)), "prctl": ((157, 167), 0, (1, 0x59616D61))}
"""Calls of which only some requests are refused, by which argument: signals of a file to another process, leases and
watches; not to end with the parent, and who may look inside."""

SENDTO, ADDRESS = (44, 206), 4
"""The call that sends, and which of its arguments is an address; without one it goes where the connection leads."""

CLONE, CLONE3, THREAD = (56, 220), (435, 435), 0x10000
NAMESPACES = 0x7E020000
"""Calls that start a thread or a process, the flag of a thread, those of namespaces.

The second call hides its flags, so it is unknown.
"""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0o20000000
"""Flags of a file that is opened for more than reading; the last is that of a file without a name."""

MACHINES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}
"""By machine: the column of the numbers, its name in a filter, and the call that sets one."""

OTHER_TABLE = 0x40000000
"""From here on the calls of x86-64 have other numbers for the same."""

ARGUMENTS = 16
"""Where the arguments of a call begin in what a filter sees, eight bytes each."""

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000
NO_NEW_RIGHTS = 38

UNCONFINED = "the kernel here takes no filter of system calls (seccomp), so nothing foreign is opened; allow it one"


def limit(memory: int) -> None:
    """From here on no file is made longer, no core is written, and no more than so many further bytes are taken."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    used = _used()
    if used is not None:
        most = at_most(used + memory, *resource.getrlimit(resource.RLIMIT_AS))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


@contextmanager
def memory_within(memory: int) -> Iterator[None]:
    """Inside, no more than so many further bytes are taken, where the system can say how many are; then as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = _used()
    if used is not None:
        resource.setrlimit(resource.RLIMIT_AS, (at_most(used + memory, soft, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def at_most(wanted: int, *limits: int) -> int:
    """The limit that is wanted, or the lowest of those that hold already: none can be raised."""
    return min([wanted, *(most for most in limits if most != resource.RLIM_INFINITY)])


def _used() -> int | None:
    """Bytes of memory that this process has laid claim to."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else None


def table_memory(size: int) -> int:
    """Bytes of memory that reading a table may take whose file has so many: 4 GiB, or 30 times as many."""
    return max(4 * 2**30, 30 * size)


def confine() -> bool:
    """Whether there is a filter for this system; from then on the process can neither change nor reach what is outside.

    Raises:
        OSError: there is one, and the kernel does not take it; whoever asked for it must not go on without.
    """
    known = MACHINES.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    column, machine, setting = known
    _set_filter(_filter(column, machine), setting)
    return True


def _set_filter(steps: list[bytes], setting: int) -> None:
    """Puts all threads of this process, and what they start, under a filter.

    Raises:
        OSError: the kernel does not take it.
    """
    content = ctypes.create_string_buffer(b"".join(steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(content))
    libc = ctypes.CDLL(None)
    libc.prctl(NO_NEW_RIGHTS, 1, 0, 0, 0)
    all_threads, set_filter = 1, 1
    if libc.syscall(setting, set_filter, all_threads, ctypes.create_string_buffer(program)) != 0:
        raise OSError(errno.ENOSYS, UNCONFINED)


def _filter(column: int, machine: int) -> list[bytes]:
    """The filter as instructions of the kernel's packet filter."""
    steps = [_step(LOAD, 4), _step(EQUAL, machine, 1, 0), _step(RETURN, KILL), _step(LOAD, 0)]
    steps += [_step(AT_LEAST, OTHER_TABLE, 0, 1), _step(RETURN, REFUSE)]
    for numbers in REFUSED.values():
        steps += _when(numbers[column], [])
    for numbers, argument in OPEN.values():
        steps += _when(numbers[column], [_argument(argument), _step(ANY_BIT, WRITING, 1, 0), _step(RETURN, ALLOW)])
    for name, numbers in OWN.items():
        look = [_argument(0), _step(EQUAL, os.getpid(), 0, 1), _step(RETURN, ALLOW)]
        look += [_step(EQUAL, 0, 0, 1), _step(RETURN, ALLOW)] if name in MEANS_THIS else []
        steps += _when(numbers[column], look)
    look = [step for request in HARMLESS for step in (_step(EQUAL, request, 0, 1), _step(RETURN, ALLOW))]
    steps += _when(IOCTL[column], [_argument(1), *look])
    for numbers, argument, requests in NOT_THESE.values():
        look = [step for request in requests for step in (_step(EQUAL, request, 0, 1), _step(RETURN, REFUSE))]
        steps += _when(numbers[column], [_argument(argument), *look, _step(RETURN, ALLOW)])
    upper = _step(LOAD, ARGUMENTS + 8 * ADDRESS + 4)
    none = [_argument(ADDRESS), _step(EQUAL, 0, 0, 3), upper, _step(EQUAL, 0, 0, 1), _step(RETURN, ALLOW)]
    steps += _when(SENDTO[column], none)
    look = [_argument(0), _step(ANY_BIT, NAMESPACES, 2, 0), _step(ANY_BIT, THREAD, 0, 1), _step(RETURN, ALLOW)]
    steps += _when(CLONE[column], look)
    steps += [_step(EQUAL, CLONE3[column], 0, 1), _step(RETURN, UNKNOWN)]
    return [*steps, _step(RETURN, ALLOW)]


def _when(number: int | None, look: list[bytes]) -> list[bytes]:
    """For the call of that number: what is looked at, and if that decides nothing, refusal."""
    return [] if number is None else [_step(EQUAL, number, 0, len(look) + 1), *look, _step(RETURN, REFUSE)]


def _argument(position: int) -> bytes:
    return _step(LOAD, ARGUMENTS + 8 * position)


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """An instruction: what it does, with which value, and how many to pass over."""
    return struct.pack("HBBI", code, then, otherwise, value)
