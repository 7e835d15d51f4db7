"""A tiny random BERT in a plain loop; the model is built with its pooler, which the token head never reads."""
import os
import random

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import BertConfig, BertModel, get_cosine_schedule_with_warmup


class Tagger(nn.Module):
    """Mark each token that is special by itself or through the one before it."""

    def __init__(self, config):
        super().__init__()
        self.bert = BertModel(config)                       # with the pooler, as a checkpoint would have it
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, 2)

    def forward(self, input_ids, labels=None):
        logits = self.classifier(self.dropout(self.bert(input_ids=input_ids).last_hidden_state))
        loss = None if labels is None else nn.functional.cross_entropy(logits.view(-1, 2), labels.view(-1))
        return {"loss": loss, "logits": logits}


class Marked(Dataset):
    def __init__(self, n, seed, length=10):
        rng = random.Random(seed)
        self.items = []
        for _ in range(n):
            ids = [rng.randrange(1, 24) for _ in range(length)]
            label = [int(ids[i] < 8 or (i > 0 and ids[i - 1] < 6)) for i in range(length)]
            self.items.append({"input_ids": torch.tensor(ids), "labels": torch.tensor(label)})

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def grouped(model, weight_decay):
    no_decay = ("bias", "LayerNorm.weight")
    return [{"params": [p for n, p in model.named_parameters() if not n.endswith(no_decay)], "weight_decay": weight_decay},
            {"params": [p for n, p in model.named_parameters() if n.endswith(no_decay)], "weight_decay": 0.0}]


def main():
    seed = int(os.environ.get("SEED", "0"))
    torch.manual_seed(seed)
    model = Tagger(BertConfig(vocab_size=24, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
                              max_position_embeddings=16))
    loader = DataLoader(Marked(6400, seed), batch_size=32, shuffle=True)
    optimizer = torch.optim.AdamW(grouped(model, 0.01), lr=2e-3)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 20, len(loader))
    losses = []
    model.train()
    for step, batch in enumerate(loader):
        loss = model(**batch)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 20 == 0:
            print(step, round(loss.item(), 4))
    print("METRIC tagging_loss", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
