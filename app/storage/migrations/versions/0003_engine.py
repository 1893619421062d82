"""What the engine needs to cancel, to call back in more ways, and to show a turn; messages of one sender."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS: tuple[sa.Column[Any], ...] = (
    sa.Column("caller_thread_id", sa.String(), nullable=True),
    sa.Column("hops", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("idempotency_key", sa.String(), nullable=True),
    sa.Column("waiting_for", sa.Text(), nullable=True),
    sa.Column("in_codex_queue", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Column("cancel_requested_at", sa.Float(), nullable=True),
    sa.Column("diff", sa.Text(), nullable=True),
    sa.Column("usage", sa.Text(), nullable=True),
    sa.Column("callback_url", sa.Text(), nullable=True),
    sa.Column("callback_channel", sa.String(), nullable=True),
    sa.Column("callback_attempts", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("callback_not_before", sa.Float(), nullable=False, server_default="0"),
)


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("dispatch", column)
    op.drop_index("ix_dispatch_callback", "dispatch")
    _partial(
        "ix_dispatch_callback",
        ["home", "seq"],
        "callback_status = 'pending' AND (finished_at IS NOT NULL OR status = 'timed_out')",
    )
    _partial(
        "ix_dispatch_actionable",
        ["updated_at"],
        "finished_at IS NULL OR callback_status IN ('pending', 'failed')",
    )
    _partial("ix_dispatch_put_off", ["home", "not_before"], "finished_at IS NULL AND not_before > 0")
    _partial("uq_dispatch_idempotency", ["home", "idempotency_key"], "idempotency_key IS NOT NULL", unique=True)
    op.create_index("ix_dispatch_project_seq", "dispatch", ["project_id", "seq"])
    op.create_index("ix_dispatch_thread_seq", "dispatch", ["thread_id", "seq"])
    op.create_index("ix_dispatch_status_seq", "dispatch", ["status", "seq"])
    op.create_index("ix_message_target_sender_id", "message", ["target", "sender", "id"])
    _partial("ix_message_dispatch", ["dispatch_id", "id"], "dispatch_id IS NOT NULL", table="message")
    op.create_table(
        "turnitem",
        sa.Column("dispatch_id", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["dispatch_id"], ["dispatch.id"]),
        sa.PrimaryKeyConstraint("dispatch_id", "item_id"),
    )


def _partial(name: str, columns: list[str], where: str, unique: bool = False, table: str = "dispatch") -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
