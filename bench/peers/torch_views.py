"""Both views of a batch by torchvision's tensor transforms, MoCo v2's augmentation: the peer of bench/views_ours.ts.

    python3 bench/peers/torch_views.py [--batch 256] [--size 32] [--threads 1] [--steps 5]

Prints seconds of a batch, one a line. A blur of 7 taps; ours has up to 13, as sigma asks for.
"""
import argparse, time
import torch
import torchvision.transforms as T

parser = argparse.ArgumentParser()
for name, default in (("batch", 256), ("size", 32), ("threads", 1), ("steps", 5)):
    parser.add_argument("--" + name, type=int, default=default)
a = parser.parse_args()
torch.set_num_threads(a.threads)
augment = T.Compose([
    T.RandomResizedCrop(a.size, scale=(0.2, 1.0)),
    T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
    T.RandomGrayscale(p=0.2),
    T.RandomApply([T.GaussianBlur(7, sigma=(0.1, 2.0))], p=0.5),
    T.RandomHorizontalFlip(),
    T.ConvertImageDtype(torch.float32),
    T.Normalize([0.5] * 3, [0.25] * 3),
])
images = torch.randint(0, 256, (a.batch, 3, a.size, a.size), dtype=torch.uint8)
for step in range(a.steps + 1):
    started = time.time()
    for _ in range(2):
        torch.stack([augment(image) for image in images])
    if step:
        print(time.time() - started, flush=True)
