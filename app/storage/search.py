"""Full-text search over messages: SQLite by FTS5, PostgreSQL by tsvector, the same words on both.

PostgreSQL keeps its index itself. On SQLite indexing a message takes longer than storing it, so it is done later, by
`index`: in quiet moments, and before each search.
"""

import re
import string
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlmodel import Session

from app.models import Message
from app.storage.database import Tx
from app.storage.messages import bounded, in_range

_TERM = re.compile(r'"([^"]*)"|(\S+)')
_WORD = re.compile(r"[^\W_]")
_COLUMNS = ", ".join(f"m.{name}" for name in Message._fields)
_PARTED = str.maketrans(string.punctuation, " " * len(string.punctuation))
# The expression of the index, to the letter: PostgreSQL recognises it by that.
_VECTOR = f"to_tsvector('simple', translate(left(m.text, 100000), $p${string.punctuation}$p$, repeat(' ', 32)))"

# The channel and the sender are one word each, so that a search within a channel costs no more where the same words are
# common elsewhere. Rows are indexed in the order of their ids, so the last one tells how far the index goes.
_INDEX = text("""
INSERT INTO message_search(rowid, channel, sender, text)
SELECT id, hex(target), hex(sender), substr(text, 1, 100000) FROM message
WHERE id > (SELECT coalesce(max(id), 0) FROM message_search_docsize) ORDER BY id LIMIT :most
""")


class Term(NamedTuple):
    """A word, several that stand together, or the beginning of a word."""

    text: str
    is_prefix: bool


def terms(query: str) -> list[Term]:
    """What a query asks for; empty where it holds no word. Quotes make a phrase, a final * a prefix."""
    found = []
    for phrase, word in _TERM.findall(query.replace("\0", " ")):
        term = Term((phrase or word).rstrip("*"), is_prefix=word.endswith("*"))
        if _WORD.search(term.text):
            found.append(term)
    return found


def index(tx: Tx, most: int) -> bool:
    """Index at most so many messages that are not indexed yet; whether there may be more."""
    return tx.dialect == "sqlite" and tx.connection.execute(_INDEX, {"most": most}).rowcount == most


def search(
    session: Session,
    wanted: list[Term],
    limit: int,
    target: str | None = None,
    sender: str | None = None,
    before_id: int | None = None,
) -> list[Message]:
    """Messages with all of these terms, newest first; those that are indexed."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    sql, values = (_fts5 if is_sqlite else _tsquery)(wanted, target, sender)
    # FTS5 walks back by its own number and stops at the limit. By the message's it would read and sort all that match.
    number = "message_search.rowid" if is_sqlite else "m.id"
    bound = "" if before_id is None else f"AND {number} < :before_id"
    query = text(f"SELECT {_COLUMNS} FROM {sql} {bound} ORDER BY {number} DESC LIMIT :limit")  # noqa: S608
    if before_id is not None:
        values["before_id"] = in_range(before_id)
    return bounded(session.connection().execute(query, {**values, "limit": limit}))


def _fts5(wanted: list[Term], target: str | None, sender: str | None) -> tuple[str, dict[str, Any]]:
    words = " AND ".join(f'"{_plain(term)}"{"*" if term.is_prefix else ""}' for term in wanted)
    match = f"text : ({words})"
    for column, name in (("channel", target), ("sender", sender)):
        if name is not None:
            match += f' AND {column} : "{name.encode().hex()}"'
    return "message_search JOIN message m ON m.id = message_search.rowid WHERE message_search MATCH :match", {
        "match": match
    }


def _tsquery(wanted: list[Term], target: str | None, sender: str | None) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {}
    parts = []
    for number, term in enumerate(wanted):
        values[f"t{number}"] = _plain(term)
        made = f"phraseto_tsquery('simple', :t{number})"
        # The last word of a prefix is the open one; what stands before it must match in full.
        parts.append(f"((nullif({made}::text, '') || ':*')::tsquery)" if term.is_prefix else made)
    sql = f"message m WHERE {_VECTOR} @@ ({' && '.join(parts)})"
    for column, name in (("target", target), ("sender", sender)):
        if name is not None:
            sql += f" AND m.{column} = :{column}"
            values[column] = name
    return sql, values


def _plain(term: Term) -> str:
    return term.text.translate(_PARTED)
