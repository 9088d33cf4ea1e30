"""Loads an export in OpenCLIP's names into modules of its layout, strict, and prints how far their features are from ours.

    python3 test/interop/openclip.py clip.safetensors images.npy tokens.npy image.npy text.npy

Where open_clip and timm can be imported, the real model is made of the file's model_cfg; else the modules below are: OpenCLIP's layout
of the text tower (model.py, transformer.py of mlfoundations/open_clip), torchvision's ResNet or a ViT with timm's names as the trunk.
"""
import json, struct, sys
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F


def read(file):
    with open(file, "rb") as f:
        raw = f.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    metadata = header.pop("__metadata__")
    types, state = {"F32": np.float32, "I64": np.int64}, {}
    for name, t in header.items():
        start, end = (8 + size + at for at in t["data_offsets"])
        state[name] = torch.from_numpy(np.frombuffer(raw[start:end], types[t["dtype"]]).reshape(t["shape"]).copy())
    return state, json.loads(metadata["model_cfg"])


def mlp(width, names, act):
    return nn.ModuleDict({names[0]: nn.Linear(width, 4 * width), "act": act, names[1]: nn.Linear(4 * width, width)})


class TextBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = mlp(width, ("c_fc", "c_proj"), nn.GELU())

    def forward(self, x, mask):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class VitBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp, self.heads = mlp(width, ("fc1", "fc2"), nn.GELU()), heads

    def forward(self, x):
        q, k, v = self.attn["qkv"](self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + self.attn["proj"](y.transpose(1, 2).flatten(2))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Vit(nn.Module):
    def __init__(self, img_size=224, patch_size=16, embed_dim=192, depth=12, num_heads=3):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (img_size // patch_size) ** 2 + 1, embed_dim))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, embed_dim, patch_size, patch_size)})
        self.blocks = nn.Sequential(*(VitBlock(embed_dim, num_heads) for _ in range(depth)))
        self.norm, self.num_features = nn.LayerNorm(embed_dim, 1e-6), embed_dim

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(x))[:, 0]


def trunk(timm_model_name, timm_model_kwargs={}, **_):
    if timm_model_name.startswith("vit"):
        return Vit(**timm_model_kwargs)
    import torchvision
    model = getattr(torchvision.models, timm_model_name)()
    model.num_features, model.fc = model.fc.in_features, nn.Identity()
    return model


class Visual(nn.Module):
    def __init__(self, dim, config):
        super().__init__()
        self.trunk = trunk(**config)
        self.head = nn.Sequential()
        self.head.add_module("drop", nn.Dropout(0.0))
        self.head.add_module("proj", nn.Linear(self.trunk.num_features, dim, bias=False))

    def forward(self, x):
        return self.head(self.trunk(x))


class CLIP(nn.Module):
    def __init__(self, embed_dim, vision_cfg, text_cfg, init_logit_bias=None):
        super().__init__()
        width, context, self.end = text_cfg["width"], text_cfg["context_length"], text_cfg["eos_id"]
        self.visual = Visual(embed_dim, vision_cfg)
        self.token_embedding = nn.Embedding(text_cfg["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.zeros(context, width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(TextBlock(width, text_cfg["heads"]) for _ in range(text_cfg["layers"]))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, embed_dim))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        if init_logit_bias is not None:
            self.logit_bias = nn.Parameter(torch.zeros(()))
        self.register_buffer("mask", torch.full((context, context), -torch.inf).triu(1), persistent=False)

    def encode_image(self, x):
        return self.visual(x)

    def encode_text(self, tokens):
        x = self.token_embedding(tokens) + self.positional_embedding
        for block in self.transformer.resblocks:
            x = block(x, self.mask)
        x = self.ln_final(x)[torch.arange(len(x)), (tokens == self.end).int().argmax(1)]
        return x @ self.text_projection


def main(file, images, tokens, *features):
    state, config = read(file)
    try:
        import open_clip
        model, of = open_clip.CLIP(**config), f"open_clip {open_clip.__version__}"
    except ImportError:
        model, of = CLIP(**config), "modules of its layout"
    print(f"{of}: {model.load_state_dict(state, strict=True)}")
    with torch.no_grad():
        model.eval()
        got = model.encode_image(torch.from_numpy(np.load(images)).permute(0, 3, 1, 2)), model.encode_text(torch.from_numpy(np.load(tokens)).long())
    for a, b in zip(got, map(np.load, features)):
        print(np.abs(a.numpy() - b).max() / np.abs(b).max())


main(*sys.argv[1:])
