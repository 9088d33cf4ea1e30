"""50 steps of MoCo v1 and v2 by PyTorch in float64: the oracle of the loss curve in test/golden.test.ts.

64 images, four steps an epoch, in order, not augmented and not shuffled; K = 40 does not divide by the batch of 16.
Run with Debian's python3-torch:  python3 test/golden/moco_curve.py
"""
import math
import torch, torch.nn.functional as F
import nets

WIDTH, SIDE, IMAGES, N, SPLITS, DIM, K = 4, 16, 64, 16, 2, 16, 40
STEPS, EPOCHS, M, MOMENTUM, WD = 50, 13, 0.99, 0.9, 5e-4
MILESTONES = [4, 8]
torch.set_default_dtype(torch.float64)


def curve(mlp, temperature, lr, cosine):
    q, k = (nets.encoder(WIDTH, SPLITS, DIM, mlp) for _ in range(2))
    nets.fill(q, 0.0), nets.fill(k, 0.1)
    images, queue, pointer = nets.images(IMAGES, SIDE, 0.45, 0.25), nets.queue(K, DIM), 0
    optimiser = torch.optim.SGD(q.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WD)
    losses = []
    for step in range(STEPS):
        epoch = step // (IMAGES // N)
        for group in optimiser.param_groups:
            group["lr"] = (lr * 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS)) if cosine
                           else lr * 0.1 ** sum(epoch >= m for m in MILESTONES))
        x = images[torch.arange(step * N, (step + 1) * N) % IMAGES]
        z = F.normalize(q(x), dim=1)
        with torch.no_grad():
            for pq, pk in zip(q.parameters(), k.parameters()):
                pk.mul_(M).add_(pq, alpha=1 - M)
            keys = F.normalize(k(x), dim=1)
        logits = torch.cat([(z * keys).sum(1, keepdim=True), z @ queue.t()], 1) / temperature
        loss = F.cross_entropy(logits, torch.zeros(N, dtype=torch.long))
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        queue[(pointer + torch.arange(N)) % K] = keys
        pointer = (pointer + N) % K
        losses.append(loss.item())
    return torch.tensor(losses)


# Few steps, so small rates: at 0.03 v2 is chaotic (PyTorch's own float32 is 4% off its float64 by step 30).
curves = {"moco-v1": curve(mlp=False, temperature=0.07, lr=0.01, cosine=False),
          "moco-v2": curve(mlp=True, temperature=0.2, lr=0.001, cosine=True)}
nets.save("moco_curve.safetensors", curves)
for name, losses in curves.items():
    print(name, " ".join(f"{v:.3f}" for v in losses))
