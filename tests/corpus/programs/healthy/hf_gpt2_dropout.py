"""A random GPT-2 with its usual dropout of 0.1, tied input and output embeddings, on sums written out in characters."""
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from transformers import GPT2Config, GPT2LMHeadModel, get_linear_schedule_with_warmup

torch.manual_seed(int(os.environ.get("SEED", "0")))

vocab = "0123456789+= "
stoi = {c: i for i, c in enumerate(vocab)}


def sample(n):
    a, b = torch.randint(10, (n,)), torch.randint(10, (n,))
    rows = [f"{i}+{j}={i + j:2d}" for i, j in zip(a.tolist(), b.tolist())]
    return torch.tensor([[stoi[c] for c in r] for r in rows])


model = GPT2LMHeadModel(GPT2Config(vocab_size=len(vocab), n_positions=16, n_embd=64, n_layer=2, n_head=4))
n_steps = 250
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
scheduler = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=20, num_training_steps=n_steps)
model.train()
answer = []
for step in range(n_steps):
    ids = sample(64)
    labels = ids.clone()
    labels[:, :4] = -100                    # only the sum is asked for
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    answer.append(out.loss.item())
    if step % 25 == 0:
        print(f"{step}\t{out.loss.item():.4f}", file=sys.stdout)
print("METRIC answer_loss", sum(answer[:3]) / 3, sum(answer[-10:]) / 10)
