"""Steps of SimCLR, BYOL, SimSiam, Barlow Twins and MoCo v3 by PyTorch in float64: the oracle of test/train/methods_golden.test.ts.

batch: one step, batch norm over the whole of a view; split: two steps, interleaved splits, loss and gradient of the
last one. Every tensor at up to 61 places. Weights and images come from formulas that the test repeats. Prints how far
PyTorch's own float32 is off, of the worst tensors.  python3 test/golden/methods_step.py
"""
import torch
import methods_nets

N, SPLITS, M, MOMENTUM, WD, TOTAL = 16, 2, 0.9, 0.9, 1e-3, 2
# Small, so that the second step is not chaotic: where a ReLU turns over, gradients jump.
LR = {"simclr": 5e-4, "byol": 5e-4, "simsiam": 5e-5, "barlow-twins": 1e-5, "simclr-lars": 0.03, "moco-v3": 5e-4,
      "moco-v3-vit": 5e-4, "moco-v3-lars": 0.01}


def case(name, splits, steps, dtype):
    torch.set_default_dtype(dtype)
    optimiser = methods_nets.Lars if name.endswith("-lars") else torch.optim.SGD
    run = methods_nets.Run(name.removesuffix("-lars"), splits, M, TOTAL, optimiser, lr=LR[name], momentum=MOMENTUM,
                       weight_decay=WD)
    x = methods_nets.views(N)
    for _ in range(steps):
        loss = run.step(x)
    out = {"loss": torch.tensor([loss])}
    out.update({"grad." + n: p.grad for n, p in run.online.named_parameters() if p.requires_grad})
    for prefix, net in (("online.", run.online), ("target.", run.target)):
        if net is not None:
            out.update({prefix + n: v for n, v in net.state_dict().items() if "num_batches" not in n})
    return {n: methods_nets.sampled(v) for n, v in out.items()}


CASES = {f"{method}.{norm}.": (method, splits, steps) for method in methods_nets.SIZES
         for norm, splits, steps in (("batch", 1, 1), ("split", SPLITS, 2))}
CASES["simclr-lars.batch."] = ("simclr-lars", 1, 2)
CASES["moco-v3-lars.batch."] = ("moco-v3-lars", 1, 2)
tensors = {}
for prefix, settings in CASES.items():
    exact, rounded = case(*settings, torch.float64), case(*settings, torch.float32)
    # What is 0 but for rounding (a bias before a batch norm) has no relative error.
    off = sorted(((rounded[n] - v).abs().max() / v.abs().max(), n) for n, v in exact.items() if v.abs().max() > 1e-9)[::-1]
    print(prefix, len(exact), "tensors, loss", exact["loss"].item(), *(f"{n} {e:.1e}" for e, n in off[:3]))
    tensors.update({prefix + n: v for n, v in exact.items()})
methods_nets.nets.save("methods_step.safetensors", tensors)
