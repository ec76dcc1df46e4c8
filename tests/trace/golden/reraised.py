class Refused(Exception):
    pass


def check(age):
    if age < 0:
        raise ValueError(f"negative: {age}")
    return age


def load(ages):
    kept = []
    try:
        for age in ages:
            kept.append(check(age))
    except ValueError as error:
        if kept:
            raise
        raise Refused(str(error)) from error
    finally:
        kept.append("end")
    return kept


def main():  # << START_OF_TRACE
    results = []
    for ages in ([1], [1, -1], [-2]):
        try:
            results.append(load(ages))
        except (ValueError, Refused) as problem:
            results.append(problem)
    return results
