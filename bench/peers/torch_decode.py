"""Batches of one random crop of each JPEG file by torchvision's ImageFolder and DataLoader: the peer of bench/decode_ours.ts.

    python3 bench/peers/torch_decode.py FOLDER [--batch 64] [--size 224] [--workers 2] [--steps 10] [--loader pil]

Prints seconds of a batch, one a line. Loader pil is Pillow, as ImageFolder has it; tensor is torchvision.io and its tensor transforms.
"""
import argparse, time
import torch, torchvision
import torchvision.transforms as T

parser = argparse.ArgumentParser()
parser.add_argument("folder")
for name, default in (("batch", 64), ("size", 224), ("workers", 2), ("steps", 10)):
    parser.add_argument("--" + name, type=int, default=default)
parser.add_argument("--loader", default="pil")
a = parser.parse_args()
torch.set_num_threads(1)
crop = [T.RandomResizedCrop(a.size, scale=(0.2, 1.0)), T.RandomHorizontalFlip()]
normal = T.Normalize([0.5] * 3, [0.25] * 3)
if a.loader == "pil":
    images = torchvision.datasets.ImageFolder(a.folder, T.Compose(crop + [T.ToTensor(), normal]))
else:
    images = torchvision.datasets.ImageFolder(
        a.folder, T.Compose(crop + [T.ConvertImageDtype(torch.float32), normal]),
        loader=lambda path: torchvision.io.read_image(path, torchvision.io.ImageReadMode.RGB))
loader = torch.utils.data.DataLoader(images, a.batch, num_workers=a.workers, drop_last=True)
left = a.steps + 1
while left > 0:
    started = time.time()
    for _ in loader:
        if left <= a.steps and left > 0:
            print(time.time() - started, flush=True)
        left -= 1
        started = time.time()
        if left == 0:
            break
