"""Loads an export of mocod into torchvision's own model, strict, and prints how far its features are from ours. ENCODER: as in a spec, JSON.

    python3 test/interop/load.py ENCODER encoder.safetensors images.npy features.npy
"""
import json, struct, sys
import numpy as np, torch, torchvision

from torchvision.models.vision_transformer import VisionTransformer

encoder, file, images, features = sys.argv[1:]
encoder = json.loads(encoder)
with open(file, "rb") as f:
    raw = f.read()
size = struct.unpack("<Q", raw[:8])[0]
types = {"F32": np.float32, "I64": np.int64}
state = {}
for name, t in json.loads(raw[8:8 + size]).items():
    if name != "__metadata__":
        start, end = t["data_offsets"]
        values = np.frombuffer(raw[8 + size + start:8 + size + end], types[t["dtype"]]).reshape(t["shape"])
        state[name] = torch.from_numpy(values.copy())
pixels = np.load(images)
if encoder["arch"].startswith("vit"):
    width = encoder["width"]
    model = VisionTransformer(pixels.shape[1], encoder["patch"], encoder["depth"], encoder["heads"], width, 4 * width)
    model.heads = torch.nn.Identity()
else:
    model = getattr(torchvision.models, encoder["arch"])()
    model.fc = torch.nn.Identity()
print(model.load_state_dict(state, strict=True))
with torch.no_grad():
    got = model.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
want = np.load(features)
print(np.abs(got - want).max() / np.abs(want).max())
