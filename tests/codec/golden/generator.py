def steps(n):
    while n != 1:
        yield n
        n = n // 2 if n % 2 == 0 else 3 * n + 1
    return "one"


def wrapped(n):
    end = yield from steps(n)
    yield end


def main():  # << START_OF_TRACE
    seen = []
    for value in wrapped(4):
        seen.append(value)
    return seen
