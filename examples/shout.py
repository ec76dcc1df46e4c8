def shout(word):
    result = ''
    for ch in word:
        result += ch.upper()
    return result
