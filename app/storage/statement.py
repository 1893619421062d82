"""Statements of hot paths: made into SQL once, then run on the database's own driver."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ClauseElement, Connection, Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError


def insert_of(dialect: str) -> Any:
    """The `insert` of a database, which knows ON CONFLICT; both spell it alike."""
    return sqlite.insert if dialect == "sqlite" else postgresql.insert


class Statement:
    """A statement with named parameters. SQLAlchemy spends ten times the driver's own work on each execution."""

    def __init__(self, build: Callable[[Any], ClauseElement]) -> None:
        """`build` gets the `insert` of the database."""
        self._build = build
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def run(self, connection: Connection, **values: Any) -> Any:
        """The driver's cursor; raises as `execute` does."""
        dialect = connection.dialect
        sql, constants = self._compiled.get(dialect.name) or self._compile(dialect)
        return execute(connection, sql, constants | values)

    def _compile(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        made = self._build(insert_of(dialect.name)).compile(dialect=dialect)
        constants = {name: value for name, value in made.params.items() if value is not None}
        self._compiled[dialect.name] = made.string, constants
        return self._compiled[dialect.name]


def execute(connection: Connection, sql: str, values: Any) -> Any:
    """Run SQL on the driver; returns its cursor.

    Raises:
        OperationalError: the database is locked or gone, in the form that SQLAlchemy gives it.
    """
    driver: Any = connection.connection.driver_connection
    assert connection.dialect.loaded_dbapi is not None
    try:
        return driver.execute(sql, values)
    except connection.dialect.loaded_dbapi.OperationalError as error:
        raise OperationalError(sql, values, error) from error
