"""The CIFAR demo of facebookresearch/moco in PyTorch: the peer of bench/recipe.ts, on the same images.

    python3 bench/peers/torch_moco.py FOLDER --seed 0 --epochs 8 [--width 16] [--batch 64] [--threads 1]

FOLDER holds train_x.npy, train_y.npy, test_x.npy, test_y.npy: u8[N,H,W,C] and i32[N]. Prints one line of JSON for each
epoch and one at the end, with kNN and linear probe of the encoder before and after. Debian's python3-torch and
python3-torchvision.
"""
import json, math, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from torchvision import transforms as T
from torch_judge import Judge, arguments
import nets

a = arguments()
SPLITS, DIM, K, M, TAU, WD = 8, 128, 4096, 0.99, 0.1, 5e-4
data = Judge(a.folder)
jitter = T.ColorJitter(0.4, 0.4, 0.4, 0.1) if data.channels == 3 else T.ColorJitter(0.4, 0.4, 0, 0)
augment = T.Compose([
    T.ToPILImage(), T.RandomResizedCrop(data.side), T.RandomHorizontalFlip(), T.RandomApply([jitter], p=0.8),
    *([T.RandomGrayscale(0.2)] if data.channels == 3 else []), T.ToTensor(), T.Normalize(data.mean, data.std)])


def encoder():
    net = nets.encoder(a.width, SPLITS, DIM, mlp=False)
    net.conv1 = nn.Conv2d(data.channels, a.width, 3, 1, 1, bias=False)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    return net


q, k = encoder(), encoder()
k.load_state_dict(q.state_dict())
untrained = data.judge(q)
queue, pointer = F.normalize(torch.randn(K, DIM), dim=1), 0
optimiser = torch.optim.SGD(q.parameters(), lr=a.lr, momentum=0.9, weight_decay=WD)
started = time.time()
for epoch in range(a.epochs):
    for group in optimiser.param_groups:
        group["lr"] = a.lr * 0.5 * (1 + math.cos(math.pi * epoch / a.epochs))
    order, total = np.random.permutation(len(data.train_x)), 0.0
    steps = len(order) // a.batch
    for part in order[:steps * a.batch].reshape(steps, a.batch):
        xq, xk = (torch.stack([augment(data.train_x[i]) for i in part]) for _ in range(2))
        with torch.no_grad():
            for pq, pk in zip(q.parameters(), k.parameters()):
                pk.mul_(M).add_(pq, alpha=1 - M)
            shuffle, keys = torch.randperm(a.batch), torch.empty(a.batch, DIM)
            keys[shuffle] = F.normalize(k(xk[shuffle]), dim=1)
        z = F.normalize(q(xq), dim=1)
        logits = torch.cat([(z * keys).sum(1, keepdim=True), z @ queue.t()], 1) / TAU
        loss = F.cross_entropy(logits, torch.zeros(a.batch, dtype=torch.long))
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        queue[(pointer + torch.arange(a.batch)) % K] = keys
        pointer = (pointer + a.batch) % K
        total += loss.item() / steps
    print(json.dumps({"epoch": epoch + 1, "loss": total}), flush=True)
print(json.dumps({"side": "pytorch", "seed": a.seed, "untrained": untrained, **data.judge(q), "loss": total,
                  "seconds": time.time() - started}), flush=True)
