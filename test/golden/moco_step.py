"""One MoCo v2 step by PyTorch in float64: the oracle of test/golden.test.ts.

Weights, queue and images come from formulas that the test repeats, so only results are stored. Run with Debian's
python3-torch:  python3 test/golden/moco_step.py  (writes moco_step.safetensors beside itself)
"""
import torch, torch.nn.functional as F
import nets

WIDTH, SIDE, N, SPLITS, DIM, K = 4, 16, 16, 2, 16, 40
M, T, LR, MOMENTUM, WD = 0.9, 0.2, 0.05, 0.9, 1e-3
MEAN, STD = 0.45, 0.25
# The permutation that Stream(7, "shuffle", 0) gives: shuffling is random in MoCo, so the oracle takes ours.
SHUFFLE = [9, 2, 5, 7, 15, 6, 14, 4, 1, 11, 13, 8, 10, 0, 12, 3]
torch.set_default_dtype(torch.float64)


q, k = (nets.encoder(WIDTH, SPLITS, DIM, mlp=True) for _ in range(2))
nets.fill(q, 0.0), nets.fill(k, 0.1)
x = nets.images(N, SIDE, MEAN, STD)
queue = nets.queue(K, DIM)

with torch.no_grad():
    for pq, pk in zip(q.parameters(), k.parameters()):
        pk.mul_(M).add_(pq, alpha=1 - M)
    keys = torch.empty(N, DIM)
    keys[SHUFFLE] = F.normalize(k(x[SHUFFLE]), dim=1)
optimiser = torch.optim.SGD(q.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WD)
z = F.normalize(q(x), dim=1)
logits = torch.cat([(z * keys).sum(1, keepdim=True), z @ queue.t()], 1) / T
loss = F.cross_entropy(logits, torch.zeros(N, dtype=torch.long))
loss.backward()

out = {"loss": loss.detach().view(1), "keys": keys}
out.update({"grad." + n: p.grad.clone() for n, p in q.named_parameters()})
optimiser.step()
queue[:N] = keys
for prefix, net in (("module.encoder_q.", q), ("module.encoder_k.", k)):
    out.update({prefix + n: v for n, v in net.state_dict().items() if "num_batches" not in n})
out["module.queue"] = queue.t().contiguous()

nets.save("moco_step.safetensors", out)
