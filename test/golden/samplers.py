"""Draws of torchvision's samplers: what test/sampler.test.ts compares ours with (Kolmogorov and Smirnov).

Run with Debian's python3-torch and python3-torchvision:  python3 test/golden/samplers.py
"""
import torch, torchvision.transforms as T
import nets

DRAWS, H, W = 1500, 40, 32
torch.manual_seed(0)
image = torch.zeros(3, H, W)
out = {}
for name, scale in (("wide", (0.08, 1.0)), ("narrow", (0.5, 1.0))):
    out["crop-" + name] = torch.tensor([T.RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(DRAWS)])
jitter = T.ColorJitter(0.4, 0.4, 0.4, 0.1)
rows = []
for _ in range(DRAWS):
    order, b, c, s, h = T.ColorJitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    rows.append([b, c, s, h, *order.tolist()])
out["jitter"] = torch.tensor(rows)
nets.save("samplers.safetensors", {k: v.float() for k, v in out.items()})
