"""What methods_step.py, methods_curve.py and bench/peers/torch_ssl.py share: SimCLR, BYOL, SimSiam, Barlow Twins and MoCo v3 in
PyTorch. "moco-v3-vit" is MoCo v3 with a ViT: its heads differ.
The losses' closed forms:  python3 test/golden/methods_nets.py
"""
import functools, math
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
import nets, vit_nets

SIDE, WIDTH, LAMBDA = 16, 4, 0.005
# Dimension of a hidden layer and of the output. Of SimSiam: the predictor's hidden layer; its projector's are as the output.
SIZES = {"simclr": (24, 16), "byol": (24, 16), "simsiam": (8, 24), "barlow-twins": (24, 32), "moco-v3": (24, 16),
         "moco-v3-vit": (24, 16)}
MOCO_V3_T = 0.2


def mixed(h):
    """murmur3's finaliser of u32: numbers without a pattern. The waves of nets.fill make filters that are nearly alike, and
    float32 then loses what tells images apart: batch norm has only that."""
    h = h.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return h ^ (h >> np.uint32(16))


def fill(net, salt):
    """All but fixed positions. Parameter t, element i (PyTorch order): uniform in [-1, 1) of mixed(i + 100003 t + 1000 salt), scaled; float32."""
    for t, (name, p) in enumerate(sorted((n, p) for n, p in net.named_parameters() if n != "pos_embed" or p.requires_grad)):
        u = mixed(np.arange(p.numel(), dtype=np.uint32) + np.uint32(100003 * t + round(1000 * salt))) / 2.0**31 - 1
        v = u * math.sqrt(6 * p.shape[0] / p.numel()) if p.dim() > 1 else 1 + 0.2 * u if name.endswith("weight") else 0.1 * u
        p.data.copy_(torch.from_numpy(v.astype(np.float32).astype(np.float64)).view(p.shape))


def sampled(v):
    """Up to 61 places of a tensor, evenly."""
    flat = v.detach().reshape(-1)
    return flat[::max(1, -(-len(flat) // 61))].clone()


def pixels(n, side, block=4):
    """uint8, NHWC: squares of 4 x 4 pixels of one colour."""
    small = side // block
    colours = (mixed(np.arange(n * small * small * 3, dtype=np.uint32)) >> np.uint32(24)).astype(np.uint8)
    return colours.reshape(n, small, small, 3).repeat(block, 1).repeat(block, 2)


def heads(method, f, hidden, dim, norm):
    """Layers of projector and predictor."""
    def block(i, o):
        return [nn.Linear(i, o, bias=False), norm(o), nn.ReLU()]

    if method == "simclr":
        return [*block(f, hidden), nn.Linear(hidden, dim, bias=False), norm(dim)], []
    if method == "byol":
        return [*block(f, hidden), nn.Linear(hidden, dim)], [*block(dim, hidden), nn.Linear(hidden, dim)]
    if method == "simsiam":
        return ([*block(f, dim), *block(dim, dim), nn.Linear(dim, dim, bias=False), norm(dim, affine=False)],
                [*block(dim, hidden), nn.Linear(hidden, dim)])
    if method == "moco-v3":
        return ([*block(f, hidden), nn.Linear(hidden, dim, bias=False), norm(dim, affine=False)],
                [*block(dim, hidden), nn.Linear(hidden, dim, bias=False)])
    if method == "moco-v3-vit":
        return ([*block(f, hidden), *block(hidden, hidden), nn.Linear(hidden, dim, bias=False), norm(dim, affine=False)],
                [*block(dim, hidden), nn.Linear(hidden, dim, bias=False), norm(dim, affine=False)])
    return [*block(f, hidden), *block(hidden, hidden), nn.Linear(hidden, dim, bias=False)], []


def network(method, splits, width=WIDTH, sizes=None, arch="resnet18", target=False):
    """A backbone that gives features, with heads `projector` and (not for a target) `predictor`. splits 1: ordinary batch norm."""
    if method.endswith("-vit"):
        net, features = vit_nets.Vit(SIDE, 4, 24, 2, 3, freeze=True), 24
    else:
        net = nets.encoder(width, splits, 1, False, arch)
        features, net.fc = net.fc.in_features, nn.Identity()
    projector, predictor = heads(method, features, *(sizes or SIZES[method]), nets.split_batch_norm(splits, nn.BatchNorm1d))
    net.projector = nn.Sequential(*projector)
    if predictor and not target:
        net.predictor = nn.Sequential(*predictor)
    return net


def views(n):
    """The images as they are, and solarised."""
    plain = pixels(n, SIDE)
    return [nets.normalised(p, 0.45, 0.25).to(torch.get_default_dtype())
            for p in (plain, np.where(plain >= 128, 255 - plain, plain))]


def nt_xent(z0, z1, temperature):
    n, z = len(z0), F.normalize(torch.cat([z0, z1]), dim=1)
    logits = (z @ z.t() / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool), -math.inf)
    return F.cross_entropy(logits, (torch.arange(2 * n) + n) % (2 * n))


def cosine(a, b):
    return (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1).mean()


def barlow(z0, z1):
    a, b = (F.batch_norm(z, None, None, training=True, eps=1e-5) for z in (z0, z1))  # of the whole batch
    c = a.t() @ b / len(a)
    own = torch.diagonal(c)
    return (1 - own).pow(2).sum() + LAMBDA * (c.pow(2).sum() - own.pow(2).sum())


def loss_of(method, online, target, x, temperature=0.5):
    """The loss of two views. Each goes forward by itself, view 0 first; BYOL, MoCo v3: online 0, target 1, online 1, target 0."""
    if method == "byol":
        total = 0
        for own, other in (x, x[::-1]):
            p = online.predictor(online.projector(online(own)))
            with torch.no_grad():
                t = target.projector(target(other))
            total = total + 2 - 2 * cosine(p, t)
        return total
    if method.startswith("moco-v3"):
        total = 0
        for own, other in (x, x[::-1]):
            q = F.normalize(online.predictor(online.projector(online(own))), dim=1)
            with torch.no_grad():
                k = F.normalize(target.projector(target(other)), dim=1)
            total = total + 2 * MOCO_V3_T * F.cross_entropy(q @ k.t() / MOCO_V3_T, torch.arange(len(q)))
        return total
    z = [online.projector(online(view)) for view in x]
    if method == "simclr":
        return nt_xent(*z, temperature)
    if method == "barlow-twins":
        return barlow(*z)
    p = [online.predictor(view) for view in z]
    return -0.5 * cosine(p[0], z[1].detach()) - 0.5 * cosine(p[1], z[0].detach())


@torch.no_grad()
def follow(target, online, m0, step, total):
    """The moving average of step `step` (from 0) of `total`: m rises from m0 to 1. BYOL's is after the optimiser, MoCo v3's before."""
    m = 1 - (1 - m0) * (math.cos(math.pi * step / total) + 1) / 2
    new = dict(online.named_parameters())
    for name, p in target.named_parameters():
        p.mul_(m).add_(new[name], alpha=1 - m)


class Lars(torch.optim.Optimizer):
    """As moco-v3 has it: biases and norms are neither decayed nor scaled."""

    def __init__(self, params, lr, momentum, weight_decay):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad
                if p.dim() > 1:
                    g = g + group["weight_decay"] * p
                    g = g * torch.where((p.norm() > 0) & (g.norm() > 0), 0.001 * p.norm() / g.norm(), torch.ones(()))
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(group["momentum"]).add_(g)
                p.sub_(group["lr"] * v)


class Run:
    """Networks filled by formula, and their steps."""

    def __init__(self, method, splits, m0, total, optimiser, **settings):
        self.method, self.m0, self.total, self.steps = method, m0, total, 0
        self.online, self.target = network(method, splits), None
        fill(self.online, 0.0)
        if method == "byol" or method.startswith("moco-v3"):
            self.target = network(method, splits, target=True)
            fill(self.target, 0.1)
        self.optimiser = optimiser([p for p in self.online.parameters() if p.requires_grad], **settings)

    def step(self, x):
        if self.method.startswith("moco-v3"):
            follow(self.target, self.online, self.m0, self.steps, self.total)
        loss = loss_of(self.method, self.online, self.target, x)
        self.optimiser.zero_grad(), loss.backward(), self.optimiser.step()
        if self.method == "byol":
            follow(self.target, self.online, self.m0, self.steps, self.total)
        self.steps += 1
        return loss.item()


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    same, n = torch.ones(8, 5), 8
    print("NT-Xent, constant:", nt_xent(same, same, 0.5).item() - math.log(2 * n - 1))
    q = torch.linalg.qr(torch.cat([torch.ones(n, 1), torch.randn(n, 5)], 1))[0][:, 1:]  # orthogonal, of mean 0
    print("Barlow, whitened:", barlow(1e4 * q, 1e4 * q).item())
    z = torch.randn(n, 5)
    print("SimSiam, collapsed:", -0.5 * cosine(z, z) - 0.5 * cosine(z, z) + 1)
    print("Barlow, constant:", barlow(same, same).item() - 5)
