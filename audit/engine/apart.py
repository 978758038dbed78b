"""A model file is opened in a process of its own first, and this one opens it only where it must look inside.

The process is confined, opens the file and asks the model for some rows. Then there are two ways on. A model whose
inside an explainer or a search can read is opened here too, from the same bytes. Any other model stays where it is, and
is asked through a connection. Of the scaling of a network only its numbers come back, as text.

Where this process was started for an audit and nothing else, the new one is a copy of it, so that nothing is started or
imported twice. Elsewhere threads may have run that do not survive a copy, and libraries would wait for them for ever:
there it is a copy of a server (Linux) that was started for that and has computed nothing, or quite a new process.

What comes back are numbers and sentences, never objects. A file that ends the process, takes too long or too much
memory is one ModelError.
"""

import ctypes
import gc
import importlib
import json
import math
import multiprocessing
import os
import pickle
import resource
import signal
import socket
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from audit.confinement import at_most, confine, limit
from audit.conversation import TooLongError, receive, send
from audit.core.errors import ModelError
from audit.core.model import Adapter, Capability, CodeScores, ImageModel, Model, Native, Pixels, Source, StoredScores
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, decode, encode
from audit.engine.answers import NONSENSE, Found, found, packed, told, unpacked

DESCRIBED = 2**26
"""Bytes that the description of a model may have: classes, notes and the levels of a transformer."""

ANSWERED = 2**34
"""Bytes that an answer may have."""

TRIED_ROWS = 64
"""Rows of the data that a model is asked for before it is believed."""

UNGUARDED = (
    "model.path: the process that opens model files did not start. A script that calls audit.run does so below "
    '`if __name__ == "__main__":`, since a process that is started imports the script first.'
)

NEW: Literal["forkserver", "spawn"] = "forkserver" if sys.platform == "linux" else "spawn"
"""How a process is started where this one is no good to copy; other systems keep the server's address in a file."""

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""

Read = Model | StoredScores | ImageModel


@dataclass(frozen=True)
class Limits:
    """What a model file may take.

    Attributes:
        computing: seconds of computing until it is open.
        load: seconds until it is open, on a machine however busy.
        call: seconds for an answer.
        memory: bytes beyond those of this process; at least `per_byte` times the size of the file.
    """

    computing: int = 300
    load: float = 1800.0
    call: float = 1800.0
    memory: int = 4 * 2**30
    per_byte: int = 16


LIMITS = Limits()


def load_apart(adapter: Adapter, source: Source, limits: Limits = LIMITS, *, copy: bool = False) -> Read:
    """The model of an adapter, its file first opened where it can do no harm.

    Args:
        copy: nothing but an audit ever ran in this process, so that a copy of it will do.

    Raises:
        ModelError: as the adapter says, or the file went beyond its limits or ended the process that opened it.
    """
    child = _child(adapter, source, limits, copy=copy)
    if child is None:
        return adapter.load(source)
    try:
        description = child.opened()
    except BaseException:
        child.close()
        raise
    if description.read is not None:
        child.close()
        return adapter.load(replace(source, read=description.read))
    if description.inside:
        child.close()
        return adapter.load(source)
    about = (child, description.classes, description.notes)
    if description.images:
        return ServedImages(*about)
    if source.schema is None:
        raise TypeError("a model of rows without features")
    return Served(*about, source.schema)


def names_apart(adapter: Adapter, source: Source, limits: Limits = LIMITS) -> tuple[str, ...] | None:
    """The features that a model says it was fitted on; its file is opened in a confined process and nowhere else.

    Raises:
        ModelError: as `load_apart`.
    """
    child = _child(adapter, source, limits, copy=True)
    if child is None:
        return None
    try:
        return child.opened().names
    finally:
        child.close()


def _child(adapter: Adapter, source: Source, limits: Limits, *, copy: bool) -> "Child | None":
    """The process of a model file; None where the file needs none, or what reads it is not installed."""
    parsers = adapter.parsers()
    if not parsers or any(find_spec(name.partition(".")[0]) is None for name in parsers):
        return None
    for name in parsers:
        importlib.import_module(name)
    return Child(adapter, source, limits, copy=copy and sys.platform == "linux")


class Child:
    """The process of a model file; it ends with this object, with this process, and at the first thing that goes wrong.

    Args:
        copy: it is a copy of this process, not a new one.
    """

    def __init__(self, adapter: Adapter, source: Source, limits: Limits, *, copy: bool) -> None:
        self.parsed, self.limits = adapter.parsed, limits
        self._inside, self._text = adapter.inside, adapter.gives_text
        self.memory = max(limits.memory, limits.per_byte * len(source.content or b""))
        self._lock = threading.Lock()
        self._connection, theirs = socket.socketpair()
        main_thread = threading.current_thread() is threading.main_thread()
        settings = {"memory": self.memory, "computing": limits.computing, "copy": copy, "with_parent": main_thread}
        context: Any = multiprocessing.get_context("fork" if copy else NEW)
        if NEW == "forkserver" and not copy:
            context.set_forkserver_preload([__name__, adapter.__module__, *adapter.parsers()])
        self._source = None if copy else source
        args = (theirs, adapter, source if copy else None, settings)
        self._process = context.Process(target=_serve, args=args, daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for this process
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of copies of processes with threads
                self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._end = weakref.finalize(self, _ended, self._process, self._connection)

    def opened(self) -> Found:
        """What is known of the model that was opened.

        Raises:
            ModelError: it was refused, or the process has ended.
        """
        if self._source is not None:
            self._hand_over(self._source)
            self._source = None
        description = found(self._receive("open", "ended the process that opened it", self.limits.load, DESCRIBED))
        if (description.inside and not self._inside) or (description.read is not None) != self._text:
            raise ModelError(NONSENSE)  # what is done here with the file is for the adapter to say, not for the file
        return description

    def _hand_over(self, source: Source) -> None:
        """Gives a new process what it reads, once it is there: one that dies at its start would never take it.

        Raises:
            ModelError: it did not start.
        """
        try:
            receive(self._connection, self.limits.load)
        except OSError:  # also when the time is over
            self.close()
            raise ModelError(UNGUARDED) from None
        try:
            send(self._connection, pickle.dumps(source), self.limits.load)
        except OSError:
            raise self._gone("ended the process that was to open it") from None

    def asked(self, question: bytes, content: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The answer to a question, with its shape.

        Raises:
            ModelError: the model fails, takes too long, or has ended.
        """
        with self._lock:
            try:
                send(self._connection, question + packed(content), self.limits.call)
            except TimeoutError:
                raise self._gone(f"took no question within {self.limits.call:g} s") from None
            except OSError:
                raise self._gone("ended before it was asked") from None
            answer = self._receive("answer", "ended its process", self.limits.call, ANSWERED)
        if answer[:1] == b"-":
            raise ModelError(told(answer[1:]))
        return unpacked(answer[1:])

    def close(self) -> None:
        """Ends the process."""
        self._end()

    def _receive(self, what: str, ended: str, seconds: float, most: int) -> bytes:
        try:
            return receive(self._connection, seconds, most)
        except TooLongError:
            raise self._gone(f"gave more than {most:,} bytes to {what}") from None
        except TimeoutError:
            raise self._gone(f"took longer than {seconds:g} s to {what}") from None
        except OSError:
            self._process.join(5)
            raise self._gone(ended) from None

    def _gone(self, how: str) -> ModelError:
        """The error of a process that cannot be asked any more."""
        code = self._process.exitcode if self._end.alive else 0
        self.close()
        if code == -signal.SIGXCPU:
            how = f"took longer than {self.limits.computing} s of computing"
        by = f" ({signal.strsignal(-code)})" if code and code < 0 and code != -signal.SIGXCPU else ""
        return ModelError(
            f"{self.parsed} {how}{by}, and was stopped. The file is damaged, too large, or made to do harm: "
            "compare its digest with that of the file that was approved, or save it again."
        )


@dataclass(frozen=True)
class Served:
    """A model that stays in its process.

    Attributes:
        schema: the features that it is asked with.
    """

    child: Child
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    schema: FeatureSchema
    capabilities: frozenset[Capability] = frozenset({"predict"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Probabilities of shape (n, C)."""
        return self._scores(encode(self.schema, frame))

    def of_codes(self, schema: FeatureSchema) -> CodeScores | None:
        """As `core.model.Coded` says."""
        return self._scores if schema == self.schema else None

    def native(self) -> Native | None:
        """A model with an inside that can be read does not stay."""
        return None

    def _scores(self, codes: Floats) -> Floats:
        return self.child.asked(b"P", np.ascontiguousarray(codes, dtype=np.float64))


@dataclass(frozen=True)
class ServedImages:
    """A model of images that stays in its process."""

    child: Child
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    capabilities: frozenset[Capability] = frozenset({"split"})

    def features(self, batch: Pixels) -> Pixels:
        """Feature maps (b, d, h, w)."""
        return self.child.asked(b"F", np.ascontiguousarray(batch, dtype=np.float32))

    def head(self, maps: Pixels) -> Pixels:
        """Logits (b, C)."""
        return self.child.asked(b"H", np.ascontiguousarray(maps, dtype=np.float32))


def _serve(connection: socket.socket, adapter: Adapter, source: Source | None, settings: dict[str, Any]) -> None:
    """What the process does: it opens the file, says what it found, and answers until its connection closes."""
    if source is None:
        send(connection, b"")
        source = pickle.loads(receive(connection))  # noqa: S301 - from the process that started this one
    try:
        _cut_off(connection, settings)
        with _computing(settings["computing"]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = adapter.first(source)
            answer = {"read": model} if isinstance(model, str) else _described(model, may=adapter.inside)
            _try(model, source)
    except ModelError as error:
        answer = {"refused": list(error.problems)}
    except MemoryError:
        most = f"{settings['memory'] / 2**30:.0f} GiB"
        answer = {"refused": [f"{adapter.parsed} needs more than {most} of memory; give a smaller one"]}
    except Exception as error:  # noqa: BLE001 - the file is foreign: whatever it raises is its fault
        answer = {"refused": [f"{adapter.parsed} cannot be opened: {_said(error)}"]}
    try:
        send(connection, json.dumps(answer).encode())
        while "refused" not in answer:
            send(connection, _answer(model, source, receive(connection)))
    except OSError:
        pass


def _cut_off(connection: socket.socket, settings: dict[str, Any]) -> None:
    """Leaves the process with its connection and nothing else of the one that it is a copy of."""
    from threadpoolctl import threadpool_limits

    if settings["with_parent"] and sys.platform == "linux":  # a thread that ends would count as a parent that died
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    gc.disable()  # what is left over from the other process is not ours to close
    threadpool_limits(1)  # threads do not survive the copy, and a library may wait for them for ever
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    _close_others(connection.fileno())
    with suppress(PermissionError):  # it leads a session already
        os.setsid()  # no terminal is its own any more
    limit(settings["memory"])
    confine()


def _close_others(kept: int) -> None:
    """Closes all files but the standard ones and that of the connection, also those of the server that was copied."""
    listed = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    there = {int(path.name) for path in listed.iterdir()} if listed.is_dir() else set(range(most))
    for number in there - {0, 1, 2, kept}:
        with suppress(OSError):
            os.close(number)


@contextmanager
def _computing(seconds: int) -> Iterator[None]:
    """A time of computing after which the process is ended."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    before, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (at_most(wanted, before), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (before, most))


def _described(model: Read, *, may: bool) -> dict[str, Any]:
    images = isinstance(model, ImageModel)
    inside = may and not images and "native" in model.capabilities
    return {
        "inside": inside,
        "images": images,
        "classes": list(model.classes),
        "notes": list(getattr(model, "notes", ())),
        "names": getattr(model, "names", None),
    }


def _try(model: Read | str, source: Source) -> None:
    """Asks a model of rows for some; what it says is judged where it counts, and here only that it lives."""
    if isinstance(model, str | StoredScores | ImageModel) or source.schema is None:
        return
    try:
        rows = source.evaluate[list(source.schema.names)].head(TRIED_ROWS)
        model.predict(decode(source.schema, encode(source.schema, rows)))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110 - it is asked again, and the message then says for what
        pass


def _answer(model: Any, source: Source, question: bytes) -> bytes:
    kind, given = question[:1], unpacked(question[1:])
    try:
        if kind == b"P":
            answer = _scores(model, source)(given)
        else:
            answer = model.features(given) if kind == b"F" else model.head(given)
        return b"+" + packed(np.ascontiguousarray(answer, dtype=given.dtype))
    except ModelError as error:
        problems = list(error.problems)
    except Exception as error:  # noqa: BLE001 - the file is foreign
        advice = "Check that `model.features` lists what it was trained on, in that order."
        problems = [f"the model failed on {len(given)} rows: {_said(error)}. {advice}"]
    return b"-" + json.dumps(problems).encode()


def _scores(model: Any, source: Source) -> Callable[[Floats], Any]:
    schema = source.schema
    if schema is None:
        raise TypeError("a model of rows without features")
    of_codes: CodeScores | None = model.of_codes(schema) if hasattr(model, "of_codes") else None
    return of_codes or (lambda codes: model.predict(decode(schema, codes)))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}" if str(error) else type(error).__name__


def _ended(process: Any, connection: socket.socket) -> None:
    connection.close()
    process.kill()
    process.join()
