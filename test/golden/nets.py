"""What the goldens share: small torchvision ResNets, weights and pixels by formulas that formulas.ts repeats."""
import json, math, os, struct
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet


def shrink(net, width, cifar, norm=nn.BatchNorm2d):
    """torchvision fixes the width at 64: every layer of `net` becomes width/64 of it. cifar: 3x3 stem, no max-pool."""
    for name, m in list(net.named_modules()):
        parent = net.get_submodule(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        if isinstance(m, nn.Conv2d):
            size, stride, pad = (3, 1, 1) if cifar and name == "conv1" else (m.kernel_size, m.stride, m.padding)
            cin = 3 if name == "conv1" else m.in_channels * width // 64
            setattr(parent, leaf, nn.Conv2d(cin, m.out_channels * width // 64, size, stride, pad, bias=False))
        elif isinstance(m, nn.BatchNorm2d):
            setattr(parent, leaf, norm(m.num_features * width // 64))
    if cifar:
        net.maxpool = nn.Identity()
    net.fc = nn.Identity()
    return net


def split_batch_norm(splits, base=nn.BatchNorm2d):
    """As in the CIFAR-10 demo of facebookresearch/moco: interleaved splits, running statistics averaged."""

    class SplitBatchNorm(base):
        def forward(self, x):
            if not self.training:
                return super().forward(x)
            n, c, *rest = x.shape
            mean, var = self.running_mean.repeat(splits), self.running_var.repeat(splits)
            weight, bias = (self.weight.repeat(splits), self.bias.repeat(splits)) if self.affine else (None, None)
            y = F.batch_norm(x.reshape(-1, c * splits, *rest), mean, var, weight, bias, True, self.momentum,
                             self.eps).view(n, c, *rest)
            self.running_mean.data.copy_(mean.view(splits, c).mean(0))
            self.running_var.data.copy_(var.view(splits, c).mean(0))
            return y

    return SplitBatchNorm


ARCHITECTURES = {"resnet10": (BasicBlock, [1, 1, 1, 1]), "resnet18": (BasicBlock, [2, 2, 2, 2]),
                 "resnet50": (Bottleneck, [3, 4, 6, 3])}


def encoder(width, splits, dim, mlp, arch="resnet18", cifar=True):
    """A ResNet with MoCo's head as its fc."""
    block, blocks = ARCHITECTURES[arch]
    net = shrink(ResNet(block, blocks), width, cifar, norm=split_batch_norm(splits))
    f = width * 8 * block.expansion
    net.fc = nn.Sequential(nn.Linear(f, f), nn.ReLU(), nn.Linear(f, dim)) if mlp else nn.Linear(f, dim)
    return net


def queue(k, dim):
    """Unit rows f64[K,dim], rounded to float32."""
    values = np.sin(0.9 * np.arange(k * dim) + 0.5).astype(np.float32).astype(np.float64).reshape(k, dim)
    return F.normalize(torch.from_numpy(values), dim=1).float().double()


def fill(net, salt):
    """Parameter t, element i (PyTorch order): scale * sin(0.7 i + 1.3 t + salt), float32."""
    for t, (name, p) in enumerate(sorted(net.named_parameters())):
        i = np.arange(p.numel())
        wave = np.sin(0.7 * i + 1.3 * t + salt)
        if p.dim() > 1:
            v = wave * math.sqrt(2.0 / (p.numel() / p.shape[0]))
        else:
            v = (1 + 0.2 * wave) if name.endswith("weight") else 0.1 * wave
        p.data.copy_(torch.from_numpy(v.astype(np.float32).astype(np.float64)).view(p.shape))


def pixels(n, side):
    """uint8, NHWC, a hash of the index."""
    i = np.arange(n * side * side * 3)
    return ((i * 2654435761 % 2**32) >> 24).astype(np.uint8).reshape(n, side, side, 3)


def normalised(pixels, mean, std):
    """NCHW."""
    return torch.from_numpy(((pixels.astype(np.float64) / 255) - mean) / std).permute(0, 3, 1, 2)


def images(n, side, mean, std):
    return normalised(pixels(n, side), mean, std)


def save(name, tensors):
    """float32 safetensors beside the scripts."""
    header, blobs, at = {}, [], 0
    for key, tensor in tensors.items():
        blob = tensor.detach().numpy().astype("<f4").tobytes()
        header[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    print(name, at, "bytes")
