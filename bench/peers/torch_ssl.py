"""SimCLR and BYOL in PyTorch: the peer of bench/methods.ts for them, on the same images.

    python3 bench/peers/torch_ssl.py FOLDER --method byol --seed 0 --epochs 8 [--width 16] [--batch 64] [--threads 1]

FOLDER and what is printed: as of torch_moco.py. Flags of its own: --arch resnet10 or resnet18; --norm batch (each view
of the batch at once) or split (8 splits); --hidden and --dim, the sizes of the heads; --temperature of SimCLR; --momentum,
from which BYOL's rises to 1; --crop, the least area of a crop; --flip and --blur, probabilities; --jitter, by which the
strengths 0.4, 0.4, 0.4, 0.1 are multiplied; --decay, the weight decay. The heads are those of test/golden/methods_nets.py.
"""
import json, math, time
import numpy as np, torch, torch.nn as nn
from PIL import ImageFilter
from torchvision import transforms as T
from torch_judge import Judge, arguments
import methods_nets

a = arguments(("method", str, "simclr", ("simclr", "byol")), ("arch", str, "resnet18", ("resnet10", "resnet18")),
              ("norm", str, "batch", ("batch", "split")), ("hidden", int, 128), ("dim", int, 128),
              ("temperature", float, 0.5), ("momentum", float, 0.99), ("crop", float, 0.08), ("flip", float, 0.5),
              ("blur", float, 0.0), ("jitter", float, 1.0), ("decay", float, 5e-4))
SPLITS = 8 if a.norm == "split" else 1
data = Judge(a.folder)
s = 0.4 * a.jitter
jitter = T.ColorJitter(s, s, s, s / 4) if data.channels == 3 else T.ColorJitter(s, s, 0, 0)
blur = T.Lambda(lambda image: image.filter(ImageFilter.GaussianBlur(np.random.uniform(0.1, 2))))
augment = T.Compose([
    T.ToPILImage(), T.RandomResizedCrop(data.side, scale=(a.crop, 1)), T.RandomHorizontalFlip(a.flip),
    T.RandomApply([jitter], p=0.8), *([T.RandomGrayscale(0.2)] if data.channels == 3 else []),
    T.RandomApply([blur], p=a.blur), T.ToTensor(), T.Normalize(data.mean, data.std)])


def network(target=False):
    net = methods_nets.network(a.method, SPLITS, a.width, (a.hidden, a.dim), a.arch, target)
    net.conv1 = nn.Conv2d(data.channels, a.width, 3, 1, 1, bias=False)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    return net


online, target = network(), None
if a.method == "byol":
    target = network(target=True)
    target.load_state_dict(online.state_dict(), strict=False)
untrained = data.judge(online)
optimiser = torch.optim.SGD(online.parameters(), lr=a.lr, momentum=0.9, weight_decay=a.decay)
started = time.time()
steps = len(data.train_x) // a.batch
for epoch in range(a.epochs):
    for group in optimiser.param_groups:
        group["lr"] = a.lr * 0.5 * (1 + math.cos(math.pi * epoch / a.epochs))
    order, total = np.random.permutation(len(data.train_x)), 0.0
    for step, part in enumerate(order[:steps * a.batch].reshape(steps, a.batch)):
        views = [torch.stack([augment(data.train_x[i]) for i in part]) for _ in range(2)]
        loss = methods_nets.loss_of(a.method, online, target, views, a.temperature)
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        if target is not None:
            methods_nets.follow(target, online, a.momentum, epoch * steps + step, a.epochs * steps)
        total += loss.item() / steps
    print(json.dumps({"epoch": epoch + 1, "loss": total}), flush=True)
print(json.dumps({"side": "pytorch", "method": a.method, "seed": a.seed, "untrained": untrained, **data.judge(online),
                  "loss": total, "seconds": time.time() - started}), flush=True)
