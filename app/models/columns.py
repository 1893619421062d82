"""Column types and indexes that both databases understand."""

from enum import StrEnum

from sqlalchemy import BigInteger, Enum, Index, Integer, text

# 64 bits on both; SQLite numbers rows by itself only under the name INTEGER, which has 64 there.
BIG = BigInteger().with_variant(Integer, "sqlite")


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index over the rows for which `where` holds, so that its size does not grow with history."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


def enum(kind: type[StrEnum]) -> Enum:
    """Stored as text, so that a new member needs no migration."""
    return Enum(
        kind,
        native_enum=False,
        length=32,
        create_constraint=False,
        values_callable=lambda members: [member.value for member in members],
    )
