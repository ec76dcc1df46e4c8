def parse(text):
    try:
        return int(text)
    except ValueError as error:
        raise KeyError(text) from error
    finally:
        text = None


def read(text):
    try:
        return parse(text)
    except KeyError:
        text += "?"
        raise


def main():  # << START_OF_TRACE
    seen = []
    try:
        read("x1")
    except LookupError as error:
        seen.append(error.args)
    return read(seen)
