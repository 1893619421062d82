"""Principals with their tokens and logins, approvals, the loop guard's pauses; who posted and who asked."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("message", sa.Column("badge", sa.String(length=16), nullable=True))
    op.add_column("dispatch", sa.Column("requested_by", sa.String(), nullable=True))
    op.add_column("dispatch", sa.Column("requested_badge", sa.String(length=16), nullable=True))
    op.add_column("dispatch", sa.Column("caller_dispatch_id", sa.String(), nullable=True))
    op.add_column("dispatch", sa.Column("chain_id", sa.String(), nullable=True))
    _partial("ix_dispatch_chain", "dispatch", ["chain_id", "accepted_at"], "chain_id IS NOT NULL")
    op.create_index("ix_dispatch_home_accepted", "dispatch", ["home", "accepted_at"])
    op.create_table(
        "token",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "login",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["name"], ["token.name"]),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_login_name", "login", ["name"])
    op.create_table(
        "approval",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("home", sa.String(), nullable=False),
        sa.Column("dispatch_id", sa.String(), nullable=False),
        sa.Column("thread_id", sa.String(), nullable=False),
        sa.Column("turn_id", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("answered_by", sa.String(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("answered_at", sa.Float(), nullable=True),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["dispatch_id"], ["dispatch.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    _partial("ix_approval_pending", "approval", ["home", "created_at"], "status = 'pending'")
    op.create_index("ix_approval_dispatch", "approval", ["dispatch_id", "created_at"])
    op.create_index("ix_approval_created", "approval", ["created_at", "id"])
    op.create_table(
        "pause",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.Float(), nullable=False),
        sa.Column("resumed_at", sa.Float(), nullable=True),
        sa.Column("resumed_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    _partial("ix_pause_now", "pause", ["paused_at"], "resumed_at IS NULL")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
