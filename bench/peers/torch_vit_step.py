"""One MoCo v3 step of a ViT in PyTorch: the peer of bench/step.ts. Prints seconds of a step, one a line.

    python3 bench/peers/torch_vit_step.py [--arch vit-tiny] [--patch 4] [--size 32] [--batch 256] [--threads 1] [--steps 2]
                                          [--device cuda] [--autocast]

Views that are there already (no augmentation); both directions: base encoder, projector, predictor; momentum encoder without
gradient; loss, backward, AdamW, moving average. The blocks are timm's, of PyTorch's own layer norm, linear layers and GELU.
On a GPU attention is PyTorch's fused one, AdamW is fused, float32 is float32 (no TF32), --autocast is float16 with a GradScaler,
and steps are timed by tens.
"""
import argparse, copy, os, sys, time
import torch, torch.nn as nn, torch.nn.functional as F

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../test/golden"))
import vit_nets

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="vit-tiny", choices=("vit-tiny", "vit-small", "vit-base"))
for name, default in (("patch", 4), ("size", 32), ("batch", 256), ("threads", 1), ("steps", 2)):
    parser.add_argument("--" + name, type=int, default=default)
parser.add_argument("--device", default="cpu")
parser.add_argument("--autocast", action="store_true")
a = parser.parse_args()
on_gpu = a.device != "cpu"
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
torch.set_num_threads(a.threads)
WIDTH, DEPTH, HEADS = {"vit-tiny": (192, 12, 3), "vit-small": (384, 12, 12), "vit-base": (768, 12, 12)}[a.arch]
HIDDEN, DIM, M, T = 4096, 256, 0.99, 0.2
vit_nets.Mlp.forward = lambda self, x: self.fc2(F.gelu(self.fc1(x)))


def fused(self, x):
    n, t, c = x.shape
    q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
    return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c))


if on_gpu:
    vit_nets.Attention.forward = fused


def mlp(sizes, last):
    layers = []
    for i, (a_, b) in enumerate(zip(sizes, sizes[1:])):
        layers += [nn.Linear(a_, b, bias=False)] + ([nn.BatchNorm1d(b), nn.ReLU()] if i < len(sizes) - 2 else [])
    return nn.Sequential(*layers, *([nn.BatchNorm1d(sizes[-1], affine=False)] if last else []))


base = nn.Sequential(vit_nets.Vit(a.size, a.patch, WIDTH, DEPTH, HEADS, freeze=True), mlp((WIDTH, HIDDEN, HIDDEN, DIM), True))
base.to(a.device)
momentum, predictor = copy.deepcopy(base), mlp((DIM, HIDDEN, DIM), True).to(a.device)
trained = [p for p in (*base.parameters(), *predictor.parameters()) if p.requires_grad]
optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1, **({"fused": True} if on_gpu else {}))
scaler = torch.cuda.amp.GradScaler(enabled=a.autocast)
views = [torch.randn(a.batch, 3, a.size, a.size).to(a.device) for _ in range(2)]
labels = torch.arange(a.batch, device=a.device)


def step():
    with torch.no_grad():
        for p, own in zip(momentum.parameters(), base.parameters()):
            p.mul_(M).add_(own, alpha=1 - M)
    with torch.autocast("cuda", torch.float16, enabled=a.autocast):
        with torch.no_grad():
            keys = [F.normalize(momentum(view).float(), dim=1) for view in views]
        loss = 0
        for view, k in zip(views, keys[::-1]):
            q = F.normalize(predictor(base(view)).float(), dim=1)
            loss = loss + 2 * T * F.cross_entropy((q @ k.t() / T).float(), labels)
    optimiser.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimiser)
    scaler.update()


for _ in range(5 if on_gpu else 1):
    step()
# A GPU runs behind: several steps are timed together.
together = 10 if on_gpu else 1
for _ in range(a.steps):
    if on_gpu:
        torch.cuda.synchronize()
    started = time.time()
    for _ in range(together):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    print((time.time() - started) / together, flush=True)
