from contextlib import contextmanager


@contextmanager
def noted(log, name):
    log.append("+" + name)
    try:
        yield name
    except KeyError:
        log.append("!" + name)
    finally:
        log.append("-" + name)


def act(command, log):
    match command:
        case ["get", key] if key:
            return {}[key]
        case {"op": op, **rest}:
            return op, rest
        case str() | bytes():
            return len(command)


def main():  # << START_OF_TRACE
    log, results = [], []
    for command in ("word", {"op": "x", "n": 1}, ["get", "k"]):
        with noted(log, "a") as a, noted(log, "b"):
            results.append((a, act(command, log)))
    return log, results
