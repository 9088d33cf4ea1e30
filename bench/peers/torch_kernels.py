"""The kernels of bench/kernels.ts in PyTorch, float32, channels last. Reads one JSON object a line, prints its seconds.

    {"kernel": "conv2d", "n": 32, "side": 32, "ci": 64, "co": 64, "size": 3, "stride": 1}

Kernels: conv2d, conv2d input gradient, conv2d filter gradient, batch norm, batch norm gradient; of a Transformer, with "tokens",
"width" and "heads" in place of the others: attention, layer norm, linear and GELU, each with its gradient. One thread.
"""
import json, sys, time
import torch, torch.nn.functional as F

torch.set_num_threads(1)


def attention(q, k, v):
    """PyTorch's fused one where it has it (2.0 and newer)."""
    fused = getattr(F, "scaled_dot_product_attention", None)
    return fused(q, k, v) if fused else (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v


def transformer(s):
    """As `work`, of n images of so many tokens."""
    rows = [s["n"], s["tokens"], s["width"]]
    x = torch.randn(rows)
    name = s["kernel"].removesuffix(" gradient")
    if name == "attention":
        q, k, v = torch.randn(3, s["n"], s["heads"], s["tokens"], s["width"] // s["heads"]).unbind()
        inputs, run = [q, k, v], lambda: attention(q, k, v)
    elif name == "layer norm":
        gamma, beta = torch.ones(s["width"]), torch.zeros(s["width"])
        inputs, run = [x, gamma, beta], lambda: F.layer_norm(x, rows[-1:], gamma, beta, 1e-6)
    elif name == "linear and GELU":
        layer = torch.nn.Linear(s["width"], 4 * s["width"]).requires_grad_(False)
        return lambda: F.gelu(layer(x))
    else:
        z = torch.randn(*rows[:-1], 4 * s["width"])
        bias = torch.zeros(4 * s["width"])
        inputs, run = [z, bias], lambda: F.gelu(z + bias)
    if s["kernel"] == name:
        return run
    for tensor in inputs:
        tensor.requires_grad_()
    y = run()
    dy = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)


def work(s):
    """A function that runs the kernel once."""
    last = torch.channels_last
    x = torch.randn(s["n"], s["ci"], s["side"], s["side"]).to(memory_format=last)
    if s["kernel"].startswith("batch norm"):
        gamma, beta = torch.ones(s["ci"]), torch.zeros(s["ci"])
        if s["kernel"] == "batch norm":
            return lambda: F.relu(F.batch_norm(x, None, None, gamma, beta, True))
        x.requires_grad_(), gamma.requires_grad_(), beta.requires_grad_()
        y = F.relu(F.batch_norm(x, None, None, gamma, beta, True))
        dy = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, [x, gamma, beta], dy, retain_graph=True)
    w = torch.randn(s["co"], s["ci"], s["size"], s["size"]).to(memory_format=last)
    stride, pad = [s["stride"]] * 2, [(s["size"] - 1) // 2] * 2
    y = F.conv2d(x, w, None, stride, pad)
    if s["kernel"] == "conv2d":
        return lambda: F.conv2d(x, w, None, stride, pad)
    dy = torch.randn_like(y)
    mask = [s["kernel"] == "conv2d input gradient", s["kernel"] == "conv2d filter gradient", False]
    return lambda: torch.ops.aten.convolution_backward(dy, x, w, None, stride, pad, [1, 1], False, [0, 0], 1, mask)


for line in sys.stdin:
    shape = json.loads(line)
    run = (transformer if "tokens" in shape else work)(shape)
    run()
    times = []
    for _ in range(7):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    print(sorted(times)[3], flush=True)
