"""Messages, channels, dispatches, their history, remembered threads."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "channel",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "dispatch",
        sa.Column("seq", big, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column(
            "origin",
            sa.Enum("wait", "async", "callback", name="origin", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("parent_id", sa.String(), nullable=True),
        sa.Column("home", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("thread_id", sa.String(), nullable=False),
        sa.Column("thread_name", sa.String(), nullable=False),
        sa.Column("created", sa.Boolean(), nullable=False),
        sa.Column("resolution", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("timeout_sec", sa.Integer(), nullable=True),
        sa.Column("warning", sa.String(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "succeeded",
                "failed",
                "timed_out",
                "cancelled",
                name="dispatchstatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("turn_id", sa.String(), nullable=True),
        sa.Column("reply_text", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("timing_ms", sa.Integer(), nullable=True),
        sa.Column("callback_thread_id", sa.String(), nullable=True),
        sa.Column(
            "callback_status",
            sa.Enum(
                "not_requested",
                "pending",
                "delivered",
                "failed",
                name="callbackstatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("callback_turn_id", sa.String(), nullable=True),
        sa.Column("callback_error_code", sa.String(), nullable=True),
        sa.Column("callback_error_message", sa.Text(), nullable=True),
        sa.Column("callback_delivered_at", sa.Float(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("accepted_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", sa.Float(), nullable=True),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.CheckConstraint("attempt >= 0", name="ck_dispatch_attempt"),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_dispatch_callback",
        "dispatch",
        ["home", "seq"],
        unique=False,
        sqlite_where=sa.text("callback_status = 'pending' AND finished_at IS NOT NULL"),
        postgresql_where=sa.text("callback_status = 'pending' AND finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_dispatch_line",
        "dispatch",
        ["home", "thread_id", "seq"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index("ix_dispatch_owner", "dispatch", ["owner"], unique=False)
    op.create_index("ix_dispatch_parent_id", "dispatch", ["parent_id"], unique=False)
    op.create_index(
        "ix_dispatch_unfinished",
        "dispatch",
        ["home", "status", "seq"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "uq_dispatch_one_at_a_time",
        "dispatch",
        ["home", "thread_id"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL AND status <> 'queued'"),
        postgresql_where=sa.text("finished_at IS NULL AND status <> 'queued'"),
    )
    op.create_table(
        "thread",
        sa.Column("home", sa.String(), nullable=False),
        sa.Column("thread_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("made_here", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("last_used_at", sa.Float(), nullable=False),
        sa.Column("last_turn_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("home", "thread_id"),
    )
    op.create_table(
        "dispatchevent",
        sa.Column("id", big, nullable=False),
        sa.Column("dispatch_id", sa.String(), nullable=False),
        sa.Column("ts", sa.Float(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dispatch_id"],
            ["dispatch.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_dispatchevent_dispatch", "dispatchevent", ["dispatch_id", "id"], unique=False)
    op.create_table(
        "message",
        sa.Column("id", big, nullable=False),
        sa.Column("ts", sa.Float(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("reply_to", big, nullable=True),
        sa.Column("dispatch_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["target"],
            ["channel.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_message_target_id", "message", ["target", "id"], unique=False)
