"""Checkpoints of facebookresearch/moco-v3 and weights of torchvision, saved by PyTorch: what test/train/exchange.test.ts imports.

moco_v3.pth.tar: main_moco.py's dict of a ViT of width 16, one block, two heads, patches of 8, with its names. vit.pth:
torchvision's VisionTransformer in bfloat16, with its classifier. resnet.pth: ResNet-10 of width 4 in half precision, under
`module.`, as DataParallel leaves it. And their features of four images.
Run with Debian's python3-torch and python3-torchvision:  python3 test/golden/checkpoint_v3.py
"""
import os
import torch, torch.nn as nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vision_transformer import VisionTransformer
import nets, vit_nets

WIDTH, HIDDEN, DIM, N, SIDE = 16, 12, 8, 4, 32
torch.manual_seed(0)
here = os.path.dirname(os.path.abspath(__file__))


def mlp(layers, input_dim, mlp_dim, output_dim):
    """_build_mlp of moco-v3's builder.py."""
    out = []
    for i in range(layers):
        a, b = input_dim if i == 0 else mlp_dim, output_dim if i == layers - 1 else mlp_dim
        out.append(nn.Linear(a, b, bias=False))
        out += [nn.BatchNorm1d(b), nn.ReLU(inplace=True)] if i < layers - 1 else [nn.BatchNorm1d(b, affine=False)]
    return nn.Sequential(*out)


class MoCo(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("base_encoder", "momentum_encoder"):
            net = vit_nets.Vit(SIDE, 8, WIDTH, 1, 2)
            nn.init.normal_(net.cls_token, std=0.1)
            net.head = mlp(3, WIDTH, HIDDEN, DIM)
            setattr(self, name, net)
        self.predictor = mlp(2, DIM, HIDDEN, DIM)


def save(name, value):
    torch.save(value, os.path.join(here, name))


x = nets.images(N, SIDE, 0.45, 0.25).float()
model = nn.DataParallel(MoCo())
for p in model.module.modules():  # statistics that are not the initial ones
    if isinstance(p, nn.BatchNorm1d):
        p.running_mean.normal_(), p.running_var.uniform_(0.5, 1.5)
base = model.module.base_encoder
features = {}
with torch.no_grad():
    base.eval()
    features["moco_v3"] = base(x)
    features["moco_v3.projection"] = base.head(base(x))
    save("moco_v3.pth.tar", {"epoch": 5, "arch": "vit_small", "state_dict": model.state_dict()})

    vit = VisionTransformer(SIDE, 8, 1, 2, WIDTH, 4 * WIDTH, num_classes=3).eval()
    nn.init.normal_(vit.class_token, std=0.1)
    vit = vit.to(torch.bfloat16)
    save("vit.pth", vit.state_dict())
    vit = vit.float()
    vit.heads = nn.Identity()
    features["vit"] = vit(x)

    resnet = nets.shrink(ResNet(BasicBlock, [1, 1, 1, 1]), 4, cifar=False).train()
    resnet(x)
    resnet = resnet.half()
    save("resnet.pth", {"module." + n: v for n, v in resnet.state_dict().items()})
    features["resnet"] = resnet.float().eval()(x)
nets.save("checkpoint_v3.safetensors", features)
