"""A linear probe's trajectory and kNN's votes by PyTorch in float64: the oracle of test/evaluate.test.ts.

The probe is main_lincls.py's (SGD 0.9, lr 30, no decay; and one with decay); the votes are those of the CIFAR demo's
knn_predict. Features are formulas that the test repeats. Run with Debian's python3-torch: python3 test/golden/evaluation.py
"""
import torch, torch.nn.functional as F
import nets

N, DIM, CLASSES, BATCH, STEPS = 40, 6, 5, 8, 25
torch.set_default_dtype(torch.float64)


def features(n, salt):
    return torch.sin(torch.arange(n * DIM) * 1.9 + salt).float().double().view(n, DIM)


def probe(lr, decay):
    x, y = features(N, 0.2), torch.arange(N) % CLASSES
    layer = torch.nn.Linear(DIM, CLASSES)
    layer.weight.data = 0.01 * torch.cos(torch.arange(CLASSES * DIM) * 0.9).float().double().view(CLASSES, DIM)
    layer.bias.data.zero_()
    optimiser = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9, weight_decay=decay)
    path = []
    for step in range(STEPS):
        part = (torch.arange(BATCH) + step * BATCH) % N
        loss = F.cross_entropy(layer(x[part]), y[part])
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        path.append(torch.cat([layer.weight.data.t().reshape(-1), layer.bias.data]))
    return torch.stack(path)


def votes(k, t):
    bank, labels = F.normalize(features(60, 0.5), dim=1), torch.arange(60) * 7 % CLASSES
    queries = F.normalize(features(12, 0.9), dim=1)
    weight, index = (queries @ bank.t()).topk(k, dim=-1)
    weight = (weight / t).exp()
    one_hot = F.one_hot(labels[index], CLASSES)
    return (one_hot * weight.unsqueeze(-1)).sum(1)


def spread():
    """Uniformity (Wang and Isola), RankMe and lightly's std of normalised features."""
    z = features(50, 1.7)
    unit = F.normalize(z, dim=1)
    s = torch.linalg.svdvals(z)
    p = s / s.sum()
    return torch.stack([torch.pdist(unit).pow(2).mul(-2).exp().mean().log(), torch.exp(-(p * p.log()).sum()),
                        unit.std(0, unbiased=False).mean() * DIM ** 0.5])


nets.save("evaluation.safetensors", {"probe": probe(30.0, 0.0), "probe-decay": probe(0.5, 0.02),
                                     "votes-7": votes(7, 0.1), "votes-60": votes(60, 0.07), "spread": spread()})
