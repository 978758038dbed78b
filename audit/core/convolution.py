"""Networks that look at pictures: their architecture, and how one is cut into features and head.

torch is imported inside functions: reading a spec must not wait for it.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from audit.core.base import Frozen
from audit.core.errors import ModelError
from audit.core.model import Capability, Pixels

if TYPE_CHECKING:
    from torch.fx import Graph, GraphModule, Node
    from torch.nn import Module


class ImageArchitecture(Frozen):
    """The shape of a network from pictures (b, channels, h, w) to logits (b, classes).

    Plug-ins name a class derived from it in the entry points `audit.image_architectures`, under its kind.
    """

    kind: str

    def build(self, channels: int, classes: int, seed: int) -> "Module":
        """A module whose weights depend on `seed` alone."""
        raise NotImplementedError


class Cnn(ImageArchitecture):
    """Convolutions with ReLU, halved by max pooling after all but the last; then the mean over cells and one layer.

    Its modules are called `features` and `head`.

    Attributes:
        widths: channels of each convolution.
        kernel: side of each kernel, in pixels; odd.
    """

    kind: Literal["cnn"] = "cnn"
    widths: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1)
    kernel: Literal[1, 3, 5, 7] = 3

    def build(self, channels: int, classes: int, seed: int) -> "Module":
        """Convolution, ReLU and pooling in turns; He initialisation, no bias to start with."""
        from torch import Generator, nn

        generator = Generator().manual_seed(seed)
        layers: list[Module] = []
        for i, width in enumerate(self.widths):
            before = channels if i == 0 else self.widths[i - 1]
            shape = nn.Conv2d(before, width, self.kernel, padding=self.kernel // 2, device="meta")
            convolution = shape.to_empty(device="cpu")  # a layer on `meta` draws nothing from torch's global state
            nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu", generator=generator)
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
            layers += [convolution, nn.ReLU(), nn.MaxPool2d(2)]
        last = nn.Linear(self.widths[-1], classes, device="meta").to_empty(device="cpu")
        nn.init.xavier_uniform_(last.weight, generator=generator)
        nn.init.zeros_(last.bias)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
        return nn.Sequential(OrderedDict(features=nn.Sequential(*layers[:-1]), head=head))


@dataclass(frozen=True)
class SplitNetwork:
    """A network of torch in two halves.

    Attributes:
        first, second: modules in evaluation mode; `second(first(x))` is the network.
    """

    first: "Module"
    second: "Module"
    classes: tuple[str, ...]
    capabilities: frozenset[Capability] = frozenset({"split"})

    def features(self, batch: Pixels) -> Pixels:
        """Feature maps (b, d, h, w)."""
        return _run(self.first, batch)

    def head(self, maps: Pixels) -> Pixels:
        """Logits (b, C)."""
        return _run(self.second, maps)

    def first_layer(self) -> tuple[Pixels, Pixels, Callable[[Pixels], Pixels]] | None:
        """Weight and bias of the linear layer on cells laid end to end that the head begins with, and what follows."""
        name = _laid_end_to_end(self.second)
        if name is None:
            return None
        layer: Any = self.second.get_submodule(name)
        _, rest = split(self.second, name)
        weight, bias = layer.weight.detach().numpy(), layer.bias
        nothing = np.zeros(len(weight), dtype=np.float32)
        return weight, nothing if bias is None else bias.detach().numpy(), lambda h: _run(rest, h)


def _run(module: "Module", given: Pixels) -> Pixels:
    import torch

    with torch.no_grad():
        answer = module(torch.from_numpy(np.ascontiguousarray(given, dtype=np.float32)))
    return np.asarray(answer.numpy(), dtype=np.float32)


def split(module: "Module", cut: str) -> "tuple[Module, Module]":
    """A network as (features, head), cut behind the module of that dotted name; `name#2` is its second use.

    The network is traced, so that the head is exactly what comes behind the cut; nothing is run twice.

    Raises:
        ModelError: there is no such module, the network cannot be traced, or the head reads more than its output.
    """
    from torch import fx

    wanted, _, number = cut.partition("#")
    names = [name for name, _ in module.named_modules() if name]
    if wanted not in names:
        near = [name for name in names if name.rpartition(".")[2] == wanted.rpartition(".")[2]] or names
        raise ModelError(f"model.cut: there is no module {wanted!r}; there are {', '.join(near[-12:])}")

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: "Module", module_qualified_name: str) -> bool:
            return module_qualified_name == wanted or super().is_leaf_module(m, module_qualified_name)

    module.eval()
    try:
        graph = Tracer().trace(module)
    except Exception as error:  # whatever the network's own code raises
        raise ModelError(
            f"model.cut: the network cannot be cut, because its code depends on its input ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}); give it as two exported programs "
            "(`image_programs`), or as a function that builds both halves (`image_function`)"
        ) from error
    calls = [node for node in graph.nodes if node.op == "call_module" and node.target == wanted]
    uses = [f"{wanted}#{i + 1}" for i in range(len(calls))]
    if cut not in uses and (number or len(calls) != 1):
        raise ModelError(
            f"model.cut: {wanted!r} is used {len(calls)} times; name one of its uses ({', '.join(uses)}), or a module "
            "that is used once"
        )
    call = calls[uses.index(cut)] if cut in uses else calls[0]
    return _before(module, graph, call), _behind(module, graph, call)


def _before(module: "Module", graph: "Graph", cut: "Node") -> "Module":
    """The network up to the cut and with it."""
    from torch import fx

    copy = fx.Graph()
    places: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        places[node] = copy.node_copy(node, places.__getitem__)
        if node is cut:
            copy.output(places[node])
            break
    return _lean(module, copy)


def _behind(module: "Module", graph: "Graph", cut: "Node") -> "Module":
    """What comes behind the cut, as a function of what comes out of it."""
    from torch import fx

    copy = fx.Graph()
    inputs = [str(node.target) for node in graph.find_nodes(op="placeholder")]
    places: dict[fx.Node, fx.Node] = {cut: copy.placeholder("_".join(["behind", *inputs]))}  # a name of its own
    for node in graph.nodes:
        if node is not cut:
            places[node] = copy.node_copy(node, places.__getitem__)
    second = _lean(module, copy)
    for node in second.graph.find_nodes(op="placeholder"):
        if node is places[cut]:
            continue
        for user in list(node.users):
            if _counts(user):
                user.replace_input_with(node, places[cut])
        if node.users:
            raise ModelError(
                f"model.cut: what comes behind {cut.target!r} reads more than its output, as in a network with a "
                "shortcut around it; cut behind the module in which all paths meet"
            )
        second.graph.erase_node(node)
    second.graph.lint()
    second.recompile()
    return second


def _counts(node: "Node") -> bool:
    """Whether a node asks a tensor for nothing but the number of pictures, which the maps hold as well."""
    from operator import getitem

    if node.op == "call_method" and node.target == "size" and (len(node.args) > 1 or node.kwargs):
        return node.args[1:] == (0,) or node.kwargs == {"dim": 0}
    shape = node.op == "call_method" and node.target == "size"
    shape = shape or (node.op == "call_function" and node.target is getattr and node.args[1] == "shape")
    return shape and all(user.target is getitem and user.args[1] == 0 for user in node.users)


def _laid_end_to_end(second: "Module") -> str | None:
    """The name of the linear layer that a head gives all its cells to first; None where it does something else."""
    from torch import flatten, fx, nn

    if not isinstance(second, fx.GraphModule):
        return None
    node = next(iter(second.graph.nodes))
    while True:
        users = [user for user in node.users if not _counts(user)]
        if len(users) != 1:
            return None
        node = users[0]
        module = second.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear):
            return str(node.target)
        laid = isinstance(module, nn.Flatten | nn.Dropout | nn.Identity) or node.target is flatten
        if not (laid or (node.op == "call_method" and node.target in {"flatten", "view", "reshape"})):
            return None


def _lean(module: "Module", graph: "Graph") -> "GraphModule":
    """The module that computes a graph, without what leads nowhere."""
    from torch import fx

    lean = fx.GraphModule(module, graph)
    lean.graph.eliminate_dead_code()
    lean.delete_all_unused_submodules()
    lean.recompile()
    return lean.eval()
