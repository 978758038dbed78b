"""ONNX networks that look at pictures: cut in two at a named tensor; torch computes the same weights as the oracle."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.core.model import Allow, ImageModel, Source
from audit.models.image_onnx import ImageOnnxAdapter
from audit.testing import check_image_adapter

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
LAST = RNG.normal(size=(2, 4)).astype(np.float32)
BIAS = np.array([0.5, -0.25], dtype=np.float32)
CLASSES = ["cat", "dog"]


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def nodes():
    """Convolution, ReLU (`maps`), mean over cells, one layer (`logits`)."""
    return [
        helper.make_node("Conv", ["x", "kernel"], ["raw"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["raw"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last", "bias"], ["logits"], transB=1),
    ]


def network(made=None, outputs=("logits", "maps"), batch="n", size=8, weights=None, domains=(), functions=()):
    weights = {"kernel": KERNEL, "last": LAST, "bias": BIAS} if weights is None else weights
    graph = helper.make_graph(
        nodes() if made is None else made,
        "pictures",
        [value("x", [batch, 3, size, size])],
        [value(name, None) for name in outputs],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions)


def source(path):
    return Source(str(path), str(path.parent), Allow(), pd.DataFrame(), ())


def load(folder, model, **settings):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "m.onnx").write_bytes(data)
    said = {"path": "m.onnx", "cut": "maps", "classes": CLASSES} | settings
    return ImageOnnxAdapter.model_validate_json(json.dumps(said)).load(source(folder / "m.onnx"))


def pictures(n=5, size=8):
    return np.random.default_rng(1).normal(size=(n, 3, size, size)).astype(np.float32)


def expected(x):
    maps = functional.conv2d(torch.from_numpy(x), torch.from_numpy(KERNEL), padding=1).relu()
    return maps.numpy(), (maps.mean((2, 3)) @ torch.from_numpy(LAST).T + torch.from_numpy(BIAS)).numpy()


@pytest.mark.parametrize("outputs", [("logits", "maps"), ("maps", "logits"), ("logits",)])
@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_halves_are_the_network_whatever_its_batch(tmp_path, outputs, batch):
    model = load(tmp_path, network(outputs=outputs, batch=batch))
    assert isinstance(model, ImageModel)
    assert model.classes == ("cat", "dog")
    maps, logits = expected(pictures())
    np.testing.assert_allclose(model.features(pictures()), maps, atol=1e-5)
    np.testing.assert_allclose(model.head(maps), logits, atol=1e-5)


def test_the_contract_of_adapters_holds(tmp_path):
    (tmp_path / "m.onnx").write_bytes(network(size="s").SerializeToString())
    adapter = ImageOnnxAdapter(path="m.onnx", cut="maps", classes=tuple(CLASSES))
    check_image_adapter(adapter, source(tmp_path / "m.onnx"), pictures(4, 10))


def test_the_head_may_read_sizes_of_the_maps_and_weights_of_the_first_half(tmp_path):
    """A mean written out as sum over count, and the bias added in both halves."""
    made = [
        *nodes()[:1],
        helper.make_node("Add", ["raw", "shift"], ["maps"]),
        helper.make_node("ReduceSum", ["maps", "axes"], ["summed"], keepdims=0),
        helper.make_node("Shape", ["maps"], ["shape"]),
        helper.make_node("Gather", ["shape", "two"], ["side"]),
        helper.make_node("Cast", ["side"], ["length"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["summed", "length"], ["once"]),
        helper.make_node("Div", ["once", "length"], ["mean"]),
        helper.make_node("Gemm", ["mean", "last", "bias"], ["plain"], transB=1),
        helper.make_node("Add", ["plain", "shift"], ["logits"]),
    ]
    weights = {"kernel": KERNEL, "last": LAST, "bias": BIAS, "shift": np.float32([2.0]),
               "axes": np.array([2, 3]), "two": np.array(2)}  # fmt: skip
    model = load(tmp_path, network(made, ("logits",), weights=weights))
    raw = functional.conv2d(torch.from_numpy(pictures()), torch.from_numpy(KERNEL), padding=1) + 2
    answer = raw.mean((2, 3)) @ torch.from_numpy(LAST).T + torch.from_numpy(BIAS) + 2
    np.testing.assert_allclose(model.head(model.features(pictures())), answer.numpy(), atol=1e-4)


def asking(index):
    """The number of pictures is asked of the pictures themselves, as exporters of torch write `x.size(0)`."""
    made = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "which"], ["count"]),
        *nodes()[:3],
        helper.make_node("Concat", ["count", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["pooled", "sizes"], ["flat"]),
        *nodes()[4:],
    ]
    weights = {"kernel": KERNEL, "last": LAST, "bias": BIAS, "which": np.array([index]), "rest": np.array([4])}
    return network(made, weights=weights)


def test_the_number_of_pictures_may_be_asked_of_the_pictures(tmp_path):
    model = load(tmp_path, asking(0))
    maps, logits = expected(pictures())
    np.testing.assert_allclose(model.features(pictures()), maps, atol=1e-5)
    np.testing.assert_allclose(model.head(maps[:3]), logits[:3], atol=1e-5)
    with pytest.raises(ModelError, match="reads more than it"):
        load(tmp_path, asking(1))


def test_a_branch_that_captures_the_pictures_counts_as_reading_them(tmp_path):
    branch = helper.make_graph([helper.make_node("ReduceMean", ["x"], ["b"], axes=[2, 3], keepdims=1)], "b",
                               [], [value("b", None)])  # fmt: skip
    other = helper.make_graph([helper.make_node("Identity", ["pooled"], ["o"])], "o", [], [value("o", None)])
    made = [
        helper.make_node("Constant", [], ["true"], value=numpy_helper.from_array(np.array(False))),
        *nodes()[:3],
        helper.make_node("If", ["true"], ["chosen"], then_branch=branch, else_branch=other),
        helper.make_node("Flatten", ["chosen"], ["flat"]),
        *nodes()[4:],
    ]
    with pytest.raises(ModelError, match="reads more than it, as in a network with a shortcut"):
        load(tmp_path, network(made, ("logits",)))


def test_functions_of_the_file_are_computed(tmp_path):
    double = helper.make_function(
        "own", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    made = [*nodes()[:1], helper.make_node("Double", ["raw"], ["maps"], domain="own"), *nodes()[2:]]
    model = load(tmp_path, network(made, domains=["own"], functions=[double]))
    raw = functional.conv2d(torch.from_numpy(pictures()), torch.from_numpy(KERNEL), padding=1)
    np.testing.assert_allclose(model.features(pictures()), 2 * raw.numpy(), atol=1e-4)


def external(model):
    (tensor,) = [t for t in model.graph.initializer if t.name == "last"]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return model


def hidden_external():
    """The weights stand in a constant of a function, not among those of the graph."""
    tensor = numpy_helper.from_array(KERNEL, "far")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    made = helper.make_node("Constant", [], ["b"], value=tensor)
    function = helper.make_function("own", "Far", [], ["b"], [made], [helper.make_opsetid("", 17)])
    return network(domains=["own"], functions=[function])


def two_inputs():
    model = network()
    model.graph.input.append(value("mask", [1]))
    return model


def doubles():
    model = network()
    model.graph.input[0].CopyFrom(value("x", ["n", 3, 8, 8], TensorProto.DOUBLE))
    return model


SHORTCUT = [*nodes()[:3], helper.make_node("GlobalAveragePool", ["raw"], ["also"]),
            helper.make_node("Add", ["pooled", "also"], ["both"]), helper.make_node("Flatten", ["both"], ["flat"]),
            *nodes()[4:]]  # fmt: skip
SOFT = [*nodes()[:4], helper.make_node("Gemm", ["flat", "last", "bias"], ["z"], transB=1),
        helper.make_node("Softmax", ["z"], ["logits"])]  # fmt: skip
FOREIGN = [*nodes()[:1], helper.make_node("FusedThing", ["raw"], ["maps"], domain="com.example"), *nodes()[2:]]
ASIDE = [*nodes(), helper.make_node("Identity", ["raw"], ["aside"])]
CONSTANT = [*nodes(), helper.make_node("Identity", ["kernel"], ["steady"])]


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        (network, {"sha256": sha256(b"other")}, "but the spec pins"),
        (network, {"classes": ["a", "a"]}, "two classes share a name"),
        (network, {"classes": ["a", "b", "c"]}, r"answers one picture with shape \(1, 2\); there are 3 classes"),
        (network, {"cut": "map"}, "there is no tensor 'map'; there are logits, maps, raw"),
        (network, {"cut": "flat", "logits": "logits"}, r"'flat' has the shape \(1, 4\); feature maps"),
        (lambda: network(ASIDE, ("logits", "maps", "aside")), {}, r"has 2 outputs \(logits, aside\); name the tensor"),
        (lambda: network(ASIDE), {"cut": "aside", "logits": "logits"}, "'logits' does not depend on 'aside'"),
        (lambda: network(CONSTANT), {"cut": "steady", "logits": "logits"}, "does not depend on the pictures"),
        (lambda: network(SHORTCUT), {}, "what comes behind 'maps' reads more than it, as in a network with a shortcut"),
        (lambda: network(SOFT), {}, "comes out of a Softmax, so it holds probabilities; name .*: `logits: z`"),
        (lambda: network(FOREIGN, domains=["com.example"]), {}, "com.example.FusedThing, an operator from outside"),
        (lambda: external(network()), {}, "keeps last in another file"),
        (hidden_external, {}, "keeps far in another file"),
        (two_inputs, {}, r"has 2 inputs \(x, mask\)"),
        (doubles, {}, "takes double of 4 dimensions"),
        (lambda: b"no model at all", {}, "is no ONNX file, or damaged"),
        (lambda: b"", {}, "holds no graph"),
        (lambda: network([helper.make_node("Nonsense", ["x"], ["maps"]), *nodes()[2:]]), {}, "cannot be computed by"),
    ],
)
def test_what_cannot_be_audited_is_refused_with_the_reason(tmp_path, model, settings, said):
    with pytest.raises(ModelError, match=said):
        load(tmp_path, model(), **settings)


def test_nothing_of_another_digest_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "load_model_from_string", lambda data: pytest.fail("the file was opened"))
    with pytest.raises(ModelError, match="the file was not opened"):
        load(tmp_path, network(), sha256=sha256(b"other"))


def test_the_tensor_before_a_softmax_can_be_named(tmp_path):
    model = load(tmp_path, network(SOFT), logits="z")
    np.testing.assert_allclose(model.head(model.features(pictures())), expected(pictures())[1], atol=1e-5)


def test_pictures_of_another_size_are_refused_by_name(tmp_path):
    model = load(tmp_path, network())
    with pytest.raises(ModelError, match=r"takes pictures of 3 x 8 x 8, and `data.images` makes them 3 x 10 x 10"):
        model.features(pictures(2, 10))
