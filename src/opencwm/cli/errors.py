"""Exit codes, and `Unusable`: what a command raises when its command line or a file cannot be used."""

PROGRAM, SETUP, FAILED, INTERRUPTED = 2, 3, 4, 130


class Unusable(Exception):
    """The message is one line and says what to do; the command exits with `code`."""

    def __init__(self, message: str, code: int = PROGRAM) -> None:
        super().__init__(message)
        self.code = code
