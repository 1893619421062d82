"""Remembered threads: those that the hub made or used."""

import time

from sqlalchemy import update
from sqlmodel import Session, col, select

from app.models import Thread
from app.storage.database import Tx


def remember(
    tx: Tx,
    *,
    home: str,
    thread_id: str,
    project_id: str,
    name: str,
    made_here: bool = False,
) -> None:
    """Note that a thread was made or is used, and lock its row until the transaction ends.

    What is known already stays, but for its name and the time of use.
    """
    now = time.time()
    known = {"name": name, "last_used_at": now}
    tx.connection.execute(
        tx.insert(Thread).on_conflict_do_update(index_elements=[col(Thread.home), col(Thread.thread_id)], set_=known),
        {
            "home": home,
            "thread_id": thread_id,
            "project_id": project_id,
            "made_here": made_here,
            "created_at": now,
            **known,
        },
    )


def used(tx: Tx, home: str, thread_id: str, turn_id: str) -> None:
    """Note the newest turn of a remembered thread."""
    tx.connection.execute(
        update(Thread)
        .where(col(Thread.home) == home, col(Thread.thread_id) == thread_id)
        .values(last_turn_id=turn_id, last_used_at=time.time())
    )


def forget(tx: Tx, home: str, thread_id: str) -> None:
    if thread := tx.session.get(Thread, (home, thread_id)):
        tx.session.delete(thread)


def get(session: Session, home: str, thread_id: str) -> Thread | None:
    return session.get(Thread, (home, thread_id))


def of_project(session: Session, home: str, project_id: str) -> list[Thread]:
    """Remembered threads of a project, last used first."""
    query = select(Thread).where(col(Thread.home) == home, col(Thread.project_id) == project_id)
    return list(session.exec(query.order_by(col(Thread.last_used_at).desc())).all())
