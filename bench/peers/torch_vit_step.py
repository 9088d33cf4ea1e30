"""One MoCo v3 step of a ViT in PyTorch: the peer of bench/step.ts. Prints seconds of a step, one a line.

    python3 bench/peers/torch_vit_step.py [--arch vit-tiny] [--patch 4] [--size 32] [--batch 256] [--threads 1] [--steps 2]

Views that are there already (no augmentation); both directions: base encoder, projector, predictor; momentum encoder without
gradient; loss, backward, AdamW, moving average. The blocks are timm's, of PyTorch's own layer norm, linear layers and GELU.
"""
import argparse, copy, os, sys, time
import torch, torch.nn as nn, torch.nn.functional as F

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../test/golden"))
import vit_nets

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="vit-tiny", choices=("vit-tiny", "vit-small", "vit-base"))
for name, default in (("patch", 4), ("size", 32), ("batch", 256), ("threads", 1), ("steps", 2)):
    parser.add_argument("--" + name, type=int, default=default)
a = parser.parse_args()
torch.set_num_threads(a.threads)
WIDTH, DEPTH, HEADS = {"vit-tiny": (192, 12, 3), "vit-small": (384, 12, 12), "vit-base": (768, 12, 12)}[a.arch]
HIDDEN, DIM, M, T = 4096, 256, 0.99, 0.2
vit_nets.Mlp.forward = lambda self, x: self.fc2(F.gelu(self.fc1(x)))


def mlp(sizes, last):
    layers = []
    for i, (a_, b) in enumerate(zip(sizes, sizes[1:])):
        layers += [nn.Linear(a_, b, bias=False)] + ([nn.BatchNorm1d(b), nn.ReLU()] if i < len(sizes) - 2 else [])
    return nn.Sequential(*layers, *([nn.BatchNorm1d(sizes[-1], affine=False)] if last else []))


base = nn.Sequential(vit_nets.Vit(a.size, a.patch, WIDTH, DEPTH, HEADS, freeze=True), mlp((WIDTH, HIDDEN, HIDDEN, DIM), True))
momentum, predictor = copy.deepcopy(base), mlp((DIM, HIDDEN, DIM), True)
trained = [p for p in (*base.parameters(), *predictor.parameters()) if p.requires_grad]
optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1)
views = [torch.randn(a.batch, 3, a.size, a.size) for _ in range(2)]
labels = torch.arange(a.batch)


def step():
    with torch.no_grad():
        for p, own in zip(momentum.parameters(), base.parameters()):
            p.mul_(M).add_(own, alpha=1 - M)
        keys = [F.normalize(momentum(view), dim=1) for view in views]
    loss = 0
    for view, k in zip(views, keys[::-1]):
        q = F.normalize(predictor(base(view)), dim=1)
        loss = loss + 2 * T * F.cross_entropy(q @ k.t() / T, labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


step()
for _ in range(a.steps):
    started = time.time()
    step()
    print(time.time() - started, flush=True)
