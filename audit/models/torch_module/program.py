"""Networks that are programs: they run in a process of their own, which is asked for logits and gradients."""

import json
import signal
import socket
import subprocess
import sys
import threading
import weakref
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from audit.conversation import TooLongError, receive, send
from audit.core.base import canonical_json, sha256
from audit.core.errors import ModelError
from audit.core.model import Capability, Pixels
from audit.core.network import Differentiable, Prepare
from audit.core.table import Floats

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["script", "exported"]
START = "import sys; sys.path[:] = __import__('json').loads(sys.argv.pop()); \
from audit.models.torch_child.serve import main; main()"


@dataclass(frozen=True)
class Limits:
    """What a program may take.

    Attributes:
        start: seconds until its process has torch.
        load: seconds for reading the file, and for trying the program.
        call: seconds for an answer.
        memory: bytes beyond those of torch itself.
    """

    start: float = 120.0
    load: float = 60.0
    call: float = 60.0
    memory: int = 4 * 2**30


LIMITS = Limits()


class Child:
    """The process of a program; it ends with this object, with this process, and at the first thing that goes wrong.

    Args:
        path: how messages call the file.
        inputs, outputs: columns of the inputs, and classes.
        gives: `logits` or `probabilities`; None: not said.
        tensors: it is asked for tensors of four dimensions, and for nothing else.
    """

    def __init__(
        self,
        path: str,
        data: bytes,
        form: Form,
        shape: tuple[int, int],
        gives: str | None,
        limits: Limits = LIMITS,
        *,
        tensors: bool = False,
    ) -> None:
        self.path, self.limits = path, limits
        self.inputs, self.outputs = shape
        self._lock = threading.Lock()
        self._process, self._connection = _started()
        self._end = weakref.finalize(self, _ended, self._process, self._connection)
        settings = {
            "form": form, "inputs": shape[0], "outputs": shape[1], "gives": gives or "unsaid", "memory": limits.memory,
            "seconds": limits.call, "load_seconds": limits.load, "start_seconds": limits.start,
            "tensors": tensors,
        }  # fmt: skip
        with self._lock, self._whole():
            self._send(json.dumps(settings).encode(), limits.start)
            self._send(data, limits.start)
            self._step("reading the file", limits.start + limits.load)
            self._step("starting torch", limits.start)
            found = self._step("loading the program", limits.load)
        self.wide: bool = found["wide"]
        self.most: int = found["most"]
        self.gradient: bool = found["gradient"]

    def logits(self, x: Floats) -> Floats:
        """Logits (n, C) of inputs (n, m).

        Raises:
            ModelError: the program fails, takes too long, or has ended.
        """
        return self._asked(b"F" + np.ascontiguousarray(x).tobytes(), (len(x), self.outputs))

    def products(self, x: Floats, slope: Floats) -> Floats:
        """The gradient (n, m) of the sum of slope (n, C) times the logits of x (n, m).

        Raises:
            ModelError: as `logits`.
        """
        question = b"B" + np.ascontiguousarray(x).tobytes() + np.ascontiguousarray(slope).tobytes()
        return self._asked(question, (len(x), self.inputs))

    def tensors(self, x: Pixels) -> Pixels:
        """What half of a network makes of a tensor of four dimensions, one answer for each of its first.

        Raises:
            ModelError: as `logits`.
        """
        given = np.ascontiguousarray(x, dtype=np.float32)
        answer = self._exchange(b"M" + np.array(given.shape, dtype="<i8").tobytes() + given.tobytes())[1:]
        head = 8 + 8 * int.from_bytes(answer[:8], "little")
        try:
            sizes = [abs(int(size)) for size in np.frombuffer(answer[8:head], dtype="<i8")]
            return np.frombuffer(answer[head:], dtype=np.float32).reshape(sizes).copy()
        except (ValueError, OverflowError):
            raise self._gone("gave an answer of another size") from None

    def close(self) -> None:
        """Ends the process."""
        self._end()

    def _asked(self, question: bytes, shape: tuple[int, int]) -> Floats:
        answer = self._exchange(question)
        if len(answer) != 1 + 8 * shape[0] * shape[1]:
            raise self._gone("gave an answer of another size")
        return np.frombuffer(answer, dtype=np.float64, offset=1).reshape(shape).copy()

    def _exchange(self, question: bytes) -> bytes:
        """The answer to a question, its sign before it."""
        with self._lock, self._whole():
            self._send(question, self.limits.call)
            answer = self._receive("an answer", self.limits.call)
            if answer[:1] == b"-":
                raise ModelError(f"model.path: {self.path}: the program failed: {answer[1:].decode(errors='replace')}")
            return answer

    def _whole(self) -> "_Whole":
        return _Whole(self)

    def _step(self, what: str, seconds: float) -> dict[str, Any]:
        """The next word of the process while it loads."""
        try:
            answer: dict[str, Any] = dict(json.loads(self._receive(what, seconds)))
        except (ValueError, TypeError, RecursionError):
            raise self._gone(f"gave an answer that cannot be read during {what}") from None
        if "refused" in answer:
            raise ModelError(f"model.path: {self.path} {answer['refused']}")
        return answer

    def _send(self, content: bytes, seconds: float) -> None:
        try:
            send(self._connection, content, seconds)
        except TimeoutError:
            raise self._gone(f"took no question within {seconds:g} s") from None
        except OSError:
            raise self._gone("ended before it was asked") from None

    def _receive(self, what: str, seconds: float) -> bytes:
        try:
            return receive(self._connection, seconds, self.limits.memory)
        except TooLongError:
            raise self._gone(f"gave more than it may hold for {what}, and was ended") from None
        except TimeoutError:
            raise self._gone(f"took longer than {seconds:g} s for {what}, and was ended") from None
        except OSError:
            raise self._gone(f"ended by itself during {what}") from None

    def _gone(self, how: str) -> ModelError:
        """The error of a process that cannot be asked any more."""
        self._end()
        code = self._process.returncode
        by = f" (signal {-code}: {signal.strsignal(-code)})" if code and code < 0 and -code != signal.SIGKILL else ""
        return ModelError(
            f"model.path: the process of {self.path} {how}{by}. A network answers at once and stays within "
            f"{self.limits.memory / 2**30:g} GiB; check the file, or give its weights with safetensors."
        )


@dataclass(frozen=True)
class _Whole:
    """An exchange that is whole or the last: half an answer in the connection would be read as the next one."""

    child: Child

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and not issubclass(kind, ModelError):
            self.child.close()


@dataclass(frozen=True)
class Program(Differentiable):
    """A network whose file is a program: it can be asked for logits and gradients, and cannot be trained.

    Attributes:
        file_sha256: the digest of the file.
        gives: what the spec says that it gives.
    """

    child: Child
    prepare: Prepare
    classes: tuple[str, ...]
    file_sha256: str
    gives: str | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """It answers for any row; `gradient` where autograd can follow the program."""
        return frozenset({"predict", "gradient"} if self.child.gradient else {"predict"})

    @property
    def notes(self) -> tuple[str, ...]:
        """What its answers depend on beside the rows."""
        if self.child.wide:
            return ()
        text = (
            "The program of the network computes in float32 only: it is asked in calls of one size, and its answers "
            "hold seven digits. Scores within 1e-6 of the threshold are not told apart."
        )
        return (text,)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all that it answers from: file, preparation and classes."""
        about = [self.file_sha256, self.prepare.model_dump(mode="json"), list(self.classes), self.gives]
        return sha256(canonical_json(about))

    def logits(self) -> "Callable[[Tensor], Tensor]":
        """Inputs (n, m) to logits (n, C), both float64; autograd asks the process for the products it needs."""
        import torch
        from torch.autograd.function import once_differentiable

        child = self.child

        class Asked(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: "Tensor") -> "Tensor":
                ctx.save_for_backward(x)
                return torch.from_numpy(child.logits(x.detach().double().numpy()))

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, slope: "Tensor") -> "Tensor":
                (x,) = ctx.saved_tensors
                found = child.products(x.detach().double().numpy(), slope.double().numpy())
                return torch.from_numpy(found).to(x.dtype)

        ask: Callable[[Tensor], Tensor] = Asked.apply
        return ask


def form_of(suffix: str, data: bytes) -> Form | None:
    """What program a file holds; None where it is none, as pickled weights are."""
    if suffix == ".pt2":
        return "exported"
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        names = set()
    if "models/model.json" in names:
        return "exported"
    if "constants.pkl" in names or suffix in {".ts", ".jit", ".torchscript"}:
        return "script"
    return None


def _started() -> tuple["subprocess.Popen[bytes]", socket.socket]:
    """A process of Python with a connection to it; Ctrl-C does not reach it."""
    ours, theirs = socket.socketpair()
    main_thread = threading.current_thread() is threading.main_thread()
    words = [str(theirs.fileno()), *(["with-parent"] if main_thread else []), json.dumps(sys.path)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own code
            [sys.executable, "-P", "-c", START, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=_environment(),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return process, ours


def _environment() -> dict[str, str]:
    """What the process needs of ours; one thread, no accelerator."""
    import os

    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH") if name in os.environ
    }
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}


def _ended(process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
    connection.close()
    process.kill()
    process.wait()
