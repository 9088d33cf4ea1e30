"""CLIP, SigLIP's loss and CLIP with queues by PyTorch in float64: the oracle of test/train/clip_golden.test.ts.

One step or two with SGD: loss, gradients, parameters and statistics; 50 steps with AdamW: the loss. The text tower is nn.Embedding and
nn.TransformerEncoderLayer's parts by torch's own functional attention. Prints how far PyTorch's float32 is off.
    python3 test/golden/clip.py
"""
import math
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
import methods_nets, nets, vit_nets

SIDE, N, IMAGES, CONTEXT, VOCABULARY, WIDTH, DEPTH, HEADS, DIM, K = 16, 16, 64, 12, 259, 24, 2, 3, 16, 40
MOMENTUM = 0.9


def texts(n):
    """Text i: start, 1 to CONTEXT - 2 tokens, end, padding. i64[n,CONTEXT], i64[n]."""
    lengths = 3 + methods_nets.mixed(np.arange(n) + 7).astype(np.int64) % (CONTEXT - 2)
    tokens = 3 + methods_nets.mixed(np.arange(n * CONTEXT) + 99).astype(np.int64).reshape(n, CONTEXT) % (VOCABULARY - 3)
    tokens[:, 0] = 1
    for row, length in zip(tokens, lengths):
        row[length - 1], row[length:] = 2, 0
    return torch.from_numpy(tokens), torch.from_numpy(lengths)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.ModuleDict({"in_proj": nn.Linear(WIDTH, 3 * WIDTH), "out_proj": nn.Linear(WIDTH, WIDTH)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(WIDTH, 4 * WIDTH), "c_proj": nn.Linear(4 * WIDTH, WIDTH)})

    def forward(self, x, padding, mask):
        y = self.ln_1(x).transpose(0, 1)  # [L,N,C]
        into, out = self.attn["in_proj"], self.attn["out_proj"]
        y, _ = F.multi_head_attention_forward(y, y, y, WIDTH, HEADS, into.weight, into.bias, None, None, False, 0.0, out.weight,
                                              out.bias, key_padding_mask=padding, attn_mask=mask, need_weights=False)
        x = x + y.transpose(0, 1)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


def clip(image, splits, own):
    """A network with the names of mocod's: image encoder, projection, text tower, own parameters."""
    if image == "vit":
        net, features = vit_nets.Vit(SIDE, 4, 24, 2, 3, position="learned"), 24
    else:
        net = nets.encoder(4, splits, 1, False, "resnet10")
        features, net.fc = net.fc.in_features, nn.Identity()
    net.projection = nn.Linear(features, DIM, bias=False)
    net.token_embedding = nn.Embedding(VOCABULARY, WIDTH)
    net.positional_embedding = nn.Parameter(torch.zeros(1, CONTEXT, WIDTH))
    net.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(Block() for _ in range(DEPTH))})
    net.ln_final, net.text_projection = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, DIM, bias=False)
    methods_nets.fill(net, 0.0 if own else 0.1)
    if own:
        net.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    if own == "sigmoid":
        net.logit_bias = nn.Parameter(torch.tensor(-10.0))
    return net


def images_of(net, x):
    return F.normalize(net.projection(net(x)), dim=1)


def texts_of(net, tokens, lengths, causal):
    x = net.token_embedding(tokens) + net.positional_embedding
    mask = torch.full((CONTEXT, CONTEXT), -math.inf).triu(1) if causal else None
    for block in net.transformer["resblocks"]:
        x = block(x, torch.arange(CONTEXT) >= lengths[:, None], mask)
    x = net.ln_final(x)
    if causal:
        x = x[torch.arange(len(x)), lengths - 1]
    else:
        x = torch.stack([row[:length].mean(0) for row, length in zip(x, lengths)])
    return F.normalize(net.text_projection(x), dim=1)


class Run:
    def __init__(self, image="resnet", splits=1, loss="softmax", causal=True, queue=False):
        self.loss, self.causal = loss, causal
        self.online = clip(image, splits, loss)
        self.target = clip(image, splits, None) if queue else None
        # Of texts, of images.
        self.queues = [nets.queue(K, DIM).to(torch.get_default_dtype()) for _ in range(2)] if queue else None
        self.ids, self.pointer = torch.full((K,), -1), 0

    def step(self, optimiser, x, tokens, lengths, ids):
        total = self.coupled(x, tokens, lengths) if self.target is None else self.queued(x, tokens, lengths, ids)
        optimiser.zero_grad(), total.backward(), optimiser.step()
        with torch.no_grad():
            self.online.logit_scale.clamp_(0, math.log(100))
        return total.item()

    def coupled(self, x, tokens, lengths):
        a, b = images_of(self.online, x), texts_of(self.online, tokens, lengths, self.causal)
        logits = self.online.logit_scale.exp() * a @ b.t()
        if self.loss == "sigmoid":
            signs = 2 * torch.eye(len(a)) - 1
            return -F.logsigmoid(signs * (logits + self.online.logit_bias)).sum() / len(a)
        own = torch.arange(len(a))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2

    def queued(self, x, tokens, lengths, ids):
        with torch.no_grad():
            new = dict(self.online.named_parameters())
            for name, p in self.target.named_parameters():
                p.mul_(MOMENTUM).add_(new[name], alpha=1 - MOMENTUM)
            keys = [texts_of(self.target, tokens, lengths, self.causal), images_of(self.target, x)]
        queries = [images_of(self.online, x), texts_of(self.online, tokens, lengths, self.causal)]
        total = 0
        for query, key, queue in zip(queries, keys, self.queues):
            logits = self.online.logit_scale.exp() * query @ torch.cat([key, queue]).t()
            same = ids[:, None] == torch.cat([ids, self.ids])[None]
            same[:, :len(ids)] &= ~torch.eye(len(ids), dtype=torch.bool)
            total = total + F.cross_entropy(logits.masked_fill(same, -math.inf), torch.arange(len(ids))) / 2
        places = (self.pointer + torch.arange(len(ids))) % K
        for key, queue in zip(keys, self.queues):
            queue[places] = key
        self.ids[places], self.pointer = ids, (self.pointer + len(ids)) % K
        return total


def batch(step, count):
    ids = (step * N + torch.arange(N)) % count
    x = nets.normalised(methods_nets.pixels(count, SIDE), 0.45, 0.25).to(torch.get_default_dtype())
    tokens, lengths = texts(count)
    return x[ids], tokens[ids], lengths[ids], ids


CASES = {
    "clip": (1, {}), "clip-vit": (2, dict(image="vit", splits=2)), "clip-both": (1, dict(causal=False)),
    "sigmoid": (2, dict(loss="sigmoid")), "clip-queue": (2, dict(queue=True)),
    "clip-queue-vit": (2, dict(image="vit", queue=True)),
}


def case(name, dtype):
    torch.set_default_dtype(dtype)
    steps, settings = CASES[name]
    run = Run(**settings)
    own = [p for n, p in run.online.named_parameters() if n.startswith("logit_")]
    optimiser = torch.optim.SGD([dict(params=own, weight_decay=0),
                                 dict(params=[p for p in run.online.parameters() if all(p is not o for o in own)])],
                                lr=5e-4, momentum=0.9, weight_decay=1e-3)
    for step in range(steps):
        loss = run.step(optimiser, *batch(step, N))
    out = {"loss": torch.tensor([loss])}
    out.update({"grad." + n: p.grad for n, p in run.online.named_parameters()})
    for prefix, net in (("online.", run.online), ("target.", run.target)):
        if net is not None:
            out.update({prefix + n: v for n, v in net.state_dict().items() if "num_batches" not in n})
    return {f"{name}.{n}": methods_nets.sampled(v) for n, v in out.items()}


def curve(dtype, **settings):
    """OpenCLIP's two groups: gains, biases and the scale are not decayed."""
    torch.set_default_dtype(dtype)
    run = Run(**settings)
    named = [(n, p) for n, p in run.online.named_parameters()]
    groups = [dict(params=[p for _, p in named if p.dim() < 2], weight_decay=0), dict(params=[p for _, p in named if p.dim() > 1])]
    optimiser = torch.optim.AdamW(groups, lr=2e-4, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1)
    return torch.tensor([run.step(optimiser, *batch(step, IMAGES)) for step in range(50)], dtype=torch.float64)


if __name__ == "__main__":
    tensors = {}
    for name in CASES:
        exact, rounded = case(name, torch.float64), case(name, torch.float32)
        off = sorted(((rounded[n] - v).abs().max() / v.abs().max(), n) for n, v in exact.items() if v.abs().max() > 1e-9)[::-1]
        print(name, len(exact), "tensors, loss", exact[f"{name}.loss"].item(), *(f"{n} {e:.1e}" for e, n in off[:3]))
        tensors.update(exact)
    for name, settings in {"clip": dict(image="vit"), "clip-queue": dict(image="vit", queue=True)}.items():
        losses = curve(torch.float64, **settings)
        off = (curve(torch.float32, **settings) / losses - 1).abs().max()
        print(f"{name}, 50 steps, float32 off by {off:.1e}:", " ".join(f"{v:.3f}" for v in losses))
        tensors[f"curve.{name}"] = losses
    nets.save("clip.safetensors", tensors)
