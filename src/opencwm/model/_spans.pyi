def available() -> bool: ...
def attend(
    inputs: tuple[int, int, int, int, int],
    gradients: tuple[int, int, int, int],
    ends: int,
    spans: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    threads: int,
) -> None: ...
