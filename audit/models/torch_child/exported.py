"""Exported programs as data: the graph in their JSON, computed operator by operator with `aten` alone.

The format is that of `torch.export.save` from torch 2.8 on, schema 8.
"""

import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from audit.models.torch_child.archive import RefusedError, entries

if TYPE_CHECKING:
    from torch import Tensor

MAJOR = 8
TARGET = re.compile(r"torch\.ops\.aten\.([a-z_]\w*)\.([a-z_]\w*)", re.IGNORECASE)
PASSED_OVER = "torch.ops.aten._assert_tensor_metadata.default"
"""Says which type of number a tensor had when the program was exported, which float64 has not."""

ON_SIZES: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
}
DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
          12: "bool", 13: "bfloat16"}  # fmt: skip
PLAIN = frozenset({"as_int", "as_ints", "as_float", "as_floats", "as_string", "as_bool", "as_bools"})
NAMED = frozenset({"as_tensor", "as_optional_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"})
LISTED = frozenset({"as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_bools"})
FLOAT32, FLOAT64 = 7, 8
STRIDED = 7


@dataclass(frozen=True)
class Exported:
    """An exported program.

    Attributes:
        graph: nodes, inputs and outputs, as they stand in the file.
        weights: parameters, buffers and constants by their name in the graph.
        wide: float32 is computed as float64.
    """

    graph: dict[str, Any]
    ranges: dict[str, Any]
    weights: "dict[str, Tensor]"
    given: str
    answer: str
    wide: bool = False

    def __call__(self, x: "Tensor") -> "Tensor":
        """What the graph makes of inputs (n, m)."""
        values: dict[str, Any] = {**self._held, self.given: x}
        for call, node in self._calls:
            positional = [self._value(a["arg"], values) for a in node["inputs"] if a.get("kind") != 2]
            named = {a["name"]: self._value(a["arg"], values) for a in node["inputs"] if a.get("kind") == 2}
            _bind(node["outputs"], call(*positional, **named), values)
        answer: Tensor = values[self.answer]
        return answer

    @property
    def sizes(self) -> list[Any]:
        """The sizes of the input when it was exported: whole numbers, or symbols."""
        return list(self.graph["tensor_values"][self.given]["sizes"])

    def rows(self) -> tuple[int, int]:
        """The fewest and the most rows of a call; 0: no limit."""
        first = self.sizes[0]
        if "as_int" in first:
            return first["as_int"], first["as_int"]
        symbol = re.search(r"\bs\d+\b", first["as_expr"]["expr_str"])
        limits = self.ranges.get(symbol.group() if symbol else "", {})
        most = limits.get("max_val")
        return int(limits.get("min_val") or 1), int(most) if most and most < 2**31 else 0

    @cached_property
    def _held(self) -> "dict[str, Tensor]":
        if not self.wide:
            return self.weights
        return {name: w.double() if w.is_floating_point() else w for name, w in self.weights.items()}

    @cached_property
    def _calls(self) -> list[tuple[Callable[..., Any], dict[str, Any]]]:
        return [(_operator(n["target"]), n) for n in self.graph["nodes"] if n["target"] != PASSED_OVER]

    def _value(self, argument: dict[str, Any], values: dict[str, Any]) -> Any:
        """What an argument of an operator stands for."""
        ((kind, content),) = argument.items()
        if kind in PLAIN:
            return content
        if kind in NAMED:
            return _named(content, values)
        if kind in LISTED:
            return [_named(item, values) for item in content]
        if kind == "as_scalar_type":
            return _dtype(FLOAT64 if self.wide and content == FLOAT32 else content)
        if kind in {"as_none", "as_device", "as_layout", "as_memory_format"}:
            return _constant(kind, content)
        raise RefusedError(f"gives an operator {kind.removeprefix('as_')!r}, which is not read; save it as TorchScript")


def read(data: bytes) -> "Callable[[], Exported]":
    """A function that makes the program with torch, once all that needs no torch has been looked at.

    Raises:
        RefusedError: the file is of another format, or holds what is not read.
    """
    found = entries(data)
    if "models/model.json" not in found:
        raise RefusedError(
            "holds no exported program of torch 2.8 or later; load it with your torch and write it again "
            "with `torch.export.save` of a newer one, or save the network as TorchScript"
        )
    try:
        program = json.loads(found["models/model.json"])
        configs = {
            folder: json.loads(found[f"data/{folder}/model_{folder}_config.json"])["config"]
            for folder in ("weights", "constants")
        }
        if program["schema_version"]["major"] != MAJOR:
            raise RefusedError(f"has schema {program['schema_version']['major']}, and {MAJOR} is read")
        _refuse_more_than_a_graph(program, configs)
        given, answer, sources = _signature(program["graph_module"]["signature"])
        for node in program["graph_module"]["graph"]["nodes"]:
            _refuse_operator(node["target"])
        payloads = {name: _payload(found, configs, key) for name, key in sources.items()}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise RefusedError(f"is damaged ({type(error).__name__}: {error}); save it again") from error

    def make() -> Exported:
        weights = {name: _tensor(*payload) for name, payload in payloads.items()}
        graph, ranges = program["graph_module"]["graph"], program.get("range_constraints", {})
        return Exported(graph, ranges, weights, given, answer)

    return make


def _refuse_more_than_a_graph(program: dict[str, Any], configs: dict[str, Any]) -> None:
    for folder, config in configs.items():
        for name, meta in config.items():
            if meta["use_pickle"]:
                raise RefusedError(
                    f"holds {name} of its {folder} as a pickle, which can run any code when it is read, so it was not "
                    "opened; save the network as TorchScript, or its weights with safetensors"
                )
    if program["graph_module"]["graph"].get("custom_obj_values"):
        raise RefusedError("holds custom objects; save the network without them")


def _signature(signature: dict[str, Any]) -> tuple[str, str, dict[str, tuple[str, str]]]:
    """The names of input and output, and by name the folder and the key of every other input."""
    given: list[str] = []
    sources: dict[str, tuple[str, str]] = {}
    for spec in signature["input_specs"]:
        ((kind, content),) = spec.items()
        match kind:
            case "user_input":
                given.append(content["arg"]["as_tensor"]["name"])
            case "parameter":
                sources[content["arg"]["name"]] = ("weights", content["parameter_name"])
            case "buffer":
                folder = "weights" if content["persistent"] else "constants"
                sources[content["arg"]["name"]] = (folder, content["buffer_name"])
            case "tensor_constant":
                sources[content["arg"]["name"]] = ("constants", content["tensor_constant_name"])
            case _:
                raise RefusedError(f"takes a {kind.replace('_', ' ')}, which is not read")
    outputs = signature["output_specs"]
    if any("user_output" not in spec for spec in outputs):
        raise RefusedError("changes its own buffers when it is asked; call `module.eval()` before it is exported")
    if len(given) != 1 or len(outputs) != 1:
        raise RefusedError(
            f"has {len(given)} inputs and {len(outputs)} outputs; export it with one tensor of inputs and one of logits"
        )
    return given[0], outputs[0]["user_output"]["arg"]["as_tensor"]["name"], sources


def _refuse_operator(target: str) -> None:
    if target not in ON_SIZES and not TARGET.fullmatch(target):
        raise RefusedError(f"names {target}, and only operators of torch.ops.aten are computed; export it without that")


def _operator(target: str) -> Callable[..., Any]:
    """The operator of torch with this name; none that names a file."""
    import torch

    if target in ON_SIZES:
        return ON_SIZES[target]
    match = TARGET.fullmatch(target)
    packet = getattr(torch.ops.aten, match.group(1), None) if match else None
    found = getattr(packet, match.group(2), None) if match else None
    if not isinstance(found, torch._ops.OpOverload):  # noqa: SLF001 - the class has no other name
        raise RefusedError(f"names {target}, which this torch ({torch.__version__}) does not have")
    if any(argument.name == "filename" for argument in found._schema.arguments):  # noqa: SLF001 - as above
        raise RefusedError(f"names {target}, which opens a file")
    return found


def _payload(
    found: dict[str, bytes], configs: dict[str, Any], source: tuple[str, str]
) -> tuple[bytes, int, list[int], list[int], int]:
    """Bytes, type, sizes, strides and offset of a tensor in the archive."""
    folder, key = source
    meta = configs[folder][key]
    tensor = meta["tensor_meta"]
    sizes, strides = ([item["as_int"] for item in tensor[name]] for name in ("sizes", "strides"))
    return (
        found[f"data/{folder}/{meta['path_name']}"],
        tensor["dtype"],
        sizes,
        strides,
        tensor["storage_offset"]["as_int"],
    )


def _tensor(data: bytes, dtype: int, sizes: list[int], strides: list[int], offset: int) -> "Tensor":
    import torch

    flat = torch.frombuffer(bytearray(data), dtype=_dtype(dtype)) if data else torch.zeros(sizes, dtype=_dtype(dtype))
    tensor = flat.as_strided(sizes, strides, offset)
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise RefusedError("holds weights that are NaN or infinite; train the model again")
    return tensor


def _dtype(number: int) -> Any:
    import torch

    if number not in DTYPES:
        raise RefusedError(f"holds numbers of type {number}, which are not read; save it with float32 weights")
    return getattr(torch, DTYPES[number])


def _named(item: dict[str, Any], values: dict[str, Any]) -> Any:
    """A tensor or a size by its name, or what stands in its place: a number, or None."""
    if "name" in item:
        return values[item["name"]]
    ((kind, content),) = item.items()
    if kind == "as_tensor":
        return values[content["name"]]
    if kind == "as_none":
        return None
    return values[content] if kind == "as_name" else content


def _constant(kind: str, content: Any) -> Any:
    """A setting of torch; whatever device the file names, here it is the processor."""
    import torch

    if kind == "as_device":
        return torch.device("cpu")
    if kind == "as_memory_format":
        return {1: torch.contiguous_format, 2: torch.channels_last}.get(content, torch.preserve_format)
    if kind == "as_layout" and content != STRIDED:
        raise RefusedError("holds sparse tensors, which are not read; save it with dense ones")
    return torch.strided if kind == "as_layout" else None


def _bind(outputs: list[dict[str, Any]], result: Any, values: dict[str, Any]) -> None:
    """Gives the results of an operator their names."""
    several = len(outputs) > 1
    for output, value in zip(outputs, result if several else [result], strict=False):
        ((kind, content),) = output.items()
        if kind == "as_tensor":
            values[content["name"]] = value
        elif kind == "as_tensors":
            values.update({item["name"]: v for item, v in zip(content, value, strict=True)})
        elif kind != "as_none":
            values[content["as_name"]] = value
