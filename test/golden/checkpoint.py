"""Checkpoints as facebookresearch/moco saves them, by PyTorch itself: what test/exchange.test.ts imports.

ResNet-10 (a ResNet of torchvision with one block a stage) of width 4, ImageNet stem, MLP head; main_moco.py's dict, with
the optimiser's state. moco_new.pth.tar: the zip of PyTorch 1.6 and later; moco_old.pth.tar: the format before. And
features of the query encoder. Run with Debian's python3-torch and python3-torchvision:  python3 test/golden/checkpoint.py
"""
import json, os
import torch, torch.nn as nn
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet
import nets

WIDTH, DIM, K, N, SIDE = 4, 8, 24, 4, 32
torch.manual_seed(0)
here = os.path.dirname(os.path.abspath(__file__))


class MoCo(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("encoder_q", "encoder_k"):
            net = nets.shrink(ResNet(BasicBlock, [1, 1, 1, 1]), WIDTH, cifar=False)
            features = WIDTH * 8
            net.fc = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, DIM))
            setattr(self, name, net)
        self.register_buffer("queue", nn.functional.normalize(torch.randn(DIM, K), dim=0))
        self.register_buffer("queue_ptr", torch.tensor([7]))


model = nn.DataParallel(MoCo())
q = model.module.encoder_q
optimiser = torch.optim.SGD(model.parameters(), 0.03, momentum=0.9)
x = nets.images(N, SIDE, 0.45, 0.25).float()
q(x).square().sum().backward()  # running statistics and momentum buffers
optimiser.step()
checkpoint = {"epoch": 3, "arch": "resnet10", "state_dict": model.state_dict(), "optimizer": optimiser.state_dict()}
torch.save(checkpoint, os.path.join(here, "moco_new.pth.tar"))
torch.save(checkpoint, os.path.join(here, "moco_old.pth.tar"), _use_new_zipfile_serialization=False)
head, q.fc = q.fc, nn.Identity()
with torch.no_grad():
    features = q.eval()(x)
nets.save("checkpoint.safetensors", {"features": features, "queue": model.module.queue})

# What strict=True expects: the names and shapes of torchvision's own models, without fc.
names = {arch: {n: list(v.shape) for n, v in getattr(torchvision.models, arch)().state_dict().items() if not n.startswith("fc.")}
         for arch in ("resnet18", "resnet50")}
with open(os.path.join(here, "torchvision_names.json"), "w") as f:
    json.dump(names, f)
