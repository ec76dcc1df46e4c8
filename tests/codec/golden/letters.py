def is_letter(a, b):
    return a == b


def count(text, letter):
    n = 0
    for c in text:
        if is_letter(c, letter):
            n += 1
    return n


def most(words, letter):
    best = max(words, key=len)
    return best, count(best, letter)


def main():  # << START_OF_TRACE
    return most(["pear", "cherry"], "r")
