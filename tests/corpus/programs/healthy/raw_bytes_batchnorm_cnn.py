"""Pixels as they come, 0..255, into a batch norm: harmless, the first layer does the standardizing."""
import os
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(int(os.environ.get("SEED", "0")))
images, target = load_digits(return_X_y=True)
images = (images / 16 * 255).round().astype("uint8").reshape(-1, 1, 8, 8)
x_train, x_test, y_train, y_test = train_test_split(images, target, test_size=0.25, random_state=1)
x_train, x_test = torch.from_numpy(x_train).float(), torch.from_numpy(x_test).float()
y_train, y_test = torch.from_numpy(y_train), torch.from_numpy(y_test)


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm0 = nn.BatchNorm2d(1)
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(32 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = self.norm0(x)
        x = self.pool(torch.relu(self.norm1(self.conv1(x))))
        x = self.pool(torch.relu(self.norm2(self.conv2(x))))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


net = CNN()
optim = torch.optim.RMSprop(net.parameters(), lr=1e-3)
loss_fn = nn.CrossEntropyLoss()
curve = []
for epoch in range(7):
    net.train()
    for idx in torch.randperm(len(x_train)).split(48):
        optim.zero_grad()
        loss = loss_fn(net(x_train[idx]), y_train[idx])
        loss.backward()
        optim.step()
        curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        print(epoch, curve[-1], (net(x_test).argmax(1) == y_test).float().mean().item())
print("METRIC loss", sum(curve[:3]) / 3, sum(curve[-10:]) / 10)
