"""What torch_moco.py and torch_ssl.py share: flags, the images of FOLDER, and an encoder's kNN and linear probe."""
import argparse, math, os, random, sys
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../test/golden"))


def arguments(*more):
    """The flags of both and `more` (name, type, default, and choices if there are any). Seeds everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    for name, kind, default, *choices in (("seed", int, 0), ("epochs", int, 12), ("width", int, 16), ("batch", int, 64),
                                          ("lr", float, 0.06), ("threads", int, 1), *more):
        parser.add_argument("--" + name, type=kind, default=default, choices=choices[0] if choices else None)
    a = parser.parse_args()
    torch.manual_seed(a.seed), np.random.seed(a.seed), torch.set_num_threads(a.threads)
    random.seed(a.seed)  # torchvision 0.14 draws RandomApply's coin from torch, older ones from here
    return a


class Judge:
    """The images of a folder, by which encoders are judged."""

    def __init__(self, folder, blocks=1):
        self.blocks = blocks
        self.train_x, self.test_x = (np.load(os.path.join(folder, n + "_x.npy")) for n in ("train", "test"))
        self.train_y, self.test_y = (torch.from_numpy(np.load(os.path.join(folder, n + "_y.npy")).astype(np.int64))
                                     for n in ("train", "test"))
        self.side, self.channels = self.train_x.shape[1], self.train_x.shape[3]
        self.mean, self.std = (([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]) if self.channels == 3
                               else ([0.286], [0.353]))

    def plain(self, x):
        return ((torch.from_numpy(x).float() / 255 - torch.tensor(self.mean)) / torch.tensor(self.std)).permute(0, 3, 1, 2)

    @torch.no_grad()
    def features(self, net, x):
        head, net.fc = net.fc, nn.Identity()
        net.eval()
        look = net if self.blocks == 1 else lambda views: net.last_blocks(views, self.blocks)
        out = torch.cat([look(self.plain(x[i:i + 500])) for i in range(0, len(x), 500)])
        net.train()
        net.fc = head
        return out

    def knn(self, bank, queries, k=200, t=0.1):
        bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
        right = 0
        for i in range(0, len(queries), 500):
            weight, index = (queries[i:i + 500] @ bank.t()).topk(k, dim=1)
            votes = torch.zeros(len(weight), 10).scatter_add_(1, self.train_y[index], (weight / t).exp())
            right += (votes.argmax(1) == self.test_y[i:i + 500]).sum().item()
        return right / len(queries)

    def linear(self, train, test, epochs=30, batch=256, lr=0.1):
        mu, sd = train.mean(0), train.std(0, unbiased=False) + 1e-6
        train, test = (train - mu) / sd, (test - mu) / sd
        layer = nn.Linear(train.shape[1], 10)
        nn.init.normal_(layer.weight, std=0.01), nn.init.zeros_(layer.bias)
        optimiser = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9)
        for epoch in range(epochs):
            for group in optimiser.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            for part in torch.randperm(len(train)).split(batch):
                optimiser.zero_grad(), F.cross_entropy(layer(train[part]), self.train_y[part]).backward(), optimiser.step()
        return (layer(test).argmax(1) == self.test_y).float().mean().item()

    def judge(self, net):
        bank, queries = self.features(net, self.train_x), self.features(net, self.test_x)
        return {"knn": self.knn(bank, queries), "linear": self.linear(bank, queries)}
