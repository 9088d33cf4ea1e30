"""One MoCo v2 step in PyTorch: the peer of bench/step.ts. Prints seconds of a step, one a line.

    python3 bench/peers/torch_step.py [--arch resnet18] [--width 64] [--size 32] [--batch 256] [--splits 8] [--threads 1]
                                      [--steps 5] [--channels-last]

Views that are there already (no augmentation), split batch norm as the CIFAR demo has it, K 4096: key and query encoder,
loss, backward, SGD, momentum update, queue. CIFAR stem for ResNet-18, ImageNet's for ResNet-50. Debian's python3-torch,
oneDNN on.
"""
import argparse, os, sys, time
import torch, torch.nn.functional as F

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../test/golden"))
import nets

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="resnet18")
for name, default in (("width", 64), ("size", 32), ("batch", 256), ("splits", 8), ("threads", 1), ("steps", 5)):
    parser.add_argument("--" + name, type=int, default=default)
parser.add_argument("--channels-last", action="store_true")
a = parser.parse_args()
torch.set_num_threads(a.threads)
DIM, K, M, T = 128, 4096, 0.99, 0.1
form = torch.channels_last if a.channels_last else torch.contiguous_format
q, k = (nets.encoder(a.width, a.splits, DIM, False, a.arch, a.arch == "resnet18").to(memory_format=form) for _ in range(2))
k.load_state_dict(q.state_dict())
queue, pointer = F.normalize(torch.randn(K, DIM), dim=1), 0
optimiser = torch.optim.SGD(q.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
xq, xk = (torch.randn(a.batch, 3, a.size, a.size).to(memory_format=form) for _ in range(2))
for step in range(a.steps + 1):
    started = time.time()
    with torch.no_grad():
        for pq, pk in zip(q.parameters(), k.parameters()):
            pk.mul_(M).add_(pq, alpha=1 - M)
        shuffle, keys = torch.randperm(a.batch), torch.empty(a.batch, DIM)
        keys[shuffle] = F.normalize(k(xk[shuffle]), dim=1)
    z = F.normalize(q(xq), dim=1)
    logits = torch.cat([(z * keys).sum(1, keepdim=True), z @ queue.t()], 1) / T
    loss = F.cross_entropy(logits, torch.zeros(a.batch, dtype=torch.long))
    optimiser.zero_grad(), loss.backward(), optimiser.step()
    queue[(pointer + torch.arange(a.batch)) % K] = keys
    pointer = (pointer + a.batch) % K
    if step:
        print(time.time() - started, flush=True)
