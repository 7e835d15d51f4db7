"""Sentences, safe and unsafe, as counts of their words: made here, the same for the same seed."""

import random

import numpy as np

OPENINGS = {
    "safe": ["please {} the {} before noon", "we {} a {} for the children", "thanks, I will {} your {} today"],
    "unsafe": ["{} the {} or you will be hurt", "how to {} a {} without being caught", "send money or I {} your {}"],
}
VERBS = ("clean", "paint", "open", "carry", "find", "move", "break", "hide", "take", "burn", "watch", "sell")
THINGS = ("kitchen", "bicycle", "letter", "garden", "door", "window", "car", "phone", "table", "lock", "boat")
STRAY = ("now", "maybe", "tomorrow", "quickly", "friend", "money", "please", "caught", "thanks", "hurt", "noon")


def load(count, seed):
    """(counts of words, float32, shape (count, words); labels, shape (count,), 1 for unsafe).

    Three stray words stand in each sentence, whatever its kind.
    """
    chosen = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        labels.append(chosen.randrange(2))
        text = chosen.choice(OPENINGS["unsafe" if labels[-1] else "safe"])
        text = text.format(chosen.choice(VERBS), chosen.choice(THINGS)).replace(",", "")
        texts.append(text.split() + chosen.choices(STRAY, k=3))
    place = {word: at for at, word in enumerate(sorted({word for text in texts for word in text}))}
    counts = np.zeros((count, len(place)), "f4")
    for row, text in zip(counts, texts, strict=True):
        np.add.at(row, [place[word] for word in text], 1)
    return counts, np.array(labels)
