"""Full-text search over messages, idempotency keys, cursors of readers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The messages themselves hold the text: the index keeps no copy.
FTS = """
CREATE VIRTUAL TABLE message_search USING fts5(
    channel, sender, text, content='', tokenize="unicode61 remove_diacritics 0"
)
"""
# PostgreSQL's own parser would keep paths and host names whole; both databases are to find the same words.
GIN = r"""
CREATE INDEX ix_message_search ON message USING gin (
    to_tsvector('simple', translate(left(text, 100000), $p$!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~$p$, repeat(' ', 32)))
)
"""


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.add_column("message", sa.Column("idempotency_key", sa.String(), nullable=True))
    op.create_index(
        "uq_message_idempotency",
        "message",
        ["sender", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "reader",
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("acked_id", big, nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["target"], ["channel.name"]),
        sa.PrimaryKeyConstraint("target", "name"),
    )
    if op.get_context().dialect.name == "postgresql":
        # As it stands: the driver must not take the text for parameters.
        op.get_bind().exec_driver_sql(GIN.replace("%", "%%"))
        return
    op.execute(FTS)  # the hub fills it when it has nothing else to do
