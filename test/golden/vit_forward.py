"""Vision Transformers by PyTorch in float64: the oracle of test/train/vit.test.ts.

Features in training and evaluation mode, the gradient of sum(features * wave) by every parameter at up to 61 places, and
running statistics.
Prints how far the first is from torchvision's VisionTransformer with the same weights.
Run with Debian's python3-torch and python3-torchvision:  python3 test/golden/vit_forward.py
"""
import torch
from torchvision.models.vision_transformer import VisionTransformer
import methods_nets, nets, vit_nets

N, MEAN, STD = 4, 0.45, 0.25
torch.set_default_dtype(torch.float64)
CASES = {
    "token": dict(side=16, patch=4, width=24, depth=2, heads=3, position="learned"),
    "sincos": dict(side=16, patch=4, width=24, depth=2, heads=6, freeze=True),
    "mean": dict(side=16, patch=8, width=24, depth=2, heads=2, position="none", pool="mean", batch=True),
    "drop": dict(side=16, patch=8, width=24, depth=2, heads=2),
    "conv": dict(side=32, patch=16, width=16, depth=1, heads=2, conv=True),
}


def fill(net, salt=0.0):
    """methods_nets.fill of all that is not fixed by the architecture."""
    fixed = net.pos_embed if net.pos_embed is not None and not net.pos_embed.requires_grad else None
    if fixed is not None:
        del net.pos_embed
    methods_nets.fill(net, salt)
    if fixed is not None:
        net.pos_embed = fixed
    return net


def theirs(net, side, patch, width, depth, heads, **_):
    """torchvision's, with the weights of `net`."""
    other = VisionTransformer(side, patch, depth, heads, width, 4 * width)
    other.heads = torch.nn.Identity()
    own = dict(net.named_parameters())
    names = {"class_token": "cls_token", "encoder.pos_embedding": "pos_embed", "conv_proj": "patch_embed.proj",
             "encoder.ln": "norm"}
    for i in range(depth):
        layer = f"encoder.layers.encoder_layer_{i}."
        for theirs_, ours in (("ln_1", "norm1"), ("self_attention.in_proj_", "attn.qkv."), ("self_attention.out_proj", "attn.proj"),
                              ("ln_2", "norm2"), ("mlp.linear_1", "mlp.fc1"), ("mlp.linear_2", "mlp.fc2"),
                              ("mlp.0", "mlp.fc1"), ("mlp.3", "mlp.fc2")):
            names[layer + theirs_] = f"blocks.{i}.{ours}"
    taken = set()
    with torch.no_grad():
        for name, p in other.named_parameters():
            prefix = max((key for key in names if name.startswith(key)), key=len)
            ours = names[prefix] + name[len(prefix):]
            taken.add(ours)
            p.copy_(own[ours])
    assert taken == set(own), set(own) - taken
    return other


out = {}
for key, settings in CASES.items():
    net = fill(vit_nets.Vit(**settings))
    x = nets.normalised(methods_nets.pixels(N, settings["side"]), MEAN, STD)
    # Of image n branch i: dropped, or kept by 4 of 5.
    keep = None if key != "drop" else torch.tensor([[0.0 if (7 * i + 3 * n) % 5 == 0 else 1.25 for n in range(N)]
                                                    for i in range(4)])
    y = net.train()(x, keep)
    wave = torch.sin(0.7 * torch.arange(y.numel())).view_as(y)
    (y * wave).sum().backward()
    out[key + ".train"] = y.detach()
    for name, p in net.named_parameters():
        if p.requires_grad:
            out[f"{key}.grad.{name}"] = methods_nets.sampled(p.grad)
    for name, v in net.state_dict().items():
        if "running" in name:
            out[f"{key}.{name}"] = v
    with torch.no_grad():
        out[key + ".eval"] = net.eval()(x)
        if key == "token":
            print("torchvision's is off by", (theirs(net, **settings).eval()(x) - out[key + ".eval"]).abs().max().item())
nets.save("vit_forward.safetensors", out)
