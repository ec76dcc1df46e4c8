def grid(rows):
    cells = [[row * column for column in range(2)] for row in rows]
    odd = {cell for line in cells for cell in line if cell % 2}
    index = {row: line for row, line in zip(rows, cells, strict=True)}
    return sum(cell for line in cells for cell in line), odd, index


def main():  # << START_OF_TRACE
    return grid([1, 3])
