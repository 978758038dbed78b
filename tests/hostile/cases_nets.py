"""Networks and pictures that mean harm. Torch and ONNX are imported where a file of theirs is made."""
# ruff: noqa: E501 - cases read best as one line each

import io
import json
import pickle
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from cases_models import Runs, bomb, model, numbers
from hostile_case import HARMLESS, Case, Stage, cases, lying, zipped

NET = {"preprocessing": "none", "classes": ["bad", "good"], "architecture": {"kind": "mlp", "hidden": [2]}}
PROGRAM = {"preprocessing": "none", "classes": ["bad", "good"]}
ONNX = {"cut": "maps", "classes": ["a", "b"]}


def tensors(header: Any, body: bytes = b"", size: int | None = None) -> Callable[[Stage], None]:
    """A file of safetensors with a header of one's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = struct.pack("<Q", len(text) if size is None else size) + text + body
    return numbers(model("torch", "net.safetensors", content, **NET))


def one(**changes: Any) -> dict[str, Any]:
    """A header of one tensor."""
    return {"0.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changes}


TENSORS = cases(
    "safetensors",
    {
        "a header of an exbibyte": (tensors(b"{}", size=2**60), "."),
        "a header 100,000 lists deep": (tensors(b"[" * 100_000 + b"]" * 100_000), "."),
        "a tensor beyond the end": (tensors(one(data_offsets=[0, 2**50], shape=[2**20, 2**28])), "."),
        "tensors over one another": (tensors({**one(), "1.weight": one()["0.weight"]}, bytes(16)), "."),
        "a shape that overflows": (tensors(one(shape=[2**33, 2**33]), bytes(16)), "."),
        "a kind of number that is code": (tensors(one(dtype="__import__('os')"), bytes(16)), "."),
        "what audit would have written, but deep": (
            tensors({"__metadata__": {"audit": "[" * 100_000}, **one()}, bytes(16)), "."),
        "pickled weights": (numbers(model("torch", "net.pt", lambda s: pickle.dumps(Runs(s.code)), **NET)), "allow-pickle"),
        "a network of two thousand million units": (
            numbers(model("torch", "net.safetensors", lambda s: struct.pack("<Q", 2) + b"{}",
                          **{**NET, "architecture": {"kind": "mlp", "hidden": [2 * 10**9]}})), "architecture|memory|hidden"),
        "scaling that is a link": (
            lambda s: numbers(model("torch", "net.safetensors", struct.pack("<Q", 2) + b"{}", classes=["bad", "good"],
                                    architecture=NET["architecture"], transformer={"path": "prep.skops"}))(s)
            or s.link("prep.skops", s.outside / "secret.skops"), "leads over a link"),
        "scaling that is a pickle": (
            lambda s: numbers(model("torch", "net.safetensors", struct.pack("<Q", 2) + b"{}", classes=["bad", "good"],
                                    architecture=NET["architecture"], transformer={"path": "prep.skops"}))(s)
            or (s.write("prep.skops", pickle.dumps(Runs(s.code))), None)[1], "no skops file"),
        "scaling that unpacks to gibibytes": (
            lambda s: numbers(model("torch", "net.safetensors", struct.pack("<Q", 2) + b"{}", classes=["bad", "good"],
                                    architecture=NET["architecture"], transformer={"path": "prep.skops"}))(s)
            or (s.write("prep.skops", bomb(s)), None)[1], "prep.skops has .* unpacks"),
    },
)  # fmt: skip


def script(make: Callable[[Any], Any]) -> Callable[[Stage], None]:
    """A TorchScript of a module that a function makes of torch; it is never run here."""

    def content(stage: Stage) -> bytes:
        import warnings

        import torch

        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(torch.jit.script(make(torch)), buffer)  # type: ignore[no-untyped-call]
        return buffer.getvalue()

    return numbers(model("torch", "net.ts", content, **PROGRAM))


def reader(torch: Any) -> Any:
    """Reads a file."""

    class Reader(torch.nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x[:, :2] + torch.from_file("secret", False, 2)

    return Reader()


def glutton(torch: Any) -> Any:
    """Takes all memory."""

    class Glutton(torch.nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x[:, :2] + torch.ones([100000, 100000, 100]).sum()

    return Glutton()


PROGRAMS = cases(
    "programs",
    {
        "TorchScript that is a pickle": (
            numbers(model("torch", "net.ts", lambda s: zipped({"n/constants.pkl": b"", "n/data.pkl": pickle.dumps(Runs(s.code))}),
                          **PROGRAM)), "."),
        "an exported program of pickles": (
            numbers(model("torch", "net.pt2", lambda s: zipped({"n/models/model.json": b"{}", "n/data/weights/w.pt":
                                                                pickle.dumps(Runs(s.code))}), **PROGRAM)), "."),
        "an exported program that unpacks to gibibytes": (
            numbers(model("torch", "net.pt2", lambda s: lying({"n/models/model.json": b"{}", "n/data/x": b""}), **PROGRAM)), "unpacks to"),
        "TorchScript that reads a file": (script(reader), "from_file"),
        "TorchScript that takes all memory": (script(glutton), "."),
    },
)  # fmt: skip


def onnx(edit: Callable[[Any], Any]) -> Callable[[Stage], None]:
    """A small ONNX network, edited."""

    def content(stage: Stage) -> bytes:
        from onnx import TensorProto, helper, numpy_helper

        nodes = [
            helper.make_node("Conv", ["x", "kernel"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "kernel")],
        )
        found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        changed = edit(found)
        return changed if isinstance(changed, bytes) else found.SerializeToString()

    def make(stage: Stage) -> None:
        model("image_onnx", "net.onnx", content, **ONNX)(stage)
        pictures(stage, {"a/1.png": png(8, 8), "b/2.png": png(8, 8)}, kind=None)

    return make


def external(found: Any) -> None:
    """Weights that lie in a secret."""
    from onnx import TensorProto

    tensor = found.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../outside/secret.csv"


def looping(found: Any) -> None:
    """A loop that never ends, before the cut."""
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["y"], ["z"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )  # fmt: skip
    found.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    found.graph.initializer.append(helper.make_tensor("often", TensorProto.INT64, [], [2**62]))
    found.graph.node[0].output[0] = "raw"
    found.graph.node.insert(1, helper.make_node("Loop", ["often", "yes", "raw"], ["maps"], body=body))


def large(found: Any) -> None:
    """A tensor of tebibytes, made on the way."""
    from onnx import TensorProto, helper

    found.graph.initializer.append(helper.make_tensor("size", TensorProto.INT64, [2], [2**20, 2**20]))
    found.graph.node[0].output[0] = "raw"
    found.graph.node.insert(1, helper.make_node("ConstantOfShape", ["size"], ["block"]))
    found.graph.node.insert(2, helper.make_node("ReduceSum", ["block"], ["sum"], keepdims=0))
    found.graph.node.insert(3, helper.make_node("Add", ["raw", "sum"], ["maps"]))


def foreign(found: Any) -> None:
    """An operator of another library."""
    from onnx import helper

    found.opset_import.append(helper.make_opsetid("evil", 1))
    found.graph.node[1].domain, found.graph.node[1].op_type = "evil", "System"


NETS = cases(
    "ONNX",
    {
        "weights in a secret": (onnx(external), "another file"),
        "a tensor of tebibytes": (onnx(large), "cannot be computed|memory|sum"),
        "an operator of another library": (onnx(foreign), "outside ONNX"),
        "noise": (onnx(lambda m: bytes(range(256)) * 40), "no ONNX file"),
        "a text": (onnx(lambda m: b"\n" * 10**6), "no ONNX|no graph"),
        "a loop that never ends": (onnx(looping), "computing|cannot be computed"),
    },
)  # fmt: skip


def png(width: int, height: int, data: bytes | None = None) -> bytes:
    """A grey PNG whose header may promise more than it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height))) if data is None else data
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def pictures(stage: Stage, files: dict[str, bytes], kind: str | None = "image_network", name: str = "pictures") -> None:
    """The good audit turned into one of pictures."""
    import yaml

    if kind is not None:
        stage.spec()
    spec = yaml.safe_load(stage.read("spec.yaml"))
    if kind is not None:
        content = struct.pack("<Q", 2) + b"{}"
        stage.write("net.safetensors", content)
        spec["model"] = {"kind": kind, "path": "net.safetensors", "classes": ["a", "b"]}
    else:
        spec["model"].pop("decision")
    settings: dict[str, Any] = {"resize": [8, 8]}
    if name.endswith(".csv"):
        settings["column"] = "path"
    spec["data"] = {"evaluate": name, "images": settings}
    spec.pop("mutability", None)
    spec.pop("regions", None)
    stage.write("spec.yaml", yaml.safe_dump(spec))
    for file, data in files.items():
        stage.write(file if name.endswith((".csv", ".npz")) else f"{name}/{file}", data)


def shown(
    files: Callable[[Stage], dict[str, bytes]] | dict[str, bytes], name: str = "pictures"
) -> Callable[[Stage], None]:
    """An audit of pictures, of which the model is refused last."""
    return lambda stage: pictures(stage, files(stage) if callable(files) else files, name=name)


def arrays(images: Any, allow: bool = False) -> bytes:
    """An archive of arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=images)
    return buffer.getvalue()


def linked(stage: Stage) -> None:
    """A class of pictures that is a link to a folder of secrets."""
    pictures(stage, {"a/1.png": png(8, 8)})
    (stage.folder / "pictures" / "b").symlink_to(stage.outside)


def secret_picture(stage: Stage) -> None:
    """A picture that is a link."""
    pictures(stage, {"a/1.png": png(8, 8)})
    (stage.folder / "pictures" / "a" / "2.png").symlink_to(stage.outside / "secret.png")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(MARKER) (w) file closefile\nshowpage\n"
ANY = HARMLESS | {2, 3}
PICTURES = cases(
    "pictures",
    {
        "a picture of 10,000 million points": (shown({"a/1.png": png(100_000, 100_000, b"")}), "pixels|no picture"),
        "a program for printers called .png": (shown({"a/1.png": EPS}), "no picture"),
        "a drawing called .png": (shown({"a/1.png": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>"}),
                                  "no picture"),
        "half a picture": (shown({"a/1.png": png(8, 8)[:40]}), "no picture"),
        "a class that is a link to secrets": (linked, "", ANY),
        "a picture that is a link": (secret_picture, "", ANY),
        "a list that leads out": (
            shown({"list.csv": b"path\n../../outside/secret.png\n/etc/passwd\n", "x.png": png(8, 8)}, "list.csv"), "no picture"),
        "an array of objects": (
            shown(lambda s: {"p.npz": arrays(np.array([Runs(s.code)], dtype=object))}, "p.npz"), "allow_pickle|cannot be read"),
        "an array that unpacks to gibibytes": (
            shown({"p.npz": lying({"images.npy": b"", "labels.npy": b"", "more.npy": b""})}, "p.npz"), "unpacks"),
        "an array of numbers that are no pictures": (shown({"p.npz": arrays(np.ones((2, 3)))}, "p.npz"), "uint8"),
    },
)  # fmt: skip
ALL: list[Case] = [*TENSORS, *PROGRAMS, *NETS, *PICTURES]
