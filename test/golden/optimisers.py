"""Trajectories of optimisers and schedules by PyTorch in float64: the oracle of test/optim.test.ts.

Gradients are a formula of step and place that the test repeats. LARS is not in PyTorch: it is written here as the
paper's update with moco-v3's settings. Run with Debian's python3-torch:  python3 test/golden/optimisers.py
"""
import math
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, MultiStepLR, SequentialLR
import nets

STEPS, LR, WD = 20, 0.05, 0.01
SHAPES = {"weight": (6, 4), "bias": (7,)}
torch.set_default_dtype(torch.float64)


def lars(params, buffers):
    for (name, p), mu in zip(params.items(), buffers):
        g = p.grad
        if p.dim() > 1:
            g = g + WD * p.data
            g = g * (0.001 * p.data.norm() / g.norm())
        mu.mul_(0.9).add_(g)
        p.data.sub_(LR * mu)


def trajectory(algorithm):
    params = {n: torch.nn.Parameter(torch.sin(torch.arange(math.prod(s)) * 0.7 + 0.3).view(s)) for n, s in SHAPES.items()}
    buffers = [torch.zeros_like(p) for p in params.values()]
    optimiser = {"sgd": lambda: torch.optim.SGD(params.values(), lr=LR, momentum=0.9, weight_decay=WD),
                 "adamw": lambda: torch.optim.AdamW(params.values(), lr=LR, betas=(0.9, 0.99), weight_decay=WD),
                 "lars": lambda: None}[algorithm.replace("clip", "sgd")]()
    path = []
    for step in range(STEPS):
        for p in params.values():
            p.grad = torch.cos(torch.arange(p.numel()) * 1.3 + 0.5 * step).view(p.shape)
        if algorithm == "clip":
            torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
        optimiser.step() if optimiser else lars(params, buffers)
        path.append(torch.cat([p.data.reshape(-1) for p in params.values()]))
    return torch.stack(path)


def rates(make, count):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedule, out = make(optimiser), []
    for _ in range(count):
        out.append(optimiser.param_groups[0]["lr"])
        optimiser.step(), schedule.step()
    return torch.tensor(out)


EPOCHS, WARMUP, PER = 12, 3, 5  # epochs, epochs of warm-up, steps an epoch


def v3(optimiser):
    """moco-v3's adjust_learning_rate, by step."""
    def factor(step):
        epoch = step / PER
        return epoch / WARMUP if epoch < WARMUP else 0.5 * (1 + math.cos(math.pi * (epoch - WARMUP) / (EPOCHS - WARMUP)))
    return LambdaLR(optimiser, factor)


out = {name: trajectory(name) for name in ("sgd", "lars", "adamw", "clip")}
out["cosine"] = rates(lambda o: CosineAnnealingLR(o, EPOCHS), EPOCHS)
out["step"] = rates(lambda o: MultiStepLR(o, [4, 8], 0.1), EPOCHS)
out["warmup"] = rates(lambda o: SequentialLR(o, [LinearLR(o, 1 / WARMUP, 1, WARMUP - 1), CosineAnnealingLR(o, EPOCHS - WARMUP)], [WARMUP]), EPOCHS)
out["cosine-by-step"] = rates(lambda o: CosineAnnealingLR(o, EPOCHS * PER), EPOCHS * PER)
out["warmup-by-step"] = rates(v3, EPOCHS * PER)
nets.save("optimisers.safetensors", out)
