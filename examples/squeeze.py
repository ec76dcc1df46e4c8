def squeeze(text):
    kept = []
    for letter in text:
        if not kept or kept[-1] != letter:
            kept.append(letter)
    return "".join(kept)
