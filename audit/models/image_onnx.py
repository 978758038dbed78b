"""Classifiers of images as ONNX files, cut in two at a named tensor."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from audit.core.errors import ModelError
from audit.core.labels import model_classes
from audit.core.model import Capability, Pixels, Source
from audit.models import FileAdapter

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
"""Seconds after it is imported, onnxruntime reports to its makers over the network, unless it is told not to."""

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Whose operators are ONNX's own; all others need a library, or name files."""

SQUASHING = frozenset({"Softmax", "Sigmoid"})
"""Operators behind which numbers are probabilities, no logits."""


class ImageOnnxAdapter(FileAdapter):
    """A network that looks at pictures, as an `.onnx` file in which the feature maps have a name.

    The file is one: weights in files beside it and operators from outside ONNX are refused. Both halves are computed by
    onnxruntime on one thread.

    Attributes:
        cut: the name of the tensor that holds the feature maps: an output, or a tensor inside.
        logits: the name of the tensor of logits; left out, it is the one output beside `cut`.
        classes: the classes in the order of the logits.
    """

    kind: Literal["image_onnx"] = "image_onnx"
    cut: str
    logits: str | None = None
    classes: tuple[str | bool | int | float, ...] = Field(min_length=2)

    uses: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    def parsers(self) -> tuple[str, ...]:
        """What reads the file."""
        return ("onnx", "onnxruntime")

    def load(self, source: Source) -> "OnnxHalves":
        """The two halves; nothing in the file is opened before its digest was compared."""
        if find_spec("onnx") is None or find_spec("onnxruntime") is None:
            raise ModelError("model.kind: onnx is not installed here; install it with pip install 'auditspec[onnx]'")
        data = self.content(source)
        classes = model_classes(self.classes)
        model = _parsed(self.path, data)
        _refuse_outside(self.path, model)
        given = _given(self.path, model)
        _refuse_unknown(model, "cut", self.cut)
        first, second = _halves(model, given.name, self.cut, self._logits(model))
        halves = OnnxHalves(_session(self.path, first), _session(self.path, second), classes, given.sizes)
        _tried(halves, self.path, self.cut)
        return halves

    def _logits(self, model: "ModelProto") -> str:
        """The name of the tensor of logits.

        Raises:
            ModelError: it is not clear which one is meant, or what it holds are probabilities.
        """
        others = [output.name for output in model.graph.output if output.name != self.cut]
        if self.logits is None and len(others) != 1:
            raise ModelError(
                f"model.logits: beside {self.cut!r} {self.path} has {len(others)} outputs ({', '.join(others)}); "
                "name the tensor of logits"
            )
        name = self.logits or others[0]
        made = next((node for node in model.graph.node if name in node.output), None)
        if made is not None and made.op_type in SQUASHING:
            raise ModelError(
                f"model.logits: {name!r} comes out of a {made.op_type}, so it holds probabilities; "
                f"name the tensor before it: `logits: {made.input[0]}`"
            )
        return name


@dataclass(frozen=True)
class OnnxHalves:
    """An ONNX network in two halves.

    Attributes:
        first, second: sessions of onnxruntime; the second of the first is the network.
        sizes: what the network takes, (b, channels, height, width); 0: any.
    """

    first: Any
    second: Any
    classes: tuple[str, ...]
    sizes: tuple[int, int, int, int]
    capabilities: frozenset[Capability] = frozenset({"split"})

    def features(self, batch: Pixels) -> Pixels:
        """Feature maps (b, d, h, w).

        Raises:
            ModelError: the pictures have another size than the network takes.
        """
        if any(size not in {0, found} for size, found in zip(self.sizes[1:], batch.shape[1:], strict=True)):
            taken = " x ".join(str(size or "any") for size in self.sizes[1:])
            found = " x ".join(map(str, batch.shape[1:]))
            raise ModelError(f"the network takes pictures of {taken}, and `data.images` makes them {found}")
        return self._run(self.first, batch)

    def head(self, maps: Pixels) -> Pixels:
        """Logits (b, C)."""
        return self._run(self.second, maps)

    def _run(self, session: Any, given: Pixels) -> Pixels:
        """The one output for the one input; in calls of one size where the network takes no other."""
        name = session.get_inputs()[0].name
        given = np.ascontiguousarray(given, dtype=np.float32)
        size = self.sizes[0] or max(len(given), 1)
        answers = []
        for start in range(0, len(given), size):
            block = given[start : start + size]
            short = (self.sizes[0] or len(block)) - len(block)
            padded = np.concatenate([block, np.zeros((short, *block.shape[1:]), dtype=np.float32)])
            answers.append(session.run(None, {name: padded})[0][: len(block)])
        return np.concatenate(answers)


@dataclass(frozen=True)
class _Given:
    name: str
    sizes: tuple[int, int, int, int]


def _parsed(path: str, data: bytes) -> "ModelProto":
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # the file is foreign: whatever its reader raises is a fault of the file
        raise ModelError(f"model.path: {path} is no ONNX file, or damaged ({type(error).__name__})") from error
    if not model.graph.node:
        raise ModelError(f"model.path: {path} holds no graph; export the network as ONNX again")
    return model


def _refuse_outside(path: str, model: "ModelProto") -> None:
    """Refuses weights in other files, and operators that ONNX does not have and the file does not define."""
    from onnx import TensorProto

    own = {(function.domain, function.name) for function in model.functions}
    nodes = [node for top in (model.graph, *model.functions) for node in _nodes(top)]
    for node in nodes:
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            raise ModelError(
                f"model.path: {path} uses {node.domain}.{node.op_type}, an operator from outside ONNX, which needs a "
                "library of its own; export it with the operators of ONNX alone"
            )
    for tensor in _tensors(model, nodes):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelError(
                f"model.path: {path} keeps {tensor.name or 'weights'} in another file, which its digest does not "
                "cover; save it as one file"
            )


def _nodes(top: Any) -> "Iterator[NodeProto]":
    """All nodes of a graph or a function, with those of the graphs inside them."""
    for node in top.node:
        yield node
        for graph in _inner(node):
            yield from _nodes(graph)


def _inner(node: "NodeProto") -> list[Any]:
    """The graphs that a node carries, as a branch or a loop does."""
    return [g for a in node.attribute for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]


def _tensors(model: "ModelProto", nodes: "list[NodeProto]") -> Iterator[Any]:
    """All tensors that a file holds."""
    graphs = [model.graph, *(graph for node in nodes for graph in _inner(node))]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    attributes = [a for node in nodes for a in node.attribute]
    attributes += [a for function in model.functions for a in function.attribute_proto]
    for a in attributes:
        yield from (a.t, *a.tensors)
        for sparse in (a.sparse_tensor, *a.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def _given(path: str, model: "ModelProto") -> _Given:
    """The one input, and the sizes that it must have."""
    from onnx import TensorProto

    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in held]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise ModelError(f"model.path: {path} has {len(inputs)} inputs ({names}); export it with the pictures alone")
    kind = inputs[0].type.tensor_type
    sizes = tuple(size.dim_value for size in kind.shape.dim)
    if kind.elem_type != TensorProto.FLOAT or len(sizes) != 4:
        name = TensorProto.DataType.Name(kind.elem_type).lower()
        raise ModelError(
            f"model.path: {path} takes {name} of {len(sizes)} dimensions; float of (pictures, channels, height, width) "
            "is needed"
        )
    return _Given(inputs[0].name, (sizes[0], sizes[1], sizes[2], sizes[3]))


def _halves(model: "ModelProto", given: str, cut: str, logits: str) -> "tuple[ModelProto, ModelProto]":
    """The network up to the tensor `cut`, and from it to the tensor `logits`.

    Raises:
        ModelError: there are no such logits, the head reads more than the cut, or nothing of it.
    """
    made = _made(model)
    _refuse_unknown(model, "logits", logits)
    first, read_first = _behind(model, made, cut, given)
    counted = _counting(model, given, cut)
    second, read_second = _behind(counted, made, logits, cut)
    if given not in read_first:
        raise ModelError(f"model.cut: {cut!r} does not depend on the pictures; name the tensor of feature maps")
    if cut not in read_second:
        raise ModelError(f"model.cut: {logits!r} does not depend on {cut!r}; name a tensor on the way to the logits")
    if given in read_second:
        raise ModelError(
            f"model.cut: what comes behind {cut!r} reads more than it, as in a network with a shortcut around it; "
            "name the tensor in which all paths meet"
        )
    return _part(model, first, given, cut), _part(counted, second, cut, logits)


def _made(model: "ModelProto") -> dict[str, int]:
    """The position of the node that makes each tensor."""
    return {name: i for i, node in enumerate(model.graph.node) for name in node.output if name}


def _refuse_unknown(model: "ModelProto", key: str, name: str) -> None:
    made = _made(model)
    if name not in made:
        ends = dict.fromkeys([*(output.name for output in model.graph.output), *list(made)[-12:]])
        raise ModelError(f"model.{key}: there is no tensor {name!r}; there are {', '.join(ends)}")


def _counting(model: "ModelProto", given: str, cut: str) -> "ModelProto":
    """The same network, but what asks the pictures for nothing but their number asks the feature maps for it."""
    from onnx import ModelProto

    copy = ModelProto()
    copy.CopyFrom(model)
    zeros = _zeros(copy)
    for node in copy.graph.node:
        if node.op_type != "Shape" or list(node.input) != [given] or node.attribute:
            continue
        users = [user for user in copy.graph.node if node.output[0] in user.input]
        if all(user.op_type == "Gather" and user.input[1] in zeros for user in users):
            node.input[0] = cut
    return copy


def _zeros(model: "ModelProto") -> set[str]:
    """The names of the constants that are one 0."""
    from onnx import numpy_helper

    held = {tensor.name: tensor for tensor in model.graph.initializer}
    held |= {
        node.output[0]: a.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for a in node.attribute
        if a.HasField("t")
    }
    return {
        name for name, tensor in held.items() if list(tensor.dims) in ([], [1]) and not numpy_helper.to_array(tensor)
    }


def _behind(model: "ModelProto", made: dict[str, int], end: str, start: str) -> tuple[list[int], set[str]]:
    """The positions of the nodes that `end` needs when `start` is given, and all names that these read."""
    needed: set[int] = set()
    read: set[str] = set()
    todo = [end]
    while todo:
        name = todo.pop()
        if name == start or name not in made or made[name] in needed:
            continue
        needed.add(made[name])
        node = model.graph.node[made[name]]
        names = {*node.input, *(n for graph in _inner(node) for inside in _nodes(graph) for n in inside.input)}
        names |= {output.name for graph in _inner(node) for output in graph.output}
        read |= names
        todo.extend(names)
    return sorted(needed), read


def _part(model: "ModelProto", nodes: list[int], start: str, end: str) -> "ModelProto":
    """A network of these nodes with one input and one output."""
    from onnx import TensorProto, helper

    chosen = [model.graph.node[i] for i in nodes]
    names = {name for node in chosen for inside in (node, *(n for g in _inner(node) for n in _nodes(g)))
             for name in inside.input}  # fmt: skip
    graph = helper.make_graph(
        chosen,
        "half",
        [helper.make_tensor_value_info(start, TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(end, TensorProto.FLOAT, None)],
        [tensor for tensor in model.graph.initializer if tensor.name in names],
        sparse_initializer=[s for s in model.graph.sparse_initializer if s.values.name in names],
    )
    return helper.make_model(
        graph, ir_version=model.ir_version, opset_imports=model.opset_import, functions=model.functions
    )


def _session(path: str, half: "ModelProto") -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # results and cost must not depend on the machine
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(half.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the file is foreign
        said = str(error).strip().splitlines()[-1:] or [""]
        raise ModelError(f"model.path: {path} cannot be computed by onnxruntime: {said[0][:300]}") from error


def _tried(halves: OnnxHalves, path: str, cut: str) -> None:
    """Asks the network once, where the file says what pictures it takes.

    Raises:
        ModelError: the cut holds no feature maps, or there is not one logit for each class.
    """
    if 0 in halves.sizes[1:]:
        return
    try:
        maps = halves.features(np.zeros((1, *halves.sizes[1:]), dtype=np.float32))
        logits = halves.head(maps) if maps.ndim == 4 else maps
    except Exception as error:  # the file is foreign
        raise ModelError(f"model.path: {path} cannot be computed by onnxruntime: {type(error).__name__}") from error
    if maps.ndim != 4:
        raise ModelError(
            f"model.cut: {cut!r} has the shape {maps.shape}; feature maps (pictures, channels, height, width) are "
            "needed, so name a tensor before the pooling"
        )
    if logits.shape != (1, len(halves.classes)):
        raise ModelError(
            f"model.classes: {path} answers one picture with shape {logits.shape}; there are {len(halves.classes)} "
            "classes, and each needs one logit"
        )
