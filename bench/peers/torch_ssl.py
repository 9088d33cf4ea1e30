"""SimCLR, BYOL and MoCo v3 with a ViT in PyTorch: the peer of bench/methods.ts for them, on the same images.

    python3 bench/peers/torch_ssl.py FOLDER --method byol --seed 0 --epochs 8 [--width 16] [--batch 64] [--threads 1]

FOLDER and what is printed: as of torch_moco.py. Flags of its own: --arch resnet10 or resnet18; --norm batch (each view
of the batch at once) or split (8 splits); --hidden and --dim, the sizes of the heads; --temperature of SimCLR; --momentum,
from which BYOL's rises to 1; --crop, the least area of a crop; --flip and --blur, probabilities; --jitter, by which the
strengths 0.4, 0.4, 0.4, 0.1 are multiplied; --decay, the weight decay; --warmup, its epochs. Of a ViT: --arch vit, --patch,
--depth, --heads, --pool, --frozen (1: the patch projection); --blur2, the second view's blur. The heads are those of
test/golden/methods_nets.py, and MoCo v3's schedules are by step.
"""
import json, math, time
import numpy as np, torch, torch.nn as nn
from PIL import ImageFilter
from torchvision import transforms as T
from torch_judge import Judge, arguments
import methods_nets, vit_nets

a = arguments(("method", str, "simclr", ("simclr", "byol", "moco-v3")),
              ("arch", str, "resnet18", ("resnet10", "resnet18", "vit")),
              ("norm", str, "batch", ("batch", "split")), ("hidden", int, 128), ("dim", int, 128),
              ("temperature", float, 0.5), ("momentum", float, 0.99), ("crop", float, 0.08), ("flip", float, 0.5),
              ("blur", float, 0.0), ("jitter", float, 1.0), ("decay", float, 5e-4),
              ("warmup", float, 0.0), ("patch", int, 4), ("depth", int, 4), ("heads", int, 3), ("frozen", int, 0),
              ("pool", str, "token"), ("blur2", float, -1.0), ("blocks", int, 1))
VIT = a.arch == "vit"
if VIT and a.method != "moco-v3":
    raise SystemExit("--arch vit: its heads are those of --method moco-v3 alone")
METHOD = a.method + ("-vit" if VIT else "")
methods_nets.MOCO_V3_T = a.temperature
SPLITS = 8 if a.norm == "split" else 1
data = Judge(a.folder, a.blocks)
s = 0.4 * a.jitter
jitter = T.ColorJitter(s, s, s, s / 4) if data.channels == 3 else T.ColorJitter(s, s, 0, 0)
blur = T.Lambda(lambda image: image.filter(ImageFilter.GaussianBlur(np.random.uniform(0.1, 2))))
augments = [T.Compose([
    T.ToPILImage(), T.RandomResizedCrop(data.side, scale=(a.crop, 1)), T.RandomHorizontalFlip(a.flip),
    T.RandomApply([jitter], p=0.8), *([T.RandomGrayscale(0.2)] if data.channels == 3 else []),
    T.RandomApply([blur], p=p), T.ToTensor(), T.Normalize(data.mean, data.std)])
    for p in (a.blur, a.blur if a.blur2 < 0 else a.blur2)]


def vit(target):
    """As vits.py of moco-v3 initialises it, for these images."""
    net = vit_nets.Vit(data.side, a.patch, a.width, a.depth, a.heads, pool=a.pool)
    net.patch_embed.proj = nn.Conv2d(data.channels, a.width, a.patch, a.patch)
    for name, m in net.named_modules():
        if isinstance(m, nn.Linear):
            bound = math.sqrt(6 / ((2 * a.width) if name.endswith("qkv") else sum(m.weight.shape)))
            nn.init.uniform_(m.weight, -bound, bound), nn.init.zeros_(m.bias)
    bound = math.sqrt(6 / (data.channels * a.patch ** 2 + a.width))
    nn.init.uniform_(net.patch_embed.proj.weight, -bound, bound), nn.init.zeros_(net.patch_embed.proj.bias)
    net.patch_embed.requires_grad_(not a.frozen)
    if net.cls_token is not None:
        nn.init.normal_(net.cls_token, std=1e-6)
    projector, predictor = methods_nets.heads(METHOD, a.width, a.hidden, a.dim, methods_nets.nets.split_batch_norm(SPLITS, nn.BatchNorm1d))
    net.projector, net.fc = nn.Sequential(*projector), nn.Identity()
    if predictor and not target:
        net.predictor = nn.Sequential(*predictor)
    return net


def network(target=False):
    if VIT:
        return vit(target)
    net = methods_nets.network(a.method, SPLITS, a.width, (a.hidden, a.dim), a.arch, target)
    net.conv1 = nn.Conv2d(data.channels, a.width, 3, 1, 1, bias=False)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    return net


online, target = network(), None
if a.method != "simclr":
    target = network(target=True)
    target.load_state_dict(online.state_dict(), strict=False)
untrained = data.judge(online)
trained = [p for p in online.parameters() if p.requires_grad]
optimiser = (torch.optim.AdamW(trained, lr=a.lr, weight_decay=a.decay) if VIT
             else torch.optim.SGD(trained, lr=a.lr, momentum=0.9, weight_decay=a.decay))
started = time.time()
steps = len(data.train_x) // a.batch


def set_rate(epoch):
    """Warm-up, then a cosine over what is left."""
    cosine = 0.5 * (1 + math.cos(math.pi * (epoch - a.warmup) / (a.epochs - a.warmup)))
    for group in optimiser.param_groups:
        group["lr"] = a.lr * (epoch / a.warmup if epoch < a.warmup else cosine)


for epoch in range(a.epochs):
    set_rate(epoch)
    order, total = np.random.permutation(len(data.train_x)), 0.0
    for step, part in enumerate(order[:steps * a.batch].reshape(steps, a.batch)):
        done = epoch * steps + step
        if a.method == "moco-v3":
            set_rate(done / steps)
            methods_nets.follow(target, online, a.momentum, done, a.epochs * steps)
        views = [torch.stack([augment(data.train_x[i]) for i in part]) for augment in augments]
        loss = methods_nets.loss_of(METHOD, online, target, views, a.temperature)
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        if a.method == "byol":
            methods_nets.follow(target, online, a.momentum, done, a.epochs * steps)
        total += loss.item() / steps
    print(json.dumps({"epoch": epoch + 1, "loss": total}), flush=True)
print(json.dumps({"side": "pytorch", "method": a.method, "seed": a.seed, "untrained": untrained, **data.judge(online),
                  "loss": total, "seconds": time.time() - started}), flush=True)
