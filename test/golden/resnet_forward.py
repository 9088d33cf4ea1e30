"""ResNet-18/34/50 forward by torchvision in float64: the oracle of test/resnet.test.ts.

Features of a batch in training mode, the running statistics after it, and features in evaluation mode with them.
Run with Debian's python3-torch and python3-torchvision:  python3 test/golden/resnet_forward.py
"""
import torch
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
import nets

# At 32 pixels the last batch norm of the ImageNet stem sees 8 values a channel: there PyTorch's own float32 is 5e-4 off.
WIDTH, N, SIDE = 4, 8, 64
MEAN, STD = 0.45, 0.25
torch.set_default_dtype(torch.float64)

out = {}
x = nets.images(N, SIDE, MEAN, STD)
for arch, block, layers in (
    ("resnet18", BasicBlock, [2, 2, 2, 2]),
    ("resnet34", BasicBlock, [3, 4, 6, 3]),
    ("resnet50", Bottleneck, [3, 4, 6, 3]),
):
    for stem in ("cifar", "imagenet"):
        net = nets.shrink(ResNet(block, layers), WIDTH, cifar=stem == "cifar")
        nets.fill(net, 0.0)
        key = f"{arch}.{stem}."
        with torch.no_grad():
            out[key + "train"] = net.train()(x)
            out[key + "eval"] = net.eval()(x)
        out.update({key + n: v for n, v in net.state_dict().items() if "running" in n})
nets.save("resnet_forward.safetensors", out)
