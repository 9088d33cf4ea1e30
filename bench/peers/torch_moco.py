"""The CIFAR demo of facebookresearch/moco in PyTorch: the peer of bench/recipe.ts, on the same images.

    python3 bench/peers/torch_moco.py FOLDER --seed 0 --epochs 8 [--width 16] [--batch 64] [--threads 1]

FOLDER holds train_x.npy, train_y.npy, test_x.npy, test_y.npy: u8[N,H,W,C] and i32[N]. Prints one line of JSON for each
epoch and one at the end, with kNN and linear probe of the encoder before and after. Debian's python3-torch and
python3-torchvision.
"""
import argparse, json, math, os, sys, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from torchvision import transforms as T

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../test/golden"))
import nets

parser = argparse.ArgumentParser()
parser.add_argument("folder")
for name, kind, default in (("seed", int, 0), ("epochs", int, 12), ("width", int, 16), ("batch", int, 64),
                            ("lr", float, 0.06), ("threads", int, 1)):
    parser.add_argument("--" + name, type=kind, default=default)
a = parser.parse_args()
torch.manual_seed(a.seed), np.random.seed(a.seed), torch.set_num_threads(a.threads)
import random; random.seed(a.seed)  # torchvision 0.14 draws RandomApply's coin from torch, older ones from here

SPLITS, DIM, K, M, TAU, WD = 8, 128, 4096, 0.99, 0.1, 5e-4
train_x, train_y, test_x, test_y = (np.load(os.path.join(a.folder, n + ".npy")) for n in ("train_x", "train_y", "test_x", "test_y"))
train_y, test_y = (torch.from_numpy(y.astype(np.int64)) for y in (train_y, test_y))
side, channels = train_x.shape[1], train_x.shape[3]
mean, std = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]) if channels == 3 else ([0.286], [0.353])
jitter = T.ColorJitter(0.4, 0.4, 0.4, 0.1) if channels == 3 else T.ColorJitter(0.4, 0.4, 0, 0)
augment = T.Compose([
    T.ToPILImage(), T.RandomResizedCrop(side), T.RandomHorizontalFlip(), T.RandomApply([jitter], p=0.8),
    *([T.RandomGrayscale(0.2)] if channels == 3 else []), T.ToTensor(), T.Normalize(mean, std)])
plain = lambda x: ((torch.from_numpy(x).float() / 255 - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2)


def encoder():
    net = nets.encoder(a.width, SPLITS, DIM, mlp=False)
    net.conv1 = nn.Conv2d(channels, a.width, 3, 1, 1, bias=False)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    return net


@torch.no_grad()
def features(net, x):
    head, net.fc = net.fc, nn.Identity()
    net.eval()
    out = torch.cat([net(plain(x[i:i + 500])) for i in range(0, len(x), 500)])
    net.train()
    net.fc = head
    return out


def knn(bank, queries, k=200, t=0.1):
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    right = 0
    for i in range(0, len(queries), 500):
        weight, index = (queries[i:i + 500] @ bank.t()).topk(k, dim=1)
        votes = torch.zeros(len(weight), 10).scatter_add_(1, train_y[index], (weight / t).exp())
        right += (votes.argmax(1) == test_y[i:i + 500]).sum().item()
    return right / len(queries)


def linear(train, test, epochs=30, batch=256, lr=0.1):
    mu, sd = train.mean(0), train.std(0, unbiased=False) + 1e-6
    train, test = (train - mu) / sd, (test - mu) / sd
    layer = nn.Linear(train.shape[1], 10)
    nn.init.normal_(layer.weight, std=0.01), nn.init.zeros_(layer.bias)
    optimiser = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9)
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        for part in torch.randperm(len(train)).split(batch):
            optimiser.zero_grad(), F.cross_entropy(layer(train[part]), train_y[part]).backward(), optimiser.step()
    return (layer(test).argmax(1) == test_y).float().mean().item()


def judge(net):
    bank, queries = features(net, train_x), features(net, test_x)
    return {"knn": knn(bank, queries), "linear": linear(bank, queries)}


q, k = encoder(), encoder()
k.load_state_dict(q.state_dict())
untrained = judge(q)
queue, pointer = F.normalize(torch.randn(K, DIM), dim=1), 0
optimiser = torch.optim.SGD(q.parameters(), lr=a.lr, momentum=0.9, weight_decay=WD)
started = time.time()
for epoch in range(a.epochs):
    for group in optimiser.param_groups:
        group["lr"] = a.lr * 0.5 * (1 + math.cos(math.pi * epoch / a.epochs))
    order, total = np.random.permutation(len(train_x)), 0.0
    steps = len(order) // a.batch
    for part in order[:steps * a.batch].reshape(steps, a.batch):
        xq, xk = (torch.stack([augment(train_x[i]) for i in part]) for _ in range(2))
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
print(json.dumps({"side": "pytorch", "seed": a.seed, "untrained": untrained, **judge(q), "loss": total,
                  "seconds": time.time() - started}), flush=True)
