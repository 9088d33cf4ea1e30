"""One MoCo v2 step in PyTorch: the peer of bench/step.ts. Prints seconds of a step, one a line.

    python3 bench/peers/torch_step.py [--arch resnet18] [--width 64] [--size 32] [--batch 256] [--splits 8] [--threads 1]
                                      [--steps 5] [--channels-last] [--device cuda] [--autocast]

Views that are there already (no augmentation), split batch norm as the CIFAR demo has it, K 4096: key and query encoder,
loss, backward, SGD, momentum update, queue. CIFAR stem for ResNet-18, ImageNet's for ResNet-50. On the CPU Debian's
python3-torch, oneDNN on. On a GPU float32 is float32 (no TF32), cuDNN chooses by measuring, --autocast is float16 with
a GradScaler, and a step's loss is not looked at before the last step.
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
parser.add_argument("--device", default="cpu")
parser.add_argument("--autocast", action="store_true")
a = parser.parse_args()
torch.set_num_threads(a.threads)
DIM, K, M, T = 128, 4096, 0.99, 0.1
form = torch.channels_last if a.channels_last else torch.contiguous_format
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
on_gpu = a.device != "cpu"
q, k = (nets.encoder(a.width, a.splits, DIM, False, a.arch, a.arch == "resnet18").to(a.device, memory_format=form) for _ in range(2))
k.load_state_dict(q.state_dict())
queue, pointer = F.normalize(torch.randn(K, DIM), dim=1).to(a.device), 0
optimiser = torch.optim.SGD(q.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
scaler = torch.cuda.amp.GradScaler(enabled=a.autocast)
xq, xk = (torch.randn(a.batch, 3, a.size, a.size).to(a.device, memory_format=form) for _ in range(2))


def step():
    global pointer
    with torch.autocast("cuda", torch.float16, enabled=a.autocast):
        with torch.no_grad():
            for pq, pk in zip(q.parameters(), k.parameters()):
                pk.mul_(M).add_(pq, alpha=1 - M)
            shuffle, keys = torch.randperm(a.batch, device=a.device), torch.empty(a.batch, DIM, device=a.device)
            keys[shuffle] = F.normalize(k(xk[shuffle]).float(), dim=1)
        z = F.normalize(q(xq).float(), dim=1)
        logits = torch.cat([(z * keys).sum(1, keepdim=True), z @ queue.t()], 1) / T
        loss = F.cross_entropy(logits.float(), torch.zeros(a.batch, dtype=torch.long, device=a.device))
    optimiser.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimiser)
    scaler.update()
    queue[(pointer + torch.arange(a.batch, device=a.device)) % K] = keys
    pointer = (pointer + a.batch) % K


for _ in range(10 if on_gpu else 1):
    step()
# A GPU runs behind: several steps are timed together.
together = 10 if on_gpu else 1
for _ in range(a.steps):
    if on_gpu:
        torch.cuda.synchronize()
    started = time.time()
    for _ in range(together):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    print((time.time() - started) / together, flush=True)
