"""50 steps of SimCLR, BYOL, SimSiam, Barlow Twins and MoCo v3 by PyTorch in float64: the loss curves of test/train/methods_golden.test.ts.

64 images, four steps an epoch, in order, plain and solarised. Prints how far PyTorch's float32 is off, and each curve.
Run with Debian's python3-torch:  python3 test/golden/methods_curve.py
"""
import math
import torch
import methods_nets

IMAGES, N, STEPS, EPOCHS, M, MOMENTUM, WD = 64, 16, 50, 13, 0.99, 0.9, 5e-4
# Few steps, so small rates, at which the curves are not chaotic.
LR = {"simclr": 1e-4, "byol": 3e-5, "simsiam": 1e-5, "barlow-twins": 1e-6, "moco-v3": 1e-5, "moco-v3-vit": 1e-3}


def curve(method, dtype, lr):
    torch.set_default_dtype(dtype)
    per_epoch = IMAGES // N
    run = methods_nets.Run(method, 1, M, EPOCHS * per_epoch, torch.optim.SGD, lr=lr, momentum=MOMENTUM, weight_decay=WD)
    views, losses = methods_nets.views(IMAGES), []
    for step in range(STEPS):
        for group in run.optimiser.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * (step // per_epoch) / EPOCHS))
        part = torch.arange(step * N, (step + 1) * N) % IMAGES
        losses.append(run.step([view[part] for view in views]))
    return torch.tensor(losses, dtype=torch.float64)


if __name__ == "__main__":
    curves = {method: curve(method, torch.float64, lr) for method, lr in LR.items()}
    for method, losses in curves.items():
        off = (curve(method, torch.float32, LR[method]) / losses - 1).abs().max()
        print(f"{method}, float32 off by {off:.1e}:", " ".join(f"{v:.3f}" for v in losses))
    methods_nets.nets.save("methods_curve.safetensors", curves)
