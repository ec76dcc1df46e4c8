def longest(words):
    best = ""
    for word in words:
        if len(word) > len(best):
            best = word
    return best


def count(word, letter):
    found = 0
    for character in word:
        if character == letter:
            found += 1
    return found


def report():  # << START_OF_TRACE
    word = longest(["a", "red", "berry"])
    times = count(word, "r")
    return f"{word}: {times}"
