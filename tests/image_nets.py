"""Networks as people have them, in our own words: ResNet-50, VGG-16 and small vision transformers, random weights."""

import torch
from torch import nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """Three convolutions with a shortcut around them (He et al. 2015)."""

    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu, self.downsample = nn.ReLU(), None
        if stride != 1 or before != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(before, 4 * width, 1, stride, bias=False),
                                            nn.BatchNorm2d(4 * width))  # fmt: skip

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """Stages of 3, 4, 6 and 3 blocks; 2,048 numbers in each of the last cells."""

    def __init__(self, classes=1000):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        before = 64
        for i, count in enumerate((3, 4, 6, 3)):
            blocks = []
            for j in range(count):
                blocks.append(Bottleneck(before, 64 << i, 2 if i and not j else 1))
                before = 256 << i
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(2048, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VGG16(nn.Module):
    """Thirteen convolutions, then three layers on the cells laid end to end (Simonyan and Zisserman 2014)."""

    def __init__(self, classes=1000, cells=9, hidden=512):
        super().__init__()
        layers, before = [], 3
        for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if width:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(512 * cells, hidden), nn.ReLU(), nn.Dropout(),
                                        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(),
                                        nn.Linear(hidden, classes))  # fmt: skip

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class Attention(nn.Module):
    """A block of a transformer: one head of attention, then two layers, each with a shortcut."""

    def __init__(self, d):
        super().__init__()
        self.before, self.after, self.three, self.out = (
            nn.LayerNorm(d),
            nn.LayerNorm(d),
            nn.Linear(d, 3 * d),
            nn.Linear(d, d),
        )
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        q, k, v = self.three(self.before(x)).chunk(3, dim=-1)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v))
        return x + self.mlp(self.after(x))


class Tokens(nn.Module):
    """A vision transformer over 16 patches.

    `maps` are the tokens as cells. `token`: the class token among them is all that the head reads; `beside`: the class
    token is not among them; `mean`: there is none, and the head takes the mean of all tokens and normalises it.
    """

    def __init__(self, reads, d=12, classes=5, blocks=2):
        super().__init__()
        self.reads = reads
        self.patch = nn.Conv2d(3, d, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, d)), nn.Parameter(torch.randn(1, 17, d))
        self.blocks = nn.Sequential(*(Attention(d) for _ in range(blocks)))
        self.maps, self.norm, self.fc = nn.Identity(), nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, x):
        count = x.shape[0]
        x = self.patch(x).flatten(2).transpose(1, 2)
        if self.reads != "mean":
            x = torch.cat([self.token.expand(count, -1, -1), x], dim=1) + self.place
        x = self.blocks(x)
        if self.reads == "mean":
            cells = self.maps(x.transpose(1, 2).reshape(count, -1, 4, 4))
            return self.fc(self.norm(cells.flatten(2).mean(2)))
        if self.reads == "token":
            cells = self.maps(x.transpose(1, 2).unsqueeze(2))
            return self.fc(self.norm(cells[:, :, 0, 0]))
        cells = self.maps(x[:, 1:].transpose(1, 2).reshape(count, -1, 4, 4))
        return self.fc(self.norm(x[:, 0] + 0 * cells.mean()))
