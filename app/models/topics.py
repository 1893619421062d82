"""Names of what a hint on the bus can be about."""


class Topic:
    """Names of what a hint can be about."""

    CHANNELS = "channels"
    MESSAGES = "messages"
    COUNTS = "counts"
    DISPATCHES = "dispatches"
    CANCELS = "cancels"
    APPROVALS = "approvals"

    @staticmethod
    def channel(name: str) -> str:
        return f"channel:{name}"

    @classmethod
    def posted(cls, target: str | None) -> str:
        """New messages of a channel; of all channels where `target` is None."""
        return cls.MESSAGES if target is None else cls.channel(target)

    @staticmethod
    def dispatch(dispatch_id: str) -> str:
        return f"dispatch:{dispatch_id}"
