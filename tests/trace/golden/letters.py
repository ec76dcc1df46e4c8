def clean(text):
    return text.lower().replace(" ", "")


def count(text):
    counts = {}
    for letter in text:
        counts[letter] = counts.get(letter, 0) + 1
    return counts


def top(text):
    counts = count(clean(text))
    best = max(counts, key=lambda letter: counts[letter])
    return best, counts[best]


def main():  # << START_OF_TRACE
    return top("Bo ob")
