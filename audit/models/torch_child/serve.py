"""What the process of a program does: it checks the file, loads it, and answers until its connection closes.

A frame is eight bytes of length and the content. Two come first: settings as JSON, and the file. Three answers follow,
as JSON: that the file is not refused, that torch is there, and what was loaded; each may be a refusal instead. Then
every question is `F` and inputs, or `B`, inputs and a slope by the logits, in float64; its answer is `+` and numbers,
or `-` and a sentence. Half of a network of pictures is asked `M`, four sizes and numbers in float32; its answer is `+`,
the number of sizes, the sizes and the numbers.
"""

import ctypes
import io
import json
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from audit.confinement import confine, limit
from audit.conversation import receive, send
from audit.models.torch_child.archive import RefusedError, script
from audit.models.torch_child.exported import Exported, read
from audit.models.torch_child.pictures import Half, half_of

if TYPE_CHECKING:
    from torch import Tensor

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""

GRACE = 5.0
"""Seconds beyond its limit after which the process ends itself: the one that asks has then ended, or should have."""

PROBES = 7
FAR = 10.0
"""How many times farther out a program is tried, so that small logits are not taken for probabilities."""

BLOCK = 256
"""Rows of every call in float32, whose last digits depend on the number of rows."""

SAME = 1e-6
"""How far answers in float64 may depend on the rows around; in float32 they may by `CLOSE`."""

CLOSE = 1e-3


@dataclass(frozen=True)
class Served:
    """A program that answers.

    Attributes:
        program: (n, m) to what the file gives.
        inputs, outputs: m and the number of classes C.
        gives: what the file gives: `logits`, `probabilities`, or `unsaid`, which is taken for logits.
        wide: it computes in float64.
        least, most: rows of a call; `most` 0: any.
    """

    program: "Callable[[Tensor], Any]"
    inputs: int
    outputs: int
    gives: str
    wide: bool
    least: int = 1
    most: int = 0

    def logits(self, x: "Tensor") -> "Tensor":
        """Logits (n, C) of inputs (n, m), both float64; rows are added where a call takes more than there are."""
        import torch

        size = self.most or max(len(x), 1)
        return torch.cat([self._block(x[i : i + size]) for i in range(0, max(len(x), 1), size)])

    def products(self, x: "Tensor", slope: "Tensor") -> "Tensor":
        """The gradient (n, m) of the sum of slope (n, C) times logits."""
        import torch

        x.requires_grad_()
        with torch.enable_grad():
            answer = self.logits(x)
        (gradient,) = torch.autograd.grad(answer, x, grad_outputs=slope)
        return gradient

    def _block(self, x: "Tensor") -> "Tensor":
        import torch

        n, short = len(x), self.least - len(x)
        if short > 0:
            x = torch.cat([x, x.new_zeros((short, self.inputs))])
        given = self.program(x if self.wide else x.float())
        if not isinstance(given, torch.Tensor) or not given.is_floating_point():
            raise RefusedError(f"answers with a {type(given).__name__}, and one tensor of numbers is needed")
        given = given.double()
        one = self.outputs == 2 and tuple(given.shape) in {(len(x),), (len(x), 1)}
        if not one and tuple(given.shape) != (len(x), self.outputs):
            raise RefusedError(
                f"answers {len(x)} rows with shape {tuple(given.shape)}, and {len(x)} x {self.outputs} is expected, "
                "one column for each of `classes`"
            )
        return self._as_logits(given.reshape(len(x), -1))[:n]

    def _as_logits(self, given: "Tensor") -> "Tensor":
        import torch

        if self.gives != "probabilities":
            return given if given.shape[1] == self.outputs else torch.cat([torch.zeros_like(given), given], dim=1)
        both = given if given.shape[1] == self.outputs else torch.cat([1 - given, given], dim=1)
        return both.clamp_min(torch.finfo(torch.float32).tiny).log()


def main() -> None:
    """Serves one program over the connection whose descriptor is the first argument, until that closes."""
    if len(sys.argv) > 2 and sys.platform == "linux":  # a thread that ends would count as a parent that died
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    connection = socket.socket(fileno=int(sys.argv[1]))
    try:
        settings, data = json.loads(receive(connection)), receive(connection)
        served = _loaded(connection, settings, data)
        del data
        while True:
            question = receive(connection)
            signal.setitimer(signal.ITIMER_REAL, settings["seconds"] + GRACE)
            answer = _answer(served, question)
            signal.setitimer(signal.ITIMER_REAL, 0)
            send(connection, answer)
    except RefusedError as error:
        send(connection, json.dumps({"refused": str(error)}).encode())
    except MemoryError:
        send(connection, json.dumps({"refused": "needs more memory than it may have"}).encode())
    except ConnectionError:
        pass
    except Exception as error:  # noqa: BLE001 - the program is foreign: whatever it raises is its fault
        send(connection, json.dumps({"refused": f"cannot be loaded ({said(error)})"}).encode())


def said(error: BaseException) -> str:
    """The name of an error and the last line of what it says, which is where TorchScript puts it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300]}" if lines else type(error).__name__


def _loaded(connection: socket.socket, settings: dict[str, Any], data: bytes) -> Served | Half:
    """The program, after the three answers that say how far it has come."""
    signal.setitimer(signal.ITIMER_REAL, settings["load_seconds"] + GRACE)
    make = looked_at(settings, data)
    send(connection, b"{}")
    signal.setitimer(signal.ITIMER_REAL, settings["start_seconds"] + GRACE)
    _start_torch()
    close_doors(settings["memory"])
    send(connection, b"{}")
    signal.setitimer(signal.ITIMER_REAL, settings["load_seconds"] + GRACE)
    served = make()
    found = json.dumps(
        {"wide": served.wide, "most": served.most, "gradient": isinstance(served, Served) and has_gradient(served)}
    )
    signal.setitimer(signal.ITIMER_REAL, 0)
    send(connection, found.encode())
    return served


def looked_at(settings: dict[str, Any], data: bytes) -> Callable[[], Served | Half]:
    """A function that loads the program with torch and tries it; what can be refused without torch is refused now.

    Raises:
        RefusedError: the file is damaged, or holds what is not read.
    """
    if settings["form"] == "script":
        clean = script(data)
        if settings.get("tensors"):
            return lambda: Half(_unoptimised(_module(clean)))
        return lambda: _tried(_scripted(clean, settings))
    make = read(data)
    if settings.get("tensors"):
        return lambda: half_of(make())
    return lambda: _tried(_exported(make(), settings))


def _start_torch() -> None:
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch._C._jit_set_profiling_mode(False)  # noqa: SLF001 - else TorchScript rewrites itself after some calls
    # What autograd and TorchScript import when they are first used cannot be imported once the doors are closed.
    x = torch.ones(1, 1, requires_grad=True, dtype=torch.float64)
    torch.autograd.grad(torch.softmax(x @ x, dim=1).log().sum(), x)


def close_doors(memory: int) -> None:
    """From here on no file is opened and none made longer, and no more than so many bytes are taken."""
    limit(memory)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    confine()


def _scripted(data: bytes, settings: dict[str, Any]) -> Served:
    def load(*, wide: bool) -> Served:
        module = _module(data)
        return Served(_unoptimised(module.double() if wide else module), *_shape(settings), wide=wide)

    return _widest(load(wide=False), lambda: load(wide=True))


def _module(data: bytes) -> Any:
    """A TorchScript module for asking, with finite weights."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch wants no new files of this kind; old ones are there
        module: Any = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.requires_grad_(requires_grad=False)
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise RefusedError("holds weights that are NaN or infinite; train the model again")
    return module


def _unoptimised(module: Any) -> "Callable[[Tensor], Any]":
    """A call that is not rewritten after the first few, which would move the last digits."""
    from torch.jit import optimized_execution  # type: ignore[attr-defined]

    def call(x: "Tensor") -> Any:
        with optimized_execution(False):
            return module(x)

    return call


def _exported(program: Exported, settings: dict[str, Any]) -> Served:
    width = program.sizes[1].get("as_int") if len(program.sizes) == 2 else None
    if width != settings["inputs"]:
        raise RefusedError(f"takes rows of {width} inputs, and the features make {settings['inputs']}")
    least, most = program.rows()
    narrow = Served(program, *_shape(settings), wide=False, least=least, most=most)
    return _widest(narrow, lambda: replace(narrow, program=replace(program, wide=True), wide=True))


def _shape(settings: dict[str, Any]) -> tuple[int, int, str]:
    return settings["inputs"], settings["outputs"], settings["gives"]


def _widest(narrow: Served, widen: Callable[[], Served]) -> Served:
    """The program in float64 where it can compute so and means the same; else in float32, in calls of one size."""
    import torch

    x = _probes(narrow.inputs)
    with torch.no_grad():
        expected = narrow.logits(x)
        try:
            wide = widen()
            found = wide.logits(x)
        except RuntimeError:
            found = None
    if found is not None and torch.allclose(found, expected, rtol=CLOSE, atol=CLOSE):
        return wide
    size = min(BLOCK, narrow.most or BLOCK)
    return replace(narrow, least=max(size, narrow.least), most=max(size, narrow.least))


def _probes(inputs: int) -> "Tensor":
    """Rows to try a program on: zeros, and normal ones that are the same in every run."""
    import torch

    drawn = torch.randn((PROBES - 1, inputs), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([torch.zeros((1, inputs), dtype=torch.float64), drawn])


def _tried(served: Served) -> Served:
    """The program, unless its answers cannot be relied on."""
    import torch

    x = _probes(served.inputs)
    with torch.no_grad():
        first, second = served.logits(x), served.logits(x)
        alone = torch.cat([served.logits(x[i : i + 1]) for i in range(len(x))])
        far = served.logits(FAR * x)
    if not torch.equal(first, second):
        raise RefusedError("answers the same rows differently each time; save it after `module.eval()`")
    limit = SAME if served.wide else CLOSE
    if not torch.allclose(first, alone, rtol=limit, atol=limit):
        raise RefusedError("answers a row differently when others stand beside it; save it after `module.eval()`")
    _refuse_other_scale(served.gives, far)
    return served


def has_gradient(served: Served) -> bool:
    """Whether autograd can follow the program."""
    import torch

    x = _probes(served.inputs)
    try:
        return bool(served.products(x, torch.ones((len(x), served.outputs)).double()).isfinite().all())
    except RuntimeError:
        return False


def _refuse_other_scale(gives: str, logits: "Tensor") -> None:
    """Refuses numbers that are no probabilities, and numbers that may be where nobody said what they are."""
    import torch

    one = torch.ones(len(logits), dtype=logits.dtype)
    if gives == "probabilities" and not torch.allclose(logits.exp().sum(dim=1), one, atol=1e-5):
        raise RefusedError("gives numbers that do not sum to 1, so no probabilities; say `gives: logits`")
    lone = bool((logits[:, 0] == 0).all())
    within = bool(((logits >= 0) & (logits <= 1)).all())
    if gives == "unsaid" and within and (lone or torch.allclose(logits.sum(dim=1), one, atol=1e-5)):
        raise RefusedError("may give probabilities or logits; say `gives: probabilities` or `gives: logits`")


def _answer(served: Served | Half, question: bytes) -> bytes:
    import torch

    try:
        if isinstance(served, Half):
            return b"+" + served.answer(question)
        numbers = (
            torch.frombuffer(bytearray(question[1:]), dtype=torch.float64) if len(question) > 1 else torch.empty(0)
        )
        if question[:1] == b"F":
            with torch.no_grad():
                result = served.logits(numbers.reshape(-1, served.inputs))
        else:
            n = len(numbers) // (served.inputs + served.outputs)
            x, slope = numbers[: n * served.inputs], numbers[n * served.inputs :]
            result = served.products(x.reshape(n, -1).clone(), slope.reshape(n, -1))
        return b"+" + result.contiguous().numpy().tobytes()
    except MemoryError:
        return b"-needs more memory than it may have"
    except RefusedError as error:
        return b"-it " + str(error).encode()
    except Exception as error:  # noqa: BLE001 - the program is foreign: whatever it raises is its fault
        return b"-" + said(error).encode()
