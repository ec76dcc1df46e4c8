from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    IN = 1
    OUT = -1


@dataclass
class Account:
    owner: str
    log: list = field(default_factory=list)

    @property
    def balance(self):
        return sum(kind.value * amount for kind, amount in self.log)

    def book(self, kind, amount):
        if self.balance + kind.value * amount < 0:
            raise ValueError("overdrawn")
        self.log.append((kind, amount))
        return self


def main():  # << START_OF_TRACE
    class Savings(Account):
        rate = 2

        def book(self, kind, amount):
            return super().book(kind, amount * self.rate)

    account = Savings("Ada").book(Kind.IN, 3)
    try:
        account.book(Kind.OUT, 4)
    except ValueError as error:
        return account.balance, str(error)
