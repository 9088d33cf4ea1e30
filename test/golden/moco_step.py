"""One MoCo step (and two) by PyTorch in float64: the oracle of test/golden.test.ts.

v2: MLP head, shuffled, all values. v1: linear head, T 0.07, unshuffled; symmetric: the CIFAR demo's symmetric loss; of
these two every tensor at up to 61 places. Weights, queue and images come from formulas that the test repeats, so only
results are stored. Run with Debian's python3-torch:  python3 test/golden/moco_step.py
"""
import torch, torch.nn.functional as F
import nets

WIDTH, SIDE, N, SPLITS, DIM, K = 4, 16, 16, 2, 16, 40
M, LR, MOMENTUM, WD = 0.9, 0.05, 0.9, 1e-3
MEAN, STD = 0.45, 0.25
# The permutations that Stream(7, "shuffle", step, direction) gives: shuffling is random in MoCo, so the oracle takes ours.
SHUFFLE = {(0, 0): [9, 2, 5, 7, 15, 6, 14, 4, 1, 11, 13, 8, 10, 0, 12, 3],
           (0, 1): [10, 15, 14, 9, 13, 0, 3, 6, 2, 8, 11, 7, 5, 4, 1, 12],
           (1, 0): [4, 15, 0, 8, 7, 2, 12, 13, 5, 10, 14, 11, 9, 6, 1, 3],
           (1, 1): [15, 12, 3, 1, 4, 7, 0, 6, 10, 5, 9, 8, 2, 14, 13, 11]}
torch.set_default_dtype(torch.float64)


def sampled(v):
    """Up to 61 places of a tensor, evenly."""
    flat = v.reshape(-1)
    return flat[::max(1, -(-len(flat) // 61))].clone()


def run(mlp, temperature, shuffle, symmetric, everything, steps=1):
    """What `steps` steps leave; loss, keys and gradient are the last one's."""
    q, k = (nets.encoder(WIDTH, SPLITS, DIM, mlp) for _ in range(2))
    nets.fill(q, 0.0), nets.fill(k, 0.1)
    x = nets.images(N, SIDE, MEAN, STD)  # both views: the two directions differ by their shuffling
    queue, pointer = nets.queue(K, DIM), 0
    optimiser = torch.optim.SGD(q.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WD)

    def contrast(order):
        with torch.no_grad():
            keys = torch.empty(N, DIM)
            keys[order] = F.normalize(k(x[order]), dim=1)
        z = F.normalize(q(x), dim=1)
        logits = torch.cat([(z * keys).sum(1, keepdim=True), z @ queue.t()], 1) / temperature
        return F.cross_entropy(logits, torch.zeros(N, dtype=torch.long)), keys

    for step in range(steps):
        with torch.no_grad():
            for pq, pk in zip(q.parameters(), k.parameters()):
                pk.mul_(M).add_(pq, alpha=1 - M)
        orders = [SHUFFLE[step, direction] if shuffle else list(range(N)) for direction in range(2)]
        loss, keys = contrast(orders[0])
        if symmetric:
            loss21, keys1 = contrast(orders[1])
            loss, keys = loss + loss21, torch.cat([keys1, keys])  # [k1; k2]
        optimiser.zero_grad(), loss.backward()
        out = {"loss": loss.detach().view(1), "keys": keys}
        out.update({"grad." + n: p.grad.clone() for n, p in q.named_parameters()})
        optimiser.step()
        queue[(pointer + torch.arange(len(keys))) % K] = keys
        pointer = (pointer + len(keys)) % K
    for prefix, net in (("module.encoder_q.", q), ("module.encoder_k.", k)):
        out.update({prefix + n: v for n, v in net.state_dict().items() if "num_batches" not in n})
    out["module.queue"] = queue.t().contiguous()
    return out if everything else {name: sampled(v) for name, v in out.items()}


nets.save("moco_step.safetensors", run(mlp=True, temperature=0.2, shuffle=True, symmetric=False, everything=True))
# Two steps: the first loss of a linear head is nearly 0, and so is its gradient.
more = {"v1.": run(mlp=False, temperature=0.07, shuffle=False, symmetric=False, everything=False, steps=2),
        "symmetric.": run(mlp=False, temperature=0.1, shuffle=True, symmetric=True, everything=False, steps=2)}
nets.save("moco_step_more.safetensors", {case + name: v for case, out in more.items() for name, v in out.items()})
