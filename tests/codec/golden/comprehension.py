def main():  # << START_OF_TRACE
    rows = [[n * k for k in range(2)] for n in (1, 2)]
    table = {str(n): n for row in rows for n in row if n}
    odd = {n % 2 for n in table.values()}
    return sum(n for n in table.values()), odd
